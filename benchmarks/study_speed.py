"""How much sooner a study of occupancy ends with the kernels: ``python -m benchmarks.study_speed``.

One training of each liquid contender with the defaults, by the kernels and by the PyTorch reference, one thread, in
turn; the accuracies of both on the test part show that it is the same training within seed noise.
"""

from __future__ import annotations

import time

import torch

from torchliquid import TrainingConfig, kernels
from torchliquid.data import Recording
from torchliquid.data.datasets import load
from torchliquid.models import build
from torchliquid.study.plan import Plan
from torchliquid.training import train

EPOCHS = 3
"""Of each training: a few tell the time of an epoch."""


def main() -> None:
    torch.set_num_threads(1)
    dataset = load("occupancy")
    plan = Plan.make(dataset.train, dataset.task, dataset.tests)
    test = Recording.concat(list(plan.tests.values()))
    warm = build("cfc", plan.task, plan.preprocessing)  # a first training imports half of torch
    train(warm, plan.training, plan.validation, TrainingConfig(epochs=1), plan.windows)
    print(
        "| contender | kernels, s an epoch | reference, s an epoch | sooner | accuracy, kernels | accuracy, reference |"
    )
    print("|---|---|---|---|---|---|")
    for kind in ("cfc", "cfc_ncp", "ltc_ncp"):
        seconds, accuracy = {}, {}
        for how in ("native", "reference"):
            kernels.use(how)
            torch.manual_seed(0)
            model = build(kind, plan.task, plan.preprocessing)
            start = time.perf_counter()
            train(model, plan.training, plan.validation, TrainingConfig(epochs=EPOCHS), plan.windows)
            seconds[how] = (time.perf_counter() - start) / EPOCHS
            kernels.use("native")
            accuracy[how] = plan.task.metrics(model.outputs(test), test)["accuracy"]
        ratio = seconds["reference"] / seconds["native"]
        print(
            f"| {kind} | {seconds['native']:.2f} | {seconds['reference']:.2f} | {ratio:.1f} × | "
            f"{accuracy['native']:.3f} | {accuracy['reference']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
