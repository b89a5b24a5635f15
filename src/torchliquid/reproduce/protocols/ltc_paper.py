"""What the tables of the LTC paper share (Hasani et al., arXiv 2006.04439): 32 units, Adam, batches of 16."""

from __future__ import annotations

from dataclasses import replace

from torchliquid.reproduce.protocol import Setting

SOURCE = "Hasani et al., Liquid time-constant networks, arXiv 2006.04439"


def settings(ltc_lr: float, motors: int = 8) -> dict[str, Setting]:
    """Of each contender; ours train as the paper's LTC does.

    Each of the LTC's six solver steps lasts one unit in the authors' code, so that a sample lasts six.

    Args:
        ltc_lr: learning rate of liquid networks.
        motors: motor neurons of an NCP, at least one for each output.
    """
    liquid, gated = Setting(lr=ltc_lr), Setting()
    on_ncp = Setting(lr=ltc_lr, layer={"motors": motors})
    return {
        "LTC": replace(liquid, span=6.0),
        "CfC": liquid,
        "CfC no gate": Setting(lr=ltc_lr, layer={"mode": "no_gate"}),
        "CfC-mm": liquid,
        "LTC on NCP": replace(on_ncp, span=6.0),
        "CfC on NCP": on_ncp,
        "LSTM": gated,
        "GRU": gated,
        "CT-RNN": gated,
        "Neural ODE": gated,
        "CT-GRU": gated,
        "ODE-LSTM": gated,
        "State space": gated,
    }
