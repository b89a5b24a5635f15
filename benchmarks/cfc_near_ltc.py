"""How well a CfC's closed form approximates the LTC neuron: ``python -m benchmarks.cfc_near_ltc``.

It compares one neuron with one synapse, dx/dt = -(w + f) x + f A with f = sigmoid(gamma I + mu) at a constant input,
with the closed form x(t) = (x0 - A) exp(-(w + f) t) sigmoid(-gamma I - mu) + A of arXiv 2106.13898, as in the code of
its figure 1. Nothing is trained. The difference is between 0.48 and 0.70 of the reversal potential: a CfC is a model of
its own, not a solver of an LTC.
"""

from __future__ import annotations

import torch

from torchliquid.solvers import adaptive

DRAWS = 2000


def main() -> None:
    made = torch.Generator().manual_seed(0)
    w, x0, drive = (torch.rand(DRAWS, 1, dtype=torch.float64, generator=made) for _ in range(3))
    x0, drive, reversal = 2 * x0 - 1, 8 * drive - 4, torch.ones(DRAWS, 1, dtype=torch.float64)
    f = drive.sigmoid()
    print("time  root mean square difference, in units of the reversal potential")
    for time in (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0):
        span = torch.full_like(w, time)
        solved = adaptive(lambda x: -(w + f) * x + f * reversal, x0, span, "dopri5", 1e-9, 1e-11)
        closed = (x0 - reversal) * torch.exp(-(w + f) * time) * (-drive).sigmoid() + reversal
        print(f"{time:4.1f}  {float((solved - closed).square().mean().sqrt()):.3f}")


if __name__ == "__main__":
    main()
