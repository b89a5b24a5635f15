"""What devices send, well-formed and not, over every kind of source; the answers are those of the whole recording."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.needed import needs
from tests.mcp.pumps import small, small_run

from torchliquid import explain, fit
from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.mcp import watch as watching
from torchliquid.mcp.lines import LONGEST, Lines, NoSample, split
from torchliquid.mcp.reasons import Reasons
from torchliquid.mcp.sources import Source
from torchliquid.mcp.watch import Watch
from torchliquid.training import TrainingConfig

PATIENCE = 120.0


def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < patience
        time.sleep(0.01)


def rows(recording: Recording) -> list[bytes]:
    (series,) = recording.series
    return [
        ",".join([f"{t:g}", *(f"{v:.9g}" for v in values)]).encode() + b"\n"
        for t, values in zip(series.times, series.values, strict=True)
    ]


def agrees(watch: Watch, recording: Recording) -> None:
    """The watch saw every sample of the recording, in order, and says what the model says of the whole."""
    frame = small().predict(recording)
    assert watch.samples == recording.n_samples
    np.testing.assert_allclose(watch.answer[1], frame["probability_1"][-1], atol=1e-5)
    on = frame["alarm"].to_numpy().astype(int)
    assert watch.counts["alarms"] == int((np.diff(on, prepend=0) == 1).sum())
    assert watch.counts["samples 1"] == int((frame["prediction"] == "1").sum())
    assert sum(one.samples for one in watch.stretches) == watch.samples


@contextmanager
def running(source: str) -> Iterator[Watch]:
    watch, stop = Watch("plant", small(), source), threading.Event()
    thread = Source.parse(source).start(watch, stop)
    try:
        yield watch
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


# -- lines


@given(st.lists(st.binary(max_size=60), max_size=20), st.integers(1, 7))
def test_any_bytes_in_any_pieces_are_samples_names_or_refused(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(parts)
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    lines = list(split(iter(pieces)))
    assert lines == whole.split(b"\n")[:-1]
    reader = Lines(("heat", "load"))
    for line in lines:
        try:
            sample = reader.read(line)
        except NoSample:
            continue
        assert sample is None or sample.values


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1)


@given(
    st.lists(NAMES, unique=True, min_size=2, max_size=4),
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    st.booleans(),
)
def test_a_row_and_an_object_of_any_names_are_the_same_sample(
    names: list[str], values: list[float], with_json: bool
) -> None:
    named = dict(zip(names, values, strict=False))
    reader = Lines(tuple(names), "clock of ours")
    sent = {"clock of ours": 3.5, **named}
    if with_json:
        sample = reader.read(json.dumps(sent).encode())
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(sent)
        writer.writerow(sent.values())
        head, row = text.getvalue().splitlines()
        assert reader.read(head.encode()) is None
        sample = reader.read(row.encode())
    assert sample is not None
    assert float(sample.time) == 3.5
    assert {name: float(v) for name, v in sample.values.items()} == named


def test_garbage_is_counted_and_the_stream_goes_on() -> None:
    watch, recording = Watch("plant", small(), "test"), small_run(60)
    bad = [
        b"\xff\xfe\x00\n", b"{\n", b'{"heat": [1, 2]}\n', b'{"noise": 3}\n', b"1,2,3,4,5\n", b"x,y,z\n", b'"\n',
        b"nan,1,1\n", b"yesterday,1,2\n", b"[" * 5000 + b"\n", b'{"heat":' * 5000 + b"\n", b"9" * (3 * LONGEST) + b"\n",
    ]  # fmt: skip
    sent: list[bytes] = []
    for i, row in enumerate(rows(recording)):
        sent += [row, bad[i % len(bad)]]
    whole = b"".join(sent)
    for line in split(whole[i : i + 1000] for i in range(0, len(whole), 1000)):
        watch.line(line)
    agrees(watch, recording)
    assert watch.refused == 60
    assert watch.history()["last_refused"]["text"].startswith('"')
    assert len(watch.history()["last_refused"]["text"]) < 1000


def test_a_time_that_does_not_move_or_goes_back_is_counted() -> None:
    watch = Watch("plant", small(), "test")
    for at in (0, 1, 1, 2, 0, 1):
        watch.line(b"%d,0.1,0.2" % at)
    assert (watch.samples, watch.refused) == (5, 0)
    assert watch.history()["faults"] == {"repeated": 1, "backward": 1}


def test_what_is_missing_or_cannot_be_read_is_told() -> None:
    watch = Watch("plant", small(), "test")
    for at in range(20):
        watch.line(json.dumps({"time": at, "heat": "unavailable" if at % 4 == 0 else 0.5}).encode())
    assert (watch.samples, watch.refused) == (15, 5)
    watch.line(b'{"time": 20, "heat": 0.5, "load": "unavailable"}')
    assert "No reading came of channel 2 in the last 16 samples." in watch.now()["sentences"]
    watch.line(b'{"time": 20.5, "heat": 1e300, "load": Infinity}')  # impossible: not observed
    why = Reasons(watch)()
    assert {one["channel"]: one["reading"] for one in why["inputs"]} == {"channel 1": 0.5, "channel 2": None}
    for line in (b"time,heat,load", b"21,,", b"22,,0.5"):  # nothing was sampled, which is no fault
        watch.line(line)
    assert (watch.samples, watch.refused) == (19, 5)
    assert watch.history()["faults"] == {"unreadable": 1}


def test_which_expert_answers_since_when_and_how_often() -> None:
    """Against the layer's own choices, with a name among the channels that is none."""
    names = ("ignore all", "load")
    recording = small_run(names=names)
    model = fit(recording, kind="mixture", experts=2, parameters=400, config=TrainingConfig(updates=40, seed=0))
    watch = Watch("plant", model, "test")
    for at, row in enumerate(recording.series[0].values[:150]):
        watch.line(json.dumps({"time": at, names[0]: row[0], names[1]: row[1]}).encode())
    why = Reasons(watch)()
    called = explain.experts(model, replace(recording, series=(recording.series[0].cut(0, 150),))).chosen[0][:, 0]
    (now,) = [one for one in why["experts"] if one["now"]]
    assert now["expert"] == called[-1] + 1
    since = 0 if (called == called[-1]).all() else int(np.flatnonzero(called != called[-1])[-1]) + 1
    assert now["since"] == watch.when(float(since))
    assert [one["load"] for one in why["experts"]] == [round(float((called == k).mean()), 4) for k in range(2)]
    (words,) = [words for words in why["sentences"] if "answers now" in words]
    assert f"Expert {now['expert']} of 2" in words
    assert names[0] not in json.dumps({key: value for key, value in why.items() if key != "names"})
    assert not any("clock" in neuron for neuron in why["time_constants"]["now"])


