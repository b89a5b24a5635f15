"""Jobs on a real Ray cluster: spread, streamed back, done again where a node died, and bit for bit the same."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.study.test_resume import figures, finished, write_recording
from tests.study.test_workers import Record
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.errors import InputError
from torchliquid.jobs import Job, JobError, Progress, cluster, workers

ray = pytest.importorskip("ray")
CONTENDERS = ("cfc", "cfc_ncp", "ltc_ncp", "gru", "lstm", "transformer", "linear", "boosting")


def three(number: int, shared: np.ndarray, seconds: float, starts: Path, progress: Progress) -> Iterator[tuple]:
    node = ray.get_runtime_context().get_node_id()
    with starts.open("a") as file:
        file.write(f"{number} {node}\n")
    shared += number  # a job's own copy, as in a process
    for step in range(3):
        progress(step / 3, f"step {step}")
        time.sleep(seconds)
        yield number, step, float(shared.sum()), node, torch.get_num_threads()


def fail(starts: Path, progress: Progress) -> Iterator[None]:
    with starts.open("a") as file:
        file.write("once\n")
    raise ValueError("row 7")
    yield


def die(progress: Progress) -> Iterator[None]:
    os._exit(1)
    yield


@pytest.mark.slow
def test_jobs_spread_over_the_nodes_and_a_dead_node_loses_nothing(two_nodes, tmp_path: Path, capfd) -> None:
    nodes, second = two_nodes
    record, kept, starts, shared = Record(), [], tmp_path / "starts", np.ones(5)

    def keep(result: tuple) -> None:
        kept.append(result)
        there = [k for k in kept if k[3] == second.node_id]
        if len(there) == 4 and there[-1] == result:  # one job done there, another amid its work
            threading.Thread(target=nodes.remove_node, args=(second,), kwargs={"allow_graceful": False}).start()

    with workers(1, 1, nodes.address) as run:
        run([Job(str(i), three, (i, shared, 0.5, starts), keep) for i in range(6)], record)

    assert sorted(k[:3] for k in kept) == [(i, step, 5.0 + 5 * i) for i in range(6) for step in range(3)]
    assert {k[4] for k in kept} == {1}
    assert shared.sum() == 5
    nodes: dict[str, list[str]] = {}
    for line in starts.read_text().splitlines():
        nodes.setdefault(line.split()[0], []).append(line.split()[1])
    again = [n for n in nodes.values() if len(n) > 1]
    assert [len(set(n)) for n in again] == [2], "one was running on the node that died, and ran again on the other"
    assert sum(second.node_id in n for n in nodes.values()) == 2, "the job that had ended there was not done again"
    for i in range(6):
        told = [event for event, name in record.events if name == str(i)]
        assert (told[0], told[-1], told.count("started"), told.count("finished")) == ("started", "finished", 1, 1)
        assert "0.6666666666666666 step 2" in told
    out, err = capfd.readouterr()
    assert "raylet" not in out + err


def test_a_job_that_fails_is_not_tried_again_and_one_that_dies_is_named(two_nodes, tmp_path: Path) -> None:
    nodes, _ = two_nodes
    with workers(1, 1, nodes.address) as run:
        with pytest.raises(ValueError, match="row 7"):
            run([Job("a", fail, (tmp_path / "starts",), print)], Record())
        assert (tmp_path / "starts").read_text() == "once\n"
        with pytest.raises(JobError, match="LSTM, seed 3 did not finish"):
            run([Job("LSTM, seed 3", die, (), print)], Record())
    assert not ray.is_initialized()


@pytest.mark.slow
def test_who_waits_for_others_is_told_and_who_waits_in_vain_stopped(
    two_nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SILENCE", 0.5)
    record, kept = Record(), []
    with workers(1, 1, two_nodes[0].address) as run:
        others = [ray.remote(lambda: time.sleep(4)).remote() for _ in range(2)]
        time.sleep(1)
        run([Job("a", three, (0, np.ones(1), 0.0, tmp_path / "starts"), kept.append)], record)
        ray.get(others)
        assert len(kept) == 3
        assert record.events[0] == ("waiting", "a free CPU of the cluster")
        assert [event for event, _ in record.events].count("waiting") == 1
    with pytest.raises(InputError, match="no node of the cluster offers 3 CPU"), workers(1, 3, "auto") as run:
        run([Job("a", three, (), print)], Record())


@pytest.mark.slow
def test_nodes_that_lack_or_differ_are_named(two_nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = two_nodes[0].address
    monkeypatch.setattr(cluster, "_versions", lambda: {"torch": "0.1"})
    with pytest.raises(InputError, match=r"not {'torch': '0.1'}; install the same"), workers(1, 1, address) as run:
        run([Job("a", die, (), print)], Record())

    (tmp_path / "only_here.py").write_text("def work(*parts):\n    yield 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cluster, "_work", importlib.import_module("only_here").work)
    shutil.rmtree(tmp_path)
    with (
        pytest.raises(InputError, match=r"cannot load torchliquid \(ModuleNot"),
        workers(1, 1, address) as run,
    ):
        run([Job("a", die, (), print)], Record())


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 "),
        ("somewhere", "'somewhere' is not an address"),
        ("127.0.0.1:99999", "'127.0.0.1:99999' is not an address"),
    ],
)
def test_a_wrong_address_is_one_line(tmp_path: Path, address: str, reason: str) -> None:
    write_recording(tmp_path / "recording.csv")
    done = study(tmp_path / "recording.csv", tmp_path / "out", "--ray", address)
    assert done.returncode == 2
    assert done.stderr.startswith(f"torchliquid: {reason}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_answers_but_is_no_cluster_is_one_line(tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = study(tmp_path / "recording.csv", tmp_path / "out", "--ray", address)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"torchliquid: no Ray cluster can be used at {address} (")
    assert not (tmp_path / "out").exists()


def test_jobs_and_a_cluster_are_not_asked_for_together(tmp_path: Path) -> None:
    words = ["reproduce", "cheetah", "--jobs", "2", "--ray", "auto", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'torchliquid\[ray\]'"), workers(1, 1, "auto"):
        pass


@pytest.mark.slow
def test_a_study_is_bit_for_bit_the_same_wherever_it_runs(two_nodes, tmp_path: Path) -> None:
    """In one process, in two, and on a cluster that loses a node in the middle."""
    nodes, second = two_nodes
    recording = tmp_path / "recording.csv"
    write_recording(recording)
    folders = [tmp_path / name for name in ("one", "two", "cluster")]
    seen: dict[Path, float] = {}

    def kill() -> None:
        while len(seen) < 4:
            time.sleep(0.05)
            if folders[2].exists():
                seen.update(finished(folders[2]))
        nodes.remove_node(second, allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    limited = ("--ray", nodes.address, "--time-limit", "3h")  # into which all fits
    for folder, where in zip(folders, (("--jobs", "1"), ("--jobs", "2"), limited), strict=True):
        done = study(recording, folder, *where)
        assert done.returncode == 0, done.stderr
        assert "raylet" not in done.stdout + done.stderr
    assert len(nodes.list_all_nodes()) == 1
    assert seen.items() <= finished(folders[2]).items(), "a finished trial was lost or done again"
    for other in folders[1:]:
        assert figures(folders[0]) == figures(other)
        assert weights(folders[0]) == weights(other)
    assert len(weights(folders[0])) == 14  # 2 seeds of 6 networks, and the linear model and the trees


def study(recording: Path, out: Path, *where: str) -> subprocess.CompletedProcess[str]:
    """Threads are left to the study: nothing in the environment holds them down."""
    words = [sys.executable, "-m", "torchliquid", "assess", str(recording), "--target", "up", "--time", "t", *where]
    words += ["--seeds", "2", "--tuning", "1", "--epochs", "3", "--parameters", "400", "--out", str(out)]
    words += [word for name in CONTENDERS for word in ("--contender", name)]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


def weights(out: Path) -> dict[str, dict[str, bytes]]:
    found = {path.parent.name: load_file(path) for path in out.glob("trials/*/model.safetensors")}
    return {trial: {name: t.numpy().tobytes() for name, t in one.items()} for trial, one in found.items()}
