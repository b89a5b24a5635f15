"""Sources of live samples: a program, a serial port, a socket, an MQTT broker, or a replayed recording."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from torchliquid.data import Recording
from torchliquid.data.files import check_there
from torchliquid.data.given import MICROSECONDS
from torchliquid.data.preprocessing import aligned
from torchliquid.errors import InputError
from torchliquid.mcp.lines import NoSample, Sample, split
from torchliquid.mcp.watch import Watch

POLL = 0.25
"""Seconds between two checks whether to stop."""

FIRST, LAST = 0.5, 30.0
"""Seconds before a lost device is tried again: for the first time, and at most."""

CHUNK = 65_536

FORMS = "exec:COMMAND, serial:PORT?baud=115200, tcp://HOST:PORT, mqtt://HOST:PORT/TOPIC or replay:FILE?speed=1"


@dataclass(frozen=True)
class Source:
    """One device: its kind (see :data:`KINDS`), where it is (a command, a port, an address or a file), and the options
    after the question mark."""

    kind: str
    where: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Source:
        """A source from its text, such as ``tcp://192.168.0.7:5000``."""
        kind, _, where = text.partition(":")
        if kind not in KINDS or not where:
            raise InputError(f"{text} is no source of samples; give {FORMS}")
        if kind == "exec":
            try:
                shlex.split(where)[0]
            except (ValueError, IndexError):
                raise InputError(f"{text}: no command; give exec:PROGRAM ARGUMENTS") from None
            return cls(kind, where, {})
        where, _, query = where.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        known = {"serial": {"baud"}, "replay": {"speed"}}.get(kind, set())
        for name, value in options.items():
            try:
                right = name in known and 0 <= float(value) < 1e9
            except ValueError:
                right = False
            if not right:
                raise InputError(f"{text}: {name}={value} is no option of it; give {FORMS}")
        if kind in ("tcp", "mqtt", "mqtts"):
            address = _address(kind, where)
            if address.hostname is None or (kind == "tcp" and address.port is None):
                raise InputError(f"{text}: no address; give {FORMS}")
            if kind != "tcp" and not address.path.strip("/"):
                raise InputError(f"{text}: the topic is missing; give mqtt://HOST:PORT/TOPIC")
        if kind == "replay":
            check_there(Path(where))
        return cls(kind, where, options)

    def __str__(self) -> str:
        """The source as it is displayed: only the program of a command, and no password."""
        where = Path(shlex.split(self.where)[0]).name if self.kind == "exec" else self.where
        if self.kind in ("mqtt", "mqtts"):
            where = "//" + where.removeprefix("//").rpartition("@")[2]
        return f"{self.kind}:{where}"

    def start(self, watch: Watch, stop: threading.Event) -> threading.Thread:
        """Send samples to a watch in a new thread, until ``stop`` is set."""
        thread = threading.Thread(target=self._run, args=(watch, stop), name=str(self), daemon=True)
        thread.start()
        return thread

    def _run(self, watch: Watch, stop: threading.Event) -> None:
        try:
            KINDS[self.kind](self, watch, stop)
        except Exception as error:
            named = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            watch.set_state("failed", f"{named}{error}")
            if not isinstance(error, InputError | OSError):
                raise


def _address(kind: str, where: str) -> Any:
    try:
        address = urlsplit(f"{kind}:{where}")
        address.port  # noqa: B018  raises where it is no number
    except ValueError as error:
        raise InputError(f"{kind}:{where}: {error}; give {FORMS}") from None
    return address


def _exec(source: Source, watch: Watch, stop: threading.Event) -> None:
    """The lines of a program, which is started once."""
    command = shlex.split(source.where)
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        watch.set_state("live")
        last_complaint: deque[bytes] = deque(maxlen=1)
        complaints = (line for line in split(chain(_read(process.stderr.fileno()), [b"\n"])) if line.strip())
        listener = threading.Thread(target=last_complaint.extend, args=(complaints,), daemon=True)
        listener.start()
        threading.Thread(target=_killed, args=(process, stop), daemon=True).start()
        for line in split(_read(process.stdout.fileno())):
            watch.line(line)
        code = process.wait()
        listener.join(POLL)
    if stop.is_set():
        return
    why = f": {last_complaint[0].decode(errors='replace').strip()}" if last_complaint and code else ""
    watch.set_state("ended", f"the program ended with code {code}{why}")


