"""What a model does inside: time constants, neurons' roles, attribution, the circuit and its dynamics."""

from torchliquid.explain.attribution import Attribution, attribution
from torchliquid.explain.dynamics import Dynamics, dynamics
from torchliquid.explain.experts import Expert, Experts, experts
from torchliquid.explain.over_time import OverTime, over_time
from torchliquid.explain.roles import Role, Roles, roles
from torchliquid.explain.time_constants import TimeConstants, time_constants
from torchliquid.explain.wiring import Circuit, wiring

__all__ = [
    "Attribution",
    "Circuit",
    "Dynamics",
    "Expert",
    "Experts",
    "OverTime",
    "Role",
    "Roles",
    "TimeConstants",
    "attribution",
    "dynamics",
    "experts",
    "over_time",
    "roles",
    "time_constants",
    "wiring",
]