def test_without_times_and_without_a_unit_samples_are_the_usual_gap_apart() -> None:
    model = copy.deepcopy(small())
    model.preprocessing = replace(model.preprocessing, time_unit="units")
    watch = Watch("plant", model, "test")
    for row in small_run(40).series[0].values:
        watch.line(b"%.9g,%.9g" % tuple(row))
    assert watch.samples == 40
    assert watch.history()["stretches"][-1]["to"] == "39 units"


# -- sources


def test_a_socket_that_is_lost_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = small_run(100)
    sent = rows(recording)
    monkeypatch.setattr("torchliquid.mcp.sources.FIRST", 0.05)
    monkeypatch.setattr(watching, "SILENT", 0.2)
    monkeypatch.setattr(watching, "GAPS", 0)
    with (
        socket.create_server(("127.0.0.1", 0)) as device,
        running(f"tcp://127.0.0.1:{device.getsockname()[1]}") as watch,
    ):
        with pytest.raises(InputError, match=r"plant: no sample has come yet; the source is (connecting|live)"):
            watch.now()
        with device.accept()[0] as connection:
            connection.sendall(b"time,heat,load\n" + b"".join(sent[:40]))
            until(lambda: watch.samples == 40)
            until(lambda: watch.status()["state"] == "silent")
            assert watch.now()["sentences"][0].startswith("Nothing has come for")
            connection.sendall(b"".join(sent[40:60])[:-3])  # and is cut off within a line
        with device.accept()[0] as connection:
            connection.sendall(b"time,heat,load\n" + b"".join(sent[59:]))
            until(lambda: watch.samples == 100)
            agrees(watch, recording)
            assert (watch.refused, watch.status()["state"]) == (0, "live")


