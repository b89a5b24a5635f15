"""A wearable: does its wearer play badminton? From the published file to alarms of a Cortex-M4.

    pip install 'torchliquid[aeon,edge]'
    python -m examples.jobs.wearable

It runs ``assess`` on BasicMotions, which the package ``aeon`` ships. The C of the best model and of the best liquid one
then processes the test part on an emulated Cortex-M4, as recorded and with the watch turned round. The alarms are
counted, and the results are written to ``docs/jobs/wearable.md``. The same command resumes a run that was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from aeon.datasets import load_classification
from benchmarks.studies import run_study
from examples.jobs import common

from torchliquid import Recording
from torchliquid.alarms import Alarm
from torchliquid.edge.targets import TARGETS
from torchliquid.page import numbers
from torchliquid.study.reporting import tables
from torchliquid.study.shifts import Reference
from torchliquid.tasks import Task

FOLDER, PAGE = Path("build/jobs/wearable"), Path("docs/jobs/wearable.md")
CHANNELS = ("acceleration x", "acceleration y", "acceleration z", "turning x", "turning y", "turning z")
EVENT, HERTZ = "badminton", 10
VALIDATION = 3
"""Recordings of each activity that stop the training."""

ORDERS, REPLAYED, PIECES = 3, 3, 8
"""Orders of the training and validation parts, and of the test part on the device; series of the test part in the
study."""

SEEDS, TUNING, UPDATES = 3, 1, 1000
ALARM = Alarm(length=1.0, merge=2.0)
MILLIAMPERE, VOLT = 3.3, 3.0
"""Assumed current and voltage of a Cortex-M4 at the target's clock."""


@dataclass(frozen=True)
class WornOtherwise:
    """The watch is turned by half a turn about one of its axes, as if worn upside down or the other way round."""

    axis: int
    severities: tuple[float, ...] = (1.0,)
    unit: str = "half turns (number)"

    @property
    def name(self) -> str:
        return f"worn otherwise, {'xyz'[self.axis]}"

    def describe(self, severity: float) -> str:
        return f"turned by {severity:g} half turn about its axis {'xyz'[self.axis]}"

    def apply(self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference) -> Recording:
        return turned(recording, self.axis)


def turned(recording: Recording, axis: int) -> Recording:
    """Half a turn about an axis changes the sign of the two others, in acceleration and in turning."""
    sign = np.where(np.arange(3) == axis, 1.0, -1.0)
    series = tuple(replace(s, values=s.values * np.tile(sign, 2)) for s in recording.series)
    return replace(recording, series=series)


def streams(motions: np.ndarray, labels: np.ndarray, orders: int, pieces: int = 1, seed: int = 0) -> Recording:
    """Recordings (N, 6, T) of one activity each, one after the other in random orders, with a label for each sample.
    Each order is divided into ``pieces`` series."""
    rng = np.random.default_rng(seed)
    parts = [part for _ in range(orders) for part in np.array_split(rng.permutation(len(motions)), pieces)]
    values = [np.concatenate(motions[part], axis=1).T for part in parts]
    targets = [np.repeat(np.where(labels[part] == EVENT, EVENT, "other"), motions.shape[2]) for part in parts]
    times = [np.arange(len(v)) / HERTZ for v in values]
    return Recording.from_arrays(values, times, targets, CHANNELS, "activity", "s")


def parts() -> tuple[Recording, Recording, tuple[np.ndarray, np.ndarray]]:
    """The training and validation parts, from the published training part, and the published test part."""
    motions, labels = load_classification("BasicMotions", split="train")
    validation = np.concatenate([np.flatnonzero(labels == label)[-VALIDATION:] for label in np.unique(labels)])
    training = np.setdiff1d(np.arange(len(labels)), validation)
    first, second = (streams(motions[part], labels[part], ORDERS) for part in (training, validation))
    return first, second, load_classification("BasicMotions", split="test")


