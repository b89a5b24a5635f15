"""What the tables of the LTC paper share (Hasani et al., arXiv 2006.04439): 32 units, Adam, batches of 16."""

from __future__ import annotations

from dataclasses import replace

from torchliquid.reproduce.protocol import Setting

SOURCE = "Hasani et al., Liquid time-constant networks, arXiv 2006.04439"

OTHERWISE = (
    "Differences from the authors' code: the time constants of a CT-RNN are learnt, a CT-GRU is that of arXiv "
    "1710.04110, the state of a neural ODE is not clipped, and an LTC is initialised with the ranges of the later "
    "ncps. The polarities of an LTC and the graph of an NCP are drawn once for all seeds, so standard deviations do "
    "not include them."
)
"""What differs in every table of the paper."""


def settings(ltc_lr: float, motors: int = 8) -> dict[str, Setting]:
    """Of each contender: the paper's LTC has a learning rate of its own, all others, ours too, the common one.

    Each of the LTC's six solver steps lasts one unit in the authors' code, so that a sample lasts six; those of CT-RNN
    and neural ODE last a tenth.

    Args:
        ltc_lr: learning rate of LTCs.
        motors: motor neurons of an NCP, at least one for each output.
    """
    plain, ltc, ode = Setting(), Setting(lr=ltc_lr, span=6.0), Setting(span=0.6)
    on_ncp = {"motors": motors}
    return {
        "LTC": ltc,
        "CfC": plain,
        "CfC no gate": replace(plain, layer={"mode": "no_gate"}),
        "CfC-mm": plain,
        "LTC on NCP": replace(ltc, layer=on_ncp),
        "CfC on NCP": replace(plain, layer=on_ncp),
        "LSTM": plain,
        "GRU": plain,
        "CT-RNN": ode,
        "Neural ODE": ode,
        "CT-GRU": plain,
        "ODE-LSTM": plain,
        "State space": plain,
        "LrcSSM": plain,
        "Boosting": plain,
        "Linear": plain,
    }
