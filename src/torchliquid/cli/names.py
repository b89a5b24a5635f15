"""Names that options accept, for their help and for checks before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Iterable

from torchliquid.errors import InputError

KINDS = (
    "cfc", "cfc_mm", "cfc_ncp", "ltc", "ltc_ncp", "ctrnn", "neural_ode", "ctgru", "lrcssm", "mixture", "ode_lstm",
    "lstm", "gru", "grud", "state_space", "feedforward", "transformer",
)  # fmt: skip
EXPERTS = ("cfc", "ltc", "lrcssm")
SOLVERS = ("fused", "euler", "rk4", "dopri5", "tsit5")
CONTENDERS = (
    "cfc", "cfc_mm", "cfc_ncp", "ltc", "ltc_ncp", "lrcssm", "mixture", "lstm", "gru", "grud", "transformer",
    "state_space", "linear", "boosting", "minirocket", "naive",
)  # fmt: skip
TARGETS = (
    "c99", "linux-x86_64", "raspberry-pi", "raspberry-pi-zero", "cortex-m0", "cortex-m4", "cortex-m7", "riscv32",
    "onnx", "web",
)  # fmt: skip
ROWS = (
    "LTC", "LTC on NCP", "CfC", "CfC pure", "CfC no gate", "CfC-mm", "CfC on NCP", "LSTM", "GRU", "GRU-D", "CT-RNN",
    "CT-GRU", "Neural ODE", "Neural CDE", "ODE-RNN", "ODE-LSTM", "State space", "MiniRocket", "Boosting", "Linear",
    "One threshold", "LrcSSM",
)  # fmt: skip
SPLITS = ("published", "time")


def listed(names: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def check(option: str, given: Iterable[str] | str | None, known: tuple[str, ...]) -> None:
    """Check that names are known."""
    for name in [given] if isinstance(given, str) else given or ():
        if name not in known:
            from torchliquid.data.columns import nearest

            raise InputError(f"{option} {name}: there is none of that name; {nearest(name, known)}")
