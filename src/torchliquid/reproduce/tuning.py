"""Tuning on the validation part: the search space, the same for all contenders, and the trials that choose from it.

The first trial has the published setting, the others are drawn by Optuna; all are kept, one line each. No trial uses
the test part. If each seed draws its own split, the trials use that of seed 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torchliquid.errors import InputError
from torchliquid.jobs import Progress
from torchliquid.reproduce.protocol import Parts, Protocol, Setting, Split
from torchliquid.reproduce.trial import fit

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EPOCHS = 0.25
"""A tuning trial's share of the epochs."""


def space(setting: Setting) -> dict[str, BaseDistribution]:
    """What is searched, around a published setting.

    Raises:
        InputError: Optuna is not installed.
    """
    try:
        from optuna.distributions import CategoricalDistribution, FloatDistribution
    except ImportError:
        raise InputError("tuning needs Optuna: pip install 'torchliquid[reproduce]'") from None
    return {
        "lr": FloatDistribution(setting.lr / 4, setting.lr * 4, log=True),
        "decay": CategoricalDistribution((1.0, 0.98, 0.95, 0.9)),
        "clip": CategoricalDistribution((None, 1.0, 10.0)),
        "batch": CategoricalDistribution((setting.batch, 2 * setting.batch, 4 * setting.batch)),
    }


def tune(
    protocol: Protocol,
    parts: Parts,
    split: Split,
    contender: str,
    trials: int,
    done: Sequence[dict[str, Any]],
    device: str,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Run the trials that are missing from ``done``, a contender's earlier ones in order; yields the line of each.

    The settings of a trial follow from its number and the trials before it: one that was killed gets the same again.
    """
    lines = list(done)
    for number in range(len(lines), trials):
        setup = draw(protocol, contender, lines)
        epochs = max(round(EPOCHS * protocol.settings[contender].epochs), 1)

        def report(share: float, note: str, number: int = number) -> None:
            progress((number + share) / trials, f"trial {number + 1}, {note}")

        tried = protocol.with_setup(contender, {**setup, "epochs": epochs})
        _, line = fit(tried, parts, contender, 0, report, device)
        line = {"contender": contender, "split": split, "trial": number, "setup": setup} | line
        yield line
        lines.append(line)


def draw(protocol: Protocol, contender: str, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The settings of the next trial: first the published ones, then draws of Optuna's tree-structured Parzen
    estimator, of which the first ten are at random."""
    if not lines:
        return {}
    searched = space(protocol.settings[contender])
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if protocol.higher_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=len(lines)),
    )
    for line in lines[1:]:
        if "validation" in line:
            study.add_trial(
                optuna.trial.create_trial(params=line["setup"], distributions=searched, value=line["validation"])
            )
    return study.ask(searched).params


def best(protocol: Protocol, lines: Sequence[dict[str, Any]], trials: int) -> dict[str, Any]:
    """The settings that were best on validation in the first trials of one contender and split, up to a number."""
    rated = [line for line in lines[:trials] if "validation" in line]
    return dict(max(rated, key=lambda line: protocol.sign * line["validation"])["setup"]) if rated else {}
