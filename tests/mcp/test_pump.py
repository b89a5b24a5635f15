"""A pump's readings go through the exported C in an emulator, and a client asks about it as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from tests.helpers.exports import needs_zig
from tests.helpers.needed import needs
from tests.mcp.pumps import lines_of, pump, run_of, save, small, small_run, table

from mcp import Client, StdioServerParameters
from torchliquid.data.given import stamp
from torchliquid.edge import export
from torchliquid.edge.targets import TARGETS
from torchliquid.mcp.watch import Watch
from torchliquid.models import Model

ROOT = Path(__file__).parents[2]
ZIG = f"{sys.executable} -m ziglang cc -target aarch64-linux-musl -static"


def device(model: Model, folder: Path) -> Path:
    """The program for a Raspberry Pi that answers lines of readings."""
    export(model, TARGETS["c99"], folder / "device", run_of())
    subprocess.run(["make", "-s", "live", f"CC={ZIG}"], cwd=folder / "device", check=True)
    return folder / "device" / "live"


async def questions(server: StdioServerParameters, *asked: tuple[str, str]) -> list[dict[str, Any]]:
    async with Client(server) as client:
        with anyio.fail_after(120):
            while True:
                sensors = (await client.call_tool("list_sensors", {})).structured_content["sensors"]
                if all(one["state"] == "ended" for one in sensors):
                    break
                await anyio.sleep(0.1)
        found = [await client.call_tool(tool, {"sensor": sensor}) for tool, sensor in asked]
    assert not any(one.is_error for one in found)
    return [one.structured_content for one in found]


def test_is_the_pump_well_since_when_not_which_sensor_says_so_and_how_sure(tmp_path: Path, data_dir: Path) -> None:
    needs_zig()
    needs("qemu-aarch64")
    model, recording = pump(), run_of()
    (series,) = recording.series
    save(model, tmp_path)
    save(pump("cfc"), tmp_path, "second.safetensors")
    (tmp_path / "readings.csv").write_text("\n".join(lines_of(recording)) + "\n")
    source = f"exec:qemu-aarch64 {device(model, tmp_path)} {tmp_path / 'readings.csv'}"
    other = data_dir / "skab" / "valve1" / "3.csv"
    words = ["-m", "torchliquid", "mcp", "--live", f"pump={tmp_path / 'model.safetensors'},{source}"]
    words += ["--live", f"second={tmp_path / 'second.safetensors'},replay:{other}?speed=0"]
    server = StdioServerParameters(command=sys.executable, args=words, env={"OMP_NUM_THREADS": "1"})
    asked = [("sensor_now", "pump"), ("sensor_why", "pump"), ("sensor_history", "pump"), ("sensor_now", "second")]
    now, why, history, second = anyio.run(questions, server, *asked)

    frame = model.predict(recording)
    on = frame["alarm"].to_numpy()
    times = series.times + recording.origin

    # Is the pump well? No, and that is the truth.
    assert now["samples"] == len(series)
    assert json.loads(now["names"][now["class"]]) == frame["prediction"][-1] == "1"
    assert series.targets is not None
    assert float(series.targets[-1]) == 1
    assert now["alarm"]["on"]

    # Since when not? Since the model's alarm began, and that is soon after the valve was closed.
    (last,) = [i for i in np.flatnonzero(np.diff(on.astype(int), prepend=0) == 1) if on[i:].all()]
    assert stamp(now["alarm"]["since"]["from"], "s")[0] == pytest.approx(times[last], abs=1e-3)
    closed = times[np.flatnonzero(np.diff(series.targets) > 0)[-1] + 1]
    assert 0 <= times[last] - closed < 60
    assert history["alarms"]["count"] == int((np.diff(on.astype(int), prepend=0) == 1).sum())
    assert history["classes"]["class 2"]["samples"] == int((frame["prediction"] == "1").sum())

    # Which sensor says so? The one without whose readings the answer would move most.
    moved = []
    for channel in range(len(recording.channels)):
        values = series.values.copy()
        values[-60:, channel] = model.preprocessing.mean[channel]
        without = model.predict(replace(recording, series=(replace(series, values=values),)))
        moved.append(abs(without["probability_1"][-1] - frame["probability_1"][-1]))
    first = why["inputs"][0]
    assert json.loads(why["names"][first["channel"]]) == recording.channels[int(np.argmax(moved))]
    assert first["reading"] == pytest.approx(series.values[-1, int(np.argmax(moved))], rel=1e-4)
    assert f"{first['channel']} moved this answer most" in why["sentences"][0]
    assert len(why["time_constants"]["now"]) > 10

    # How sure are you? As sure as the model, which was as good as that on its validation part; the device agrees.
    assert now["probabilities"]["class 2"] == pytest.approx(frame["probability_1"][-1], abs=1e-4)
    assert now["how_sure"]["validation"]["f1"] == pytest.approx(
        model.metadata["training"]["validation"]["f1"], rel=1e-3
    )
    assert now["how_sure"]["largest_difference_to_device"] < 1e-4

    # And the second sensor, by its own model.
    assert second["samples"] == sum(1 for line in other.read_text().splitlines() if line) - 1


def test_the_exported_program_leaves_out_what_is_no_line_and_keeps_holes(tmp_path: Path) -> None:
    needs("gcc")
    names = ('heat "inside", new', "load")
    model = small(names)
    export(model, TARGETS["c99"], tmp_path / "device", small_run(names=names))
    subprocess.run(["make", "-s", "live"], cwd=tmp_path / "device", check=True)
    given = [line.rpartition(",")[0] for line in table(names, 50).splitlines()]
    holes = [f"{line.rpartition(',')[0]}," if i % 7 == 0 and i else line for i, line in enumerate(given)]
    fed = "\n".join([*holes[:20], "no line", "", *holes[20:], ""])
    said = subprocess.run([tmp_path / "device" / "live"], input=fed, capture_output=True, text=True, check=True).stdout
    watch = Watch("plant", model, "a test")
    for line in said.splitlines():
        watch.line(line.encode())
    assert (watch.samples, watch.refused) == (50, 0)
    assert watch.difference is not None
    assert watch.difference < 1e-5
    seen = np.array([values for _, values in watch.kept])
    assert np.isnan(seen[:, 1]).sum() == sum(line.endswith(",") for line in holes) > 3


class LocalModel(BaseHTTPRequestHandler):
    """Stands for a language model behind OpenAI's interface: it asks about sensors, then repeats what it read."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = asked["messages"][-1]
        assert {tool["function"]["name"] for tool in asked["tools"]} >= {"sensor_now", "sensor_why"}
        if last["role"] == "user":
            call = {"id": "1", "type": "function", "function": {"name": "list_sensors", "arguments": "{}"}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        else:
            (sensor,) = json.loads(last["content"])["sensors"]
            message = {"role": "assistant", "content": f"{sensor['sensor']} has {sensor['state']}"}
        body = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_a_local_model_asks_by_the_example(tmp_path: Path) -> None:
    small().save(tmp_path / "model.safetensors")
    (tmp_path / "plant.csv").write_text(table())
    with ThreadingHTTPServer(("127.0.0.1", 0), LocalModel) as local:
        threading.Thread(target=local.serve_forever, daemon=True).start()
        script, address = ROOT / "examples" / "ask.py", f"http://127.0.0.1:{local.server_port}/v1"
        source = f"plant={tmp_path}/model.safetensors,replay:{tmp_path}/plant.csv?speed=0"
        command = [sys.executable, str(script), address, "Is it well?", "--live", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        local.shutdown()
    assert done.stdout.strip() in ("plant has ended", "plant has live", "plant has connecting"), done.stderr
