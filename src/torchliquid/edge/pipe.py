"""Runs a policy as generated C in a separate process. Observations go in over a pipe, actions come out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from torchliquid.edge import compilers, emulator
from torchliquid.edge.generate import sources
from torchliquid.edge.network import describe
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.runtime.policy import PolicyStream, flat


class Piped:
    """Runs a policy as on a device, in single precision. A context manager, called with an observation and the seconds
    since the previous one, as :func:`torchliquid.control.evaluate` does.

    Args:
        model: a policy, from :func:`torchliquid.control.imitate`.
        target: a target whose emulator runs programs of an operating system, such as ``raspberry-pi``; None: this
            machine.

    Raises:
        InputError: the model is not a policy or cannot be exported, or the target's emulator is not installed.
    """

    def __init__(self, model: Model, target: Target | None = None) -> None:
        stream = model.live()
        if not isinstance(stream, PolicyStream):
            raise InputError(
                "the model is not a policy, because it was trained on a recording; train one with tl.control.imitate"
            )
        if target is not None and (target.bare or not target.emulator):
            raise InputError(f"{target.name} cannot run programs with pipes; use raspberry-pi or linux-x86_64")
        if target is not None and (lacking := emulator.missing(target)):
            raise InputError(f"{target.name} is emulated by {target.emulator}: {lacking}")
        self.policy, self.target = stream, target
        self.network = describe(model)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Piped:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        math, layout = ("libm", "columns") if self.target is None else (self.target.math, self.target.layout)
        files = sources(self.network, math, layout)  # type: ignore[arg-type]
        source = compilers.write_for_programs(files, self.network.name, folder)
        self._program = folder / "pipe"
        compilers.compile_program(self.target, source, ["pipe.c"], self._program)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def reset(self) -> None:
        """Start a new process, with a new state."""
        self._end()
        emulated = [] if self.target is None else [self.target.emulator]
        command = [*emulated, str(self._program)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, observation: Any, elapsed: float) -> Any:
        if self._process is None:
            self.reset()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = np.append(flat(self.policy.seen, observation), elapsed).astype(np.float32)
        self._process.stdin.write(given.tobytes())
        self._process.stdin.flush()
        answer = self._process.stdout.read(4 * self.policy.model.task.n_outputs)
        return self.policy.does.of(np.frombuffer(answer, np.float32).astype(np.float64))