def test_a_serial_port() -> None:
    recording = small_run(80)
    own, device = os.openpty()
    try:
        with running(f"serial:{os.ttyname(device)}?baud=9600") as watch:
            until(lambda: watch.state == "live")
            for row in rows(recording):
                os.write(own, row.replace(b"\n", b"\r\n"))
            until(lambda: watch.samples == 80)
            agrees(watch, recording)
    finally:
        os.close(own)
        os.close(device)


def test_a_program_that_ends_says_with_what(tmp_path: Path) -> None:
    recording = small_run(50)
    (tmp_path / "device.py").write_text(
        f"import sys\nfor row in {[row.decode() for row in rows(recording)]!r}: sys.stdout.write(row)\n"
        "sys.exit('the bus is gone')\n"
    )
    with running(f"exec:{sys.executable} {tmp_path / 'device.py'}") as watch:
        until(lambda: watch.state == "ended")
        agrees(watch, recording)
        assert watch.status()["why"] == '"the program ended with code 1: the bus is gone"'
    with running("exec:no-such-program") as watch:
        until(lambda: watch.state == "failed")


def test_a_recording_is_replayed_at_its_pace_or_at_once(tmp_path: Path) -> None:
    recording = small_run(50)
    (tmp_path / "run.csv").write_bytes(b"time,heat,load\n" + b"".join(rows(recording)))
    with running(f"replay:{tmp_path / 'run.csv'}?speed=0") as watch:
        until(lambda: watch.state == "ended")
        agrees(watch, recording)
    with running(f"replay:{tmp_path / 'run.csv'}?speed=20") as watch:
        until(lambda: watch.samples > 3)
        assert watch.state == "live"
        assert watch.samples < 50


@contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = shutil.which("mosquitto") or "mosquitto"
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_broker_that_goes_and_comes_again(tmp_path: Path) -> None:
    needs("mosquitto")
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    recording = small_run(60)
    (series,) = recording.series
    messages = [
        json.dumps({"time": t, "heat": a, "load": b}) for t, (a, b) in zip(series.times, series.values, strict=True)
    ]

    def publish(*payloads: str | bytes, topic: str = "plant/pump") -> None:
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        for payload in payloads:
            client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE)
        client.disconnect()
        client.loop_stop()

    with running(f"mqtt://user:secret@127.0.0.1:{port}/plant/#") as watch:
        assert "secret" not in watch.source or str(Source.parse(watch.source)).count("secret") == 0
        with broker(tmp_path, port):
            until(lambda: watch.state == "live")
            publish(*messages[:30], b"\xff\xff", "{", "[]")
            until(lambda: watch.samples == 30 and watch.refused == 3)
        until(lambda: watch.state == "connecting")
        with broker(tmp_path, port):
            until(lambda: watch.state == "live")
            publish(*messages[30:])
            until(lambda: watch.samples == 60)
            agrees(watch, recording)
            publish("0.25", topic="plant/load")  # one reading; it comes now
            until(lambda: watch.samples == 61)
            assert np.isnan(watch.kept[-1][1][0])
            assert watch.kept[-1][1][1] == 0.25


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("udp://1.2.3.4:5", "no source of samples"),
        ("tcp://host", "no address"),
        ("tcp://host:99999", "Port out of range"),
        ("mqtt://host:1883", "the topic is missing"),
        ("replay:none.csv", "no such file"),
        ("serial:/dev/ttyUSB0?baud=fast", "baud=fast"),
        ("serial:/dev/ttyUSB0?baud=inf", "baud=inf"),
        ("exec:'", "no command"),
    ],
)
def test_what_is_no_source_is_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as error:
        Source.parse(text)
    assert "\n" not in str(error.value)


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.floats(0.1, 0.9), st.integers(0, 4), st.integers(0, 4))
def test_alarms_that_are_set_by_hand_are_those_of_the_rule(
    probabilities: list[float], threshold: float, length: int, merge: int
) -> None:
    from torchliquid.alarms import Alarm

    watch = Watch("plant", small(), "test")
    watch.set_alarm(threshold, length, merge, "a test")
    seen: list[bool] = []
    for p in probabilities:
        watch.kept.append((0.0, np.zeros(2)))
        watch.answer, watch.last = np.array([1 - p, p]), float(len(seen))
        watch._follow(1.0)
        assert watch.alarm is not None
        seen.append(watch.alarm.on)
    rule = Alarm(float(length), float(merge), None, threshold)
    expected = rule.raised(np.array(probabilities) >= threshold, np.arange(len(probabilities)) * 1.0)
    assert seen == expected.tolist()
