"""Tables of files that a user brings: artificial files in the published layouts, whole and broken."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.datasets import gesture, har, load, ozone, person, power
from torchliquid.errors import InputError
from torchliquid.reproduce.contenders import Contender
from torchliquid.reproduce.protocol import Part
from torchliquid.reproduce.protocols import protocol
from torchliquid.reproduce.trial import measure, train

RNG = np.random.default_rng(0)


def write_person(folder: Path) -> None:
    lines = []
    for name in ("A01", "A02", "B01", "B02"):
        for i in range(100):
            tag = list(person.TAGS)[i % 4]
            x, y, z = RNG.normal(size=3)
            activity = list(person.ACTIVITIES)[i // 9 % 11]
            when = f"{633790226051280329 + i},27.05.2009 14:03:25:127"
            lines.append(f"{name},{tag},{when},{x},{y},{z},{activity}\n")
    (folder / person.FILE).write_text("".join(lines))


def write_har(folder: Path) -> None:
    with zipfile.ZipFile(folder / har.ARCHIVE, "w") as archive:
        for part, rows in har.ROWS.items():
            features = RNG.uniform(-1, 1, (rows, har.FEATURES))
            text = "\n".join("  " + " ".join(f"{v: .7e}" for v in row) for row in features)
            archive.writestr(f"{har.FOLDER}/{part}/X_{part}.txt", text + "\n")
            archive.writestr(f"{har.FOLDER}/{part}/y_{part}.txt", "".join(f"{i % 6 + 1}\n" for i in range(rows)))


def write_power(folder: Path) -> None:
    header = ";".join(["Date", "Time", *power.COLUMNS])
    rows = [
        f"16/12/2006;{17 + i // 60}:{i % 60:02}:00;" + ";".join(f"{v:.3f}" for v in RNG.uniform(0, 9, 7))
        for i in range(32 * 40 + 1)
    ]
    rows[5] = "16/12/2006;17:05:00;?;?;?;?;?;?;"
    (folder / power.FILE).write_text("\n".join([header, *rows, ""]))


def write_gesture(folder: Path) -> None:
    for video, rows in gesture.ROWS.items():
        header = ",".join([*(f'"{i + 1}"' for i in range(gesture.FEATURES)), '"Phase"'])
        lines = [",".join([*(f"{v:.6f}" for v in RNG.normal(size=32)), "DPSHR"[i // 9 % 5]]) for i in range(rows)]
        (folder / f"{video}_va3.csv").write_text("\n".join([header, *lines, ""]))


def write_ozone(folder: Path) -> None:
    lines = []
    for i in range(200):
        fields = ["?" if RNG.random() < 0.1 else f"{v:.2f}" for v in RNG.normal(size=ozone.FEATURES)]
        lines.append(",".join([f"{i % 12 + 1}/{i % 28 + 1}/1998", *fields, f"{i // 10 % 2}."]))
    (folder / ozone.FILE).write_text("\n".join([*lines, ""]))


WRITERS: dict[str, Callable[[Path], None]] = {
    "person": write_person,
    "har": write_har,
    "power": write_power,
    "gesture": write_gesture,
    "ozone": write_ozone,
}
# windows that train, validate and test as published, and outputs
SIZES = {
    "person": ((12, 1, 2), 7),  # five of 32 in each of three recordings of 100; the last recording is left out
    "har": ((40, 4, 3), 6),  # 44 of 16 in 60 rows; every eighth in 40
    "power": ((30, 4, 6), 1),  # 40 of 32 in 1,281 rows
    "gesture": ((38, 4, 7), 5),  # four and three between them in each of seven videos of 150 frames
    "ozone": ((32, 4, 6), 2),  # every fourth in 200 days
}


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A folder with all five, small, and no checksum that they could have."""
    monkeypatch.setenv("TORCHLIQUID_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(person, "ROWS", 400)
    monkeypatch.setattr(har, "ROWS", {"train": 60, "test": 40})
    monkeypatch.setattr(gesture, "ROWS", dict.fromkeys(gesture.ROWS, 150))
    for module in (har, power, ozone):
        unknown = dataclasses.replace(module.SOURCE, files=dict.fromkeys(module.SOURCE.files, ()), sizes={})
        monkeypatch.setattr(module, "SOURCE", unknown)
    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    return tmp_path


def windows_of(part: Part) -> set[bytes]:
    return {window.tobytes() for window in part.inputs.numpy()}


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_of_a_users_file_is_cut_and_trained(made, name):
    table = protocol(name)
    sizes, outputs = SIZES[name]
    parts = table.parts("published")
    assert tuple(len(p) for p in (parts.train, parts.validation, parts.test)) == sizes
    assert parts.outputs == outputs
    later = table.parts("time")
    for one, other in ((later.train, later.test), (later.train, later.validation), (later.validation, later.test)):
        assert not windows_of(one) & windows_of(other)
    for part in (parts.train, parts.test):
        assert np.isfinite(part.inputs.numpy()).all()

    small = table.with_setup("CfC", {"epochs": 1, "layer": {"backbone_units": 8}, "units": 8})
    line = train(small, parts, "CfC", 0, lambda *_: None)
    assert np.isfinite(line["test"]), line


def test_what_is_missing_of_power_is_the_last_known(made):
    recording = load("power").train
    assert np.isnan(recording.series[0].values[5]).all()
    parts = protocol("power").parts("time")
    np.testing.assert_array_equal(parts.train.inputs[0, 5], parts.train.inputs[0, 4])
    np.testing.assert_array_equal(parts.train.targets[0, 5], parts.train.targets[0, 4])


def test_gesture_windows_are_the_authors(made, monkeypatch):
    """Their script cuts whole windows first, then one half-way between each two."""
    rows = {video: 1_107 + i for i, video in enumerate(gesture.ROWS)}  # whole, and with nearly a whole one behind
    monkeypatch.setattr(gesture, "ROWS", rows)
    write_gesture(made / "gesture")
    parts = protocol("gesture").parts("published")
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == sum(2 * (n // 32) - 1 for n in rows.values())


BROKEN: dict[str, tuple[str, Callable[[str], str], str]] = {
    "person": (person.FILE, lambda text: text.replace("walking", "flying"), "it has activity 'flying'"),
    "power": (power.FILE, lambda text: text.replace("Voltage", "Volts"), "columns Date, Time"),
    "gesture": (
        "b1_va3.csv",
        lambda text: text + text.splitlines()[-1] + "\n",
        "151 rows of 33 columns instead of 150",
    ),
    "ozone": (ozone.FILE, lambda text: text.replace(",", ";"), "not the published file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(made, name):
    file, change, why = BROKEN[name]
    path = made / name / file
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match="is not the published file") as caught:
        load(name)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    done = CliRunner().invoke(app, ["reproduce", name, "--out", str(made / "new")])
    assert done.exit_code == 2
    assert not (made / "new").exists()


def test_an_unpacked_har_with_a_feature_out_of_range_is_one_line(made):
    with zipfile.ZipFile(made / "har" / har.ARCHIVE) as archive:
        archive.extractall(made / "har")
    assert load("har").notes[-1].startswith("The archive was unpacked")
    file = made / "har" / har.FOLDER / "test" / "X_test.txt"
    file.write_text(file.read_text().replace("e-01", "e+01"))
    with pytest.raises(InputError, match="numbers outside -1 to 1"):
        load("har")


@pytest.mark.parametrize("name", ["har", "power", "ozone"])
def test_a_file_with_another_checksum_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCHLIQUID_DATA", str(tmp_path))
    (tmp_path / name).mkdir()
    module = {"har": har, "power": power, "ozone": ozone}[name]
    (tmp_path / name / next(iter(module.SOURCE.files))).write_bytes(b"1,2\n")
    with pytest.raises(InputError, match="is not the published file"):
        load(name)


def test_f1_is_of_days_with_ozone(made):
    table = protocol("ozone")
    part = table.parts("published").test
    model = Contender(table, "GRU", ozone.FEATURES, 2, False)
    said = model(part.inputs, part.timespans).argmax(-1)
    assert 0 < said.float().mean() < 1
    assert measure(table, model, part) == pytest.approx(f1_score(part.targets.flatten(), said.flatten()))