def energy(instructions: float) -> str:
    """Time and energy of so many instructions per sample on the target, in words."""
    target = TARGETS["cortex-m4"]
    seconds = instructions * target.cycles / (target.clock_mhz * 1e6)
    joule = seconds * MILLIAMPERE * 1e-3 * VOLT
    day = joule * HERTZ * 86_400
    return (
        f"{instructions:,.0f} instructions a sample on average, about {numbers.duration(seconds)} and "
        f"{1e6 * joule:.2g} µJ; {HERTZ} samples a second keep the processor busy for {100 * seconds * HERTZ:.2g} % of "
        f"the time and take {day:.2g} J a day, of the about {0.22 * VOLT * 3600:,.0f} J in a coin cell of 220 mAh"
    )


def main() -> None:
    training, validation, test = parts()
    turns = tuple(map(WornOtherwise, range(3)))
    results = run_study(
        training,
        FOLDER / "study",
        task=Task.infer(training, primary="average_precision", alarm=ALARM),
        tests={"test": streams(*test, orders=1, pieces=PIECES)},
        validation=validation,
        contenders=common.FEW,
        seeds=SEEDS,
        tuning=TUNING,
        updates=UPDATES,
        shifts=(*common.SHIFTS, *turns),
        title="BasicMotions",
    )
    replayed = streams(*test, orders=REPLAYED)
    worn = {"as recorded": replayed}
    worn |= {f"turned about {'xyz'[axis]}": turned(replayed, axis) for axis in range(3)}
    found, device = {}, []
    for what, (contender, model) in common.winners(results, FOLDER / "study").items():
        label = f"{contender.label} ({what})"
        for how, recording in worn.items():
            said = common.detect(model, recording)
            found[label, how] = common.counted(model, recording, said.on)
            if recording is replayed:
                spent = energy(float(said.instructions.mean()))
        device += [*common.on_device(label, model, replayed, FOLDER / "device" / contender.name), f"{label}: {spent}"]
    text = TEXT.format(
        **common.judgement(results),
        contenders=tables.main_table(results).markdown(),
        events=common.event_table(("model", "worn"), found),
        shifts=tables.shift_table(results).markdown(),
        device=common.bullets(device),
        replayed=REPLAYED,
        orders=ORDERS,
        pieces=PIECES,
        length=f"{ALARM.length:g}",
        merge=f"{ALARM.merge:g}",
        validation=VALIDATION,
        target=TARGETS["cortex-m4"].assumption,
        milliampere=MILLIAMPERE,
        volt=VOLT,
        conditions=common.conditions(results),
    )
    common.write(PAGE, text)


TEXT = """# A wearable: does its wearer play badminton?

Written by `python -m examples.jobs.wearable`. Can a watch notice live that its wearer begins to play badminton? The
recordings are BasicMotions, which the package `aeon` ships. Four students wore a smartwatch that measured acceleration
and turning on three axes, ten times a second. Each of the 80 recordings lasts ten seconds and shows one activity:
standing, walking, running or badminton. (The gestures that `aeon` ships, PickupGestureWiimoteZ, do not suit this
question: they are one gesture of ten people on one axis, and the labels say who made it.)

## The verdict

**{answer}.** {sentence}

{findings}

{contenders}

## What the device says

The exported C ran on a Cortex-M4 in QEMU. It processed the 40 test recordings one after the other, in {replayed} random
orders. The C itself raises the alarms. Consecutive recordings of badminton are one event. An alarm begins when the
probability has been above the threshold for {length} s, and ends {merge} s after it fell below. The threshold is the
one with the best F1 on the validation part.

In the last three rows of each model the watch is worn upside down or the other way round: half a turn about one of its
axes changes the sign of the two others. Nothing is trained again.

{events}

{device}

Energy is an estimate from the instructions counted in emulation. It assumes {target}, and {milliampere} mA at {volt} V
while the processor computes; neither is measured. Sensors, radio and sleep are not included.

## When the data shifts

Average precision of the trained models on the test recordings. Nothing is trained again:

{shifts}

## Conditions

* The last {validation} recordings of each activity among the 40 published training recordings stop the training and set
  thresholds. The 40 published test recordings are only scored. The file does not say which student is which. The same
  four may be in both parts, so the figures are not those of a new wearer.
* The training and validation parts are streams: all their recordings one after the other, in {orders} random orders.
  Where two recordings meet, the activity changes suddenly, unlike in reality. In the study each test recording occurs
  once, in {pieces} series.
{conditions}
"""


if __name__ == "__main__":
    main()
