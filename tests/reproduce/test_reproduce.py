"""Published tables: their protocols' facts, what a killed run keeps, and one small run on real data."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from tests.helpers.needed import NO_DATA
from tests.reproduce.small_table import TABLE, pieces
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.errors import InputError
from torchliquid.jobs import lines as trials
from torchliquid.reproduce import summary
from torchliquid.reproduce.contenders import Missing, TableModel
from torchliquid.reproduce.picture import LIQUID_COLOUR, OTHER_COLOUR, drawing
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Setting
from torchliquid.reproduce.protocols import protocol, xor
from torchliquid.reproduce.run import reproduce, write_tables
from torchliquid.reproduce.trial import train
from torchliquid.study.run.runner import Quiet

needs_data = pytest.mark.skipif("TORCHLIQUID_DATA" not in os.environ, reason=NO_DATA)
SIZES = {
    # 8,127 windows of 16 of 8,143 rows, a tenth of them validating; 16 every 8 of 2,665 and 9,752 rows
    "occupancy": (7_315, 812, 332 + 1_217),
    # 12,043 windows of 32, 4 apart, of 48,204 rows
    "traffic": (9_033, 1_204, 1_806),
    # 97 windows of 32, 10 apart, in each rollout of 999 steps
    "cheetah": (10 * 97, 5 * 97, 10 * 97),
}


@needs_data
@pytest.mark.parametrize("name", SIZES)
def test_parts_are_as_large_as_published(name: str) -> None:
    parts = protocol(name).parts("published")
    assert (len(parts.train), len(parts.validation), len(parts.test)) == SIZES[name]


@needs_data
@pytest.mark.parametrize("name", ["occupancy", "traffic"])
def test_the_split_in_time_shares_no_sample(name: str) -> None:
    def samples(part: object) -> set[bytes]:
        rows = part.inputs[:, :, :].numpy()  # type: ignore[attr-defined]
        return {window[0].tobytes() + window[-1].tobytes() for window in rows}

    parts = protocol(name).parts("time")
    assert not samples(parts.train) & samples(parts.validation)
    if name == "traffic":
        assert not samples(parts.train) & samples(parts.test)
        assert not samples(parts.validation) & samples(parts.test)


@needs_data
def test_walker_drops_one_step_in_ten() -> None:
    spans = protocol("walker").parts("published").train.timespans
    assert spans.min() == 1
    assert abs(float(1 / spans.mean()) - 0.9) < 0.01


def test_half_of_the_weights_stay_zero() -> None:
    cheetah = protocol("cheetah")
    torch.manual_seed(0)
    for name in ("CfC", "LSTM", "CT-RNN"):
        model = TableModel(cheetah, name, 17, 17, False)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(2, 4, 17), torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        model.mask()
        zero = torch.cat([(p == 0).flatten() for p, _ in model.masks]).float().mean()
        assert abs(float(zero) - 0.5) < 0.05, name


@needs_data
@pytest.mark.parametrize("contender", ["LTC", "CfC", "LSTM", "CT-RNN"])
def test_trains_on_real_data_and_the_seed_decides_all(contender: str) -> None:
    table = protocol("occupancy")
    settings = {contender: dataclasses.replace(table.settings[contender], epochs=2)}
    table, parts = dataclasses.replace(table, settings=settings), table.parts("published")
    parts = dataclasses.replace(parts, train=parts.train.pick(torch.arange(0, 7_000, 10)))
    once, again = (train(table, parts, contender, 1, lambda *_: None) for _ in range(2))
    assert once["test"] > 80
    assert {k: v for k, v in once.items() if k != "seconds"} == {k: v for k, v in again.items() if k != "seconds"}


def test_what_a_killed_run_left_is_read_and_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    trials.append(file, {"seed": 0})
    with file.open("a") as half:
        half.write('{"seed": 1, "te')
    assert trials.read(file) == [{"seed": 0}]
    trials.append(file, {"seed": 1})
    assert trials.read(file) == [{"seed": 0}, {"seed": 1}]
    file.write_text('{"seed": 0}\n{"seed": 1}')  # as an editor may leave it
    assert trials.read(file) == [{"seed": 0}, {"seed": 1}]
    trials.append(file, {"seed": 2})
    assert trials.read(file) == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    file.write_text('{"seed": 0}\n{"se{"seed": 1}\n')
    with pytest.raises(InputError, match=r"t\.jsonl, line 2 is damaged"):
        trials.read(file)


def test_the_summary_counts_and_compares() -> None:
    table = protocol("cheetah")

    def line(contender: str, seed: int, **more: object) -> dict[str, object]:
        made = {"contender": contender, "split": "published", "seed": seed, "made_with": "b", "epochs": 9 + seed}
        return made | {"parameters": 7, "seconds": 1.0} | more

    done = [line("LTC", 0, test=9.9, made_with="a")]  # of another setting
    done += [line("LTC", seed, test=value) for seed, value in enumerate((2.2, 2.3, 2.4))]
    done.append(done[2])  # two runs at once did it
    done.append(line("CT-RNN", 0, failed="the loss is no longer finite in epoch 3"))
    found = summary.summary(table, done)
    assert json.loads(json.dumps(found)) == found
    (row,) = found["rows"]
    assert (row["contender"], row["n"], row["seeds"]) == ("LTC", 3, [0, 1, 2])
    assert row["mean"] == pytest.approx(2.3)
    assert row["std"] == pytest.approx(np.std([2.2, 2.3, 2.4], ddof=1))
    # The paper has 2.308; half of the interval of three is 0.248, and 0.225 would matter.
    assert summary.reached(table, row) == "can't tell with n = 3 (-0.240 to +0.256)"
    assert summary.reached(table, row | {"mean": 2.2}) == "reached (-0.140 to +0.356)"
    assert summary.reached(table, row | {"mean": 3.3}) == "short of it (-1.240 to -0.744)"
    assert summary.reached(table, row | {"mean": 1.3}) == "reached, better (+0.760 to +1.256)"
    assert summary.reached(table, row | {"std": 0.8}).startswith("can't tell with n = 3")  # a wide one accepts nothing
    assert summary.reached(table, row | {"n": 2}) == "can't tell with n = 2"
    assert summary.reached(table, row | {"contender": "CfC", "mean": 2.2}).startswith("reached (")  # the paper's LTC
    assert summary.reached(table, row | {"contender": "GRU"}) == ""
    text = summary.section(table, done)
    assert "| LTC, *earlier setting* |" in text
    assert "5 of LTC" in text
    now = [x | {"made_with": f"{table.fingerprint('LTC')}-0"} for x in done[1:4]]
    text = summary.section(table, done + now)
    assert "| LTC | 2.300\N{NO-BREAK SPACE}±" in text
    assert "No row is tuned." in text
    assert "2 of LTC" in text
    assert "| 9–11 |" in text
    assert "no longer finite in epoch 3" in text
    drawn = ElementTree.fromstring(drawing(table, [row, row | {"contender": "GRU", "mean": 2.6}]))
    dots = [dot for dot in drawn if dot.tag.endswith("circle")][3:]  # after those of the legend
    at = {dot.get("fill"): float(dot.get("cx", "")) for dot in dots}
    ours, in_print, other = (at[colour] for colour in (LIQUID_COLOUR, "white", OTHER_COLOUR))
    assert (in_print - ours) / (other - ours) == pytest.approx(0.008 / 0.3, abs=0.01)
    assert "logarithmic" in drawing(table, [row, row | {"contender": "GRU", "mean": 26.0}])


def test_cuts_drawn_anew_are_compared_pair_by_pair() -> None:
    table, row = protocol("physionet"), {"split": "published", "made_with": "b"}
    tests = {"LTC": (0.80, 0.70, 0.90, 0.60), "GRU": (0.79, 0.69, 0.89), "CfC": (0.70, 0.60, 0.85, 0.50)}
    lines = [
        row | {"contender": name, "seed": seed, "test": value}
        for name, values in tests.items()
        for seed, value in enumerate(values)
    ]
    found = summary.behind(table, lines)
    assert found["LTC"] == "LTC itself"
    assert found["GRU"] == "-0.010 ± 0.000"  # though its mean is higher, over cuts that are easier
    assert found["CfC"].startswith("-0.088 ± 0.04")
    assert summary.behind(protocol("cheetah"), lines) == {}


def test_a_changed_setting_or_other_data_is_trained_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(TABLE, settings={"GRU": Setting(4, epochs=1)})

    def seeds_trained(table: Protocol) -> list[object]:
        before = len(trials.read(tmp_path / "cheetah.trials.jsonl"))
        monkeypatch.setattr("torchliquid.reproduce.run.protocol", lambda name: table)
        reproduce("cheetah", tmp_path, Quiet(), seeds=2)
        return [x["seed"] for x in trials.read(tmp_path / "cheetah.trials.jsonl")[before:]]

    assert seeds_trained(quick) == [0, 1]
    assert seeds_trained(quick) == []
    assert seeds_trained(quick.with_setup("GRU", {"lr": 0.01})) == [0, 1]
    other = dataclasses.replace(quick, parts=lambda split: dataclasses.replace(TABLE.parts(split), test=pieces(5)))
    assert seeds_trained(other) == [0, 1]
    assert summary.summary(other, trials.read(tmp_path / "cheetah.trials.jsonl"))["rows"][0]["n"] == 2


def test_a_grud_fades_to_the_mean_of_the_training_part() -> None:
    torch.manual_seed(0)
    observed = (torch.rand(20, 9, 3) < 0.6).float()
    values = 50 + 5 * torch.randn(20, 9, 3)
    grud = Missing(6, 4)
    grud.standardise(Sequences(torch.cat([values * observed, observed], 2), torch.ones(20, 9), torch.zeros(20)))
    seen = [values[..., k][observed[..., k] > 0].numpy() for k in range(3)]
    np.testing.assert_allclose(grud.mean, [x.mean() for x in seen], rtol=1e-5)
    np.testing.assert_allclose(grud.deviation, [x.std() for x in seen], rtol=1e-4)


def test_a_wrong_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table 'ocupancy'"):
        protocol("ocupancy")
    done = CliRunner().invoke(app, ["reproduce", "ocupancy", "--out", str(tmp_path / "new")])
    assert done.exit_code == 2
    assert not (tmp_path / "new").exists()


@needs_data
def test_a_cut_drawn_anew_has_the_same_patients_in_other_places() -> None:
    table = protocol("physionet")
    parts = table.parts("published")
    assert table.redraw is not None
    first, other = table.redraw(parts, 0), table.redraw(parts, 3)

    def patients(*pieces: Sequences) -> set[bytes]:
        return {row.numpy().tobytes() for piece in pieces for row in piece.inputs}

    assert [len(p) for p in (other.train, other.validation, other.test)] == [2_558, 639, 799]
    assert patients(other.train, other.validation, other.test) == patients(parts.train, parts.validation, parts.test)
    assert not patients(other.train) & patients(other.test)
    assert patients(first.test) != patients(other.test)


def test_a_page_needs_no_published_split_and_no_deviation(tmp_path: Path) -> None:
    line = {"contender": "LTC", "seed": 0, "parameters": 7, "epochs": 3, "seconds": 1.0, "test": 94.0}
    for name, split in (("occupancy", "time"), ("traffic", "published")):
        trials.append(tmp_path / f"{name}.trials.jsonl", line | {"split": split})
        (tmp_path / f"{name}.json").write_text("{}")
    write_tables(tmp_path, tmp_path / "page.md")
    assert "94.00" in (tmp_path / "page.md").read_text()
    assert [path.name for path in tmp_path.glob("*.svg")] == ["page-traffic.svg"]
    protocol_of_one = dataclasses.replace(protocol("traffic"), published={})
    row = {"contender": "GRU", "mean": 0.5, "std": 0.0}
    ElementTree.fromstring(drawing(protocol_of_one, [row]))


def test_a_page_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    out = CliRunner().invoke(app, ["reproduce", "traffic", "--out", str(tmp_path), "--page", str(tmp_path / "no/p.md")])
    assert out.exit_code == 2
    assert f"--page {tmp_path / 'no/p.md'}: there is no writable folder" in out.output
    assert list(tmp_path.iterdir()) == []


def test_a_stream_of_bits_is_told_by_its_changes_and_keeps_its_parity() -> None:
    """A second implementation, bit by bit, of what the authors publish with the seed of their test part."""
    found = xor.streams(200, xor.SEEDS[1])
    rng = np.random.RandomState(xor.SEEDS[1])
    for i in range(200):
        events, since, ones, last = [], 0, 0, -1
        for _ in range(rng.randint(2, 32)):
            bit, since = int(rng.randint(0, 2)), since + 1
            ones += bit
            if bit != last:
                events.append((bit, since))
                since = 0
            last = bit
        events += [(last, since)] * (since > 0)
        n = int(found.lengths[i])
        told = zip(found.inputs[i, :n, 0].tolist(), (32 * found.timespans[i, :n]).tolist(), strict=True)
        assert events == list(told)
        assert int(found.targets[i]) == ones % 2
        assert not found.inputs[i, n:].any()


def test_a_cfc_learns_the_parity_of_short_streams() -> None:
    table = protocol("xor")
    streams = xor.streams(6000, 0)
    short = streams.pick(torch.nonzero(32 * streams.timespans.sum(1) < 5).flatten())
    smaller = {"units": 32, "lr": 0.01, "decay": 1.0, "batch": 32, "epochs": 25, "span": 8.0}
    setting = dataclasses.replace(table.settings["CfC"], **smaller)
    small = dataclasses.replace(table, settings={"CfC": setting})
    line = train(small, Parts(short, short, short, outputs=2), "CfC", 0, lambda share, note: None)
    assert line["validation"] > 95


def test_no_seeds_are_not_all_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seeds must be at least 1, not 0"):
        reproduce("xor", tmp_path, Quiet(), seeds=0)


@pytest.mark.parametrize("line", ['{"a": 1}', "[1]", '{"contender": "CfC", "split": "published"}'])
def test_a_line_that_is_no_training_is_named(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchliquid.reproduce.run.protocol", lambda name: TABLE)
    (tmp_path / "cheetah.trials.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(InputError, match="line 1 is damaged; delete that line"):
        reproduce("cheetah", tmp_path, Quiet(), ["CfC"], seeds=1)


def test_a_file_is_no_folder_for_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchliquid.reproduce.run.protocol", lambda name: TABLE)
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match=r"results cannot be written \(File exists\); choose another"):
        reproduce("cheetah", tmp_path / "results", Quiet(), ["CfC"], seeds=1)
