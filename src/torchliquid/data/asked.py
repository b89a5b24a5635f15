"""The interface of a task for windows, batches and summaries; implemented by :class:`torchliquid.tasks.Task`."""

from typing import Protocol, runtime_checkable

import numpy as np

from torchliquid.data.recording import Series


@runtime_checkable
class Asked(Protocol):
    """See :class:`torchliquid.tasks.Task`."""

    @property
    def kind(self) -> str: ...
    @property
    def per(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def horizon(self) -> float | None: ...
    @property
    def horizon_unit(self) -> str: ...
    def encode(self, series: Series, /) -> tuple[np.ndarray, np.ndarray]: ...
    def first_known(self, inputs: np.ndarray, /) -> int: ...