def _read(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def _killed(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    while process.poll() is None:
        if stop.wait(POLL):
            process.kill()


def _reconnecting(connect: Callable[[], Iterator[bytes]], watch: Watch, stop: threading.Event) -> None:
    """The lines of a device; a lost connection is opened again."""
    wait = FIRST
    while not stop.is_set():
        why = "the device closed the connection"
        try:
            for line in split(connect()):
                watch.line(line)
                wait = FIRST
                if stop.is_set():
                    return
        except OSError as error:
            why = str(error.strerror or error)
        watch.set_state("connecting", why)
        stop.wait(wait)
        wait = min(2 * wait, LAST)


def _tcp(source: Source, watch: Watch, stop: threading.Event) -> None:
    address = _address(source.kind, source.where)

    def connect() -> Iterator[bytes]:
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            watch.set_state("live")
            connection.settimeout(POLL)
            while not stop.is_set():
                try:
                    if not (chunk := connection.recv(CHUNK)):
                        return
                except TimeoutError:
                    continue
                yield chunk

    _reconnecting(connect, watch, stop)


def _serial(source: Source, watch: Watch, stop: threading.Event) -> None:
    try:
        import serial
    except ImportError:
        raise InputError("a serial port needs pyserial; run: pip install 'torchliquid[mcp]'") from None

    def connect() -> Iterator[bytes]:
        with serial.Serial(source.where, int(float(source.options.get("baud", 115200))), timeout=POLL) as port:
            watch.set_state("live")
            while not stop.is_set():
                if chunk := port.read(max(port.in_waiting, 1)):
                    yield chunk

    _reconnecting(connect, watch, stop)


def _mqtt(source: Source, watch: Watch, stop: threading.Event) -> None:
    """The messages of a topic: JSON objects, or single readings of the channel that the topic's last level names."""
    try:
        from paho.mqtt.client import Client, MQTTMessage
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise InputError("MQTT needs paho-mqtt; run: pip install 'torchliquid[mcp]'") from None
    address = _address(source.kind, source.where)
    topic = unquote(f"{address.path}#{address.fragment}" if "#" in source.where else address.path).removeprefix("/")

    def connected(client: Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            watch.set_state("connecting", f"the broker refuses: {code}")
        else:
            client.subscribe(topic, qos=1)
            watch.set_state("live")

    def lost(_client: Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        watch.set_state("connecting", f"the broker is gone: {code}")

    def received(_client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.retain:  # its age is unknown
            return
        payload, name = bytes(message.payload), message.topic.rpartition("/")[2]
        if payload.lstrip().startswith(b"{"):
            watch.line(payload)
            return
        try:
            watch.sample(watch.lines.named({name: json.loads(payload) if _is_number(payload) else payload.decode()}))
        except (NoSample, ValueError) as error:
            watch.refuse(payload, str(error) if isinstance(error, NoSample) else "bytes that are not text")

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect, client.on_disconnect, client.on_message = connected, lost, received
    client.reconnect_delay_set(1, int(LAST))
    if address.username is not None:
        client.username_pw_set(unquote(address.username), unquote(address.password or ""))
    if source.kind == "mqtts":
        client.tls_set_context(ssl.create_default_context())
    client.connect_async(address.hostname, address.port or (8883 if source.kind == "mqtts" else 1883))
    client.loop_start()
    stop.wait()
    client.disconnect()
    client.loop_stop()


def _is_number(payload: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return len(payload) < 100 and float(payload) is not None
    return False


def _replay(source: Source, watch: Watch, stop: threading.Event) -> None:
    """The samples of a recording at its own pace, or ``speed`` times as fast; 0: without pauses."""
    model, speed = watch.model, float(source.options.get("speed", 1))
    like = model.metadata.get("columns", {})
    recording = Recording.read(source.where, channels=model.preprocessing.channels, like=like)
    recording = aligned(recording, model.preprocessing)
    second = 10**6 / MICROSECONDS.get(recording.time_unit, 10**6)
    watch.set_state("live")
    for series in recording.series:
        watch.restart()
        due = time.monotonic()
        for i, values in enumerate(series.values):
            if i and speed:
                due += (series.times[i] - series.times[i - 1]) / second / speed
                if stop.wait(max(due - time.monotonic(), 0)):
                    return
            if stop.is_set():
                return
            at = float(series.times[i] + recording.origin)
            watch.sample(Sample(dict(zip(recording.channels, values.tolist(), strict=True)), at))
    watch.set_state("ended", "the recording is at its end")


KINDS: dict[str, Callable[[Source, Watch, threading.Event], None]] = {
    "exec": _exec,
    "serial": _serial,
    "tcp": _tcp,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
    "replay": _replay,
}
