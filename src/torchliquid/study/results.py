"""The results of a study as plain data, from which verdict, report and ``results.json`` are made.

``to_json`` and ``from_json`` preserve everything here. Large arrays (a contender's sums per stretch of the test
recordings, from which intervals are computed) are in a ``.npz`` file beside it, which ``TrialResult.scores`` names and
:mod:`torchliquid.study.stats.intervals` reads.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from torchliquid import notebook
from torchliquid.alarms import Alarm, Counts
from torchliquid.errors import InputError
from torchliquid.files import from_plain, to_plain
from torchliquid.models.calibration import Reliability
from torchliquid.training.history import Doubt

SCHEMA = 1

Family = Literal["liquid", "neural", "classical", "naive", "probe"]
"""``probe``: not a contender but evidence, such as a linear model on one sensor."""

Answer = Literal["worth it", "not worth it", "not shown"]

Reason = Literal["", "few", "wide", "constant", "seed"]
"""Why an interval is unknown: too few blocks of test data, an interval wider than the possible range, nothing that
varies, or a single seed of a network."""

POOLED = "pooled"
"""The name of a trial's metrics over all test recordings together."""


@dataclass(frozen=True)
class Calibrated:
    """How a classifier's probabilities were calibrated on the validation part, and how reliable they are on the test
    part."""

    temperature: float  # by which the logits are divided
    shift: float  # then added to the logit of the class that alarms are about
    threshold: float | None  # of its alarms; None: the most probable class is predicted
    before: Reliability
    after: Reliability


@dataclass(frozen=True)
class TrialResult:
    """One contender, trained from one seed and measured."""

    seed: int
    hyper: dict[str, Any]
    validation: float  # primary metric on the validation part
    tests: dict[str, dict[str, float]]  # test's name (and POOLED) -> metric -> value; state carried, as in use
    windows: dict[str, dict[str, float]]  # the same, scored on windows, as in training
    parameters: int  # live ones, which can change the output
    bytes: int  # stored on a device, as in torchliquid.study.run.cost
    train_seconds: float
    epochs: int
    latency_us: float  # one live step, batch 1: median, microseconds
    latency_p99_us: float
    memory_mb: float  # peak while training
    shifts: dict[str, tuple[float, ...]] = field(default_factory=dict)  # primary metric for each severity of a shift
    state_bytes: int = 0  # between two samples, on a device
    operations: float = math.nan  # per sample
    unshifted: dict[str, float] = field(default_factory=dict)  # without the shift, on the samples that it leaves
    scores: str | None = None  # .npz with the sums behind the intervals, relative to results.json
    doubt: Doubt = ""  # why this training says nothing about the contender
    updates: int = 0  # number of updates
    alarms: dict[str, Counts] = field(default_factory=dict)  # test's name (and POOLED), where the task has alarms
    calibration: Calibrated | None = None  # of classifiers
    curve: tuple[tuple[float, ...], ...] = ()  # (updates, primary metric) of each validation
    confusion: tuple[tuple[int, ...], ...] = ()  # of classifiers: counts of true class (row) and predicted class
    coverage: dict[str, tuple[float, float]] = field(default_factory=dict)  # of intervals: share inside, mean width


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; infinite ends if nothing is known."""

    value: float
    low: float
    high: float
    blocks: int = 0  # number of independent pieces of the test data
    unit: str = ""  # what these are: "series", "groups", or "stretches" of one recording
    data: float = 0.0  # variance due to the test data, and due to the seeds
    seeds: float = 0.0
    reason: Reason = ""  # why nothing is known

    def __post_init__(self) -> None:
        # JSON has no infinity; its null is read as NaN.
        object.__setattr__(self, "low", -math.inf if math.isnan(self.low) else self.low)
        object.__setattr__(self, "high", math.inf if math.isnan(self.high) else self.high)

    @property
    def known(self) -> bool:
        return math.isfinite(self.high - self.low)

    @property
    def reach(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Failed:
    """A failed trial: its seed, its settings, the reason, and whether it was a tuning trial."""

    seed: int
    hyper: dict[str, Any]
    reason: str
    tuning: bool = False


@dataclass(frozen=True)
class ContenderResult:
    """One kind of model: its completed trials, one per seed. A deterministic one may have a single trial. If no trial
    completed, all are here with NaN as validation score, and the contender cannot be chosen."""

    name: str
    label: str
    family: Family
    trials: tuple[TrialResult, ...]
    detail: str = ""  # for a probe: its input, e.g. the sensor's name
    primary: Interval | None = None  # on the test part; the verdict fills these two
    shifted: Interval | None = None  # the mean under all shifts
    failed: tuple[Failed, ...] = ()  # failed trials

    @property
    def heading(self) -> str:
        """Its label at the start of a line, with its detail."""
        return self.label[:1].upper() + self.label[1:] + (f" ({self.detail})" if self.detail else "")

    @property
    def network(self) -> bool:
        """Whether it is trained in updates."""
        return self.family in ("liquid", "neural")

    @property
    def validation(self) -> float:
        """Mean over the seeds of the primary metric on the validation part."""
        return float(np.mean([trial.validation for trial in self.trials]))

    @property
    def doubt(self) -> Doubt:
        """The doubt that at least half of its trainings share; else none."""
        found = [trial.doubt for trial in self.trials]
        return next((doubt for doubt in get_args(Doubt) if doubt and 2 * found.count(doubt) >= len(found)), "")

    def mean(self, attribute: str) -> float:
        """Mean over the seeds of a measured value such as ``"parameters"`` or ``"latency_us"``."""
        return float(np.mean([getattr(trial, attribute) for trial in self.trials]))

    def test(self, metric: str) -> list[float]:
        """The metric over all test recordings together, one value per seed."""
        return [trial.tests[POOLED].get(metric, math.nan) for trial in self.trials]


@dataclass(frozen=True)
class TaskResult:
    """The question of the study, in words that a report can print."""

    kind: Literal["classification", "regression"]
    per: Literal["step", "series"]
    target: str
    primary: str  # a metric's name, as in TrialResult.tests
    higher_is_better: bool
    labels: tuple[str, ...] = ()
    horizon: str = ""  # e.g. "6 samples"; empty without a forecast
    steps: tuple[str, ...] = ()  # of a path, how far ahead each value is
    reason: str = ""  # why the primary metric is not the usual one
    positive: int = 1  # the one of two classes that alarms are about
    alarm: Alarm | None = None  # how samples become alarms; None: there are none
    time_unit: str = ""  # of the recording

    @property
    def sign(self) -> float:
        """1 if a higher value of the primary metric is better, else -1."""
        return 1.0 if self.higher_is_better else -1.0


@dataclass(frozen=True)
class PartResult:
    """A part of the data: training, validation or one test recording."""

    name: str
    n_series: int
    n_samples: int
    n_labelled: int
    span: str = ""  # e.g. "2015-02-04 17:51 to 2015-02-08 09:19"
    classes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Channel:
    name: str
    missing: float  # share of samples not observed, 0 to 1
    mean: float
    std: float


@dataclass(frozen=True)
class Gaps:
    """A histogram of the time between samples, over all parts."""

    edges: tuple[float, ...]  # one more than counts; in `unit`
    counts: tuple[int, ...]
    median: float
    longest: float
    unit: str


@dataclass(frozen=True)
class DataResult:
    source: str  # file or data set
    channels: tuple[Channel, ...]
    gaps: Gaps
    parts: tuple[PartResult, ...]
    notes: tuple[str, ...] = ()  # notes from reading


@dataclass(frozen=True)
class ShiftResult:
    """A shift, with its severities from mild to strong and a description of each."""

    name: str
    severities: tuple[float, ...]
    descriptions: tuple[str, ...]
    summary: str = ""
    unit: str = ""  # of the severities


@dataclass(frozen=True)
class Stretch:
    """A test recording, or a long piece of it: readings, truth and the models' answers, for a chart."""

    test: str
    series: str
    times: tuple[float, ...]
    time_unit: str
    truth: tuple[float, ...]  # class index or value; NaN without a label
    outputs: dict[str, tuple[float, ...]]  # contender -> probability of `shown_class`, class index, or value
    shown_class: str = ""  # two classes: the outputs are its probability; several: empty, outputs are class indices
    channels: dict[str, tuple[float, ...]] = field(default_factory=dict)  # readings as they were, NaN: not observed
    of_channels: int = 0  # number in the recording
    of_samples: int = 0  # number in the series
    view: tuple[float, ...] = ()  # the range of times shown at first
    begins: float = math.nan  # if times are dates: the first, in seconds since 1970-01-01


@dataclass(frozen=True)
class Finding:
    """One question of the verdict: its answer, the sentence, and the numbers behind it."""

    question: Literal["accuracy", "stability", "cost"]
    answer: Answer
    sentence: str
    difference: Interval | None = None  # liquid against rival, positive if the liquid model is better
    margin: float | None = None  # the smallest difference that matters
    ratios: dict[str, float] = field(default_factory=dict)  # of the costs that decide: liquid over rival


@dataclass(frozen=True)
class Verdict:
    """Is a liquid network worth it here?"""

    answer: Answer
    sentence: str
    liquid: str  # contender's name: the liquid one best on validation
    rival: str  # the other one best on validation
    findings: tuple[Finding, ...]
    evidence: tuple[str, ...] = ()  # special findings first: nothing learnt, one sensor is enough, order has no effect
    tags: tuple[str, ...] = ()  # for programs: "nothing_learnt" or "learning_not_shown", or "one_sensor", "no_memory"


@dataclass(frozen=True)
class StudyResults:
    """A whole study."""

    title: str
    task: TaskResult
    data: DataResult
    contenders: tuple[ContenderResult, ...]  # in the order they should be shown; probes among them
    shifts: tuple[ShiftResult, ...] = ()
    split: tuple[str, ...] = ()  # sentences about how the parts were made
    conditions: tuple[str, ...] = ()  # sentences about what was the same for all contenders
    left_out: tuple[str, ...] = ()  # sentences about what a time limit left out
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    machine: str = ""
    stretches: tuple[Stretch, ...] = ()
    verdict: Verdict | None = None
    plain: tuple[ContenderResult, ...] = ()  # with augmentation: the same settings trained without it
    schema: int = SCHEMA

    def _repr_html_(self) -> str:
        """A summary for notebooks: the verdict, and the contenders with the best on validation first."""
        sign, metric = self.task.sign, self.task.primary
        rated = sorted(self.competing, key=lambda c: (math.isnan(c.validation), -sign * c.validation))
        rows = [
            (c.label, f"{c.validation:.4g}", f"{np.mean(c.test(metric)):.4g}", f"{c.mean('parameters'):,.0f}")
            for c in rated
        ]
        verdict = "" if self.verdict is None else f": {self.verdict.answer}. {self.verdict.sentence}"
        head = ("contender", f"{metric}, validation", f"{metric}, test", "parameters")
        return notebook.table(f"{self.title}{verdict}", rows, head)

    def contender(self, name: str) -> ContenderResult:
        return next(contender for contender in self.contenders if contender.name == name)

    @property
    def pair(self) -> tuple[ContenderResult, ...]:
        """The two that were compared, the liquid one first; empty without a verdict."""
        return () if self.verdict is None else tuple(map(self.contender, (self.verdict.liquid, self.verdict.rival)))

    @property
    def competing(self) -> tuple[ContenderResult, ...]:
        """The contenders without the probes."""
        return tuple(contender for contender in self.contenders if contender.family != "probe")

    def best(self, *families: Family) -> ContenderResult | None:
        """The contender of these families that was best on validation; of equal ones the one with fewer parameters."""
        sign = self.task.sign
        rated = [c for c in self.contenders if c.family in families and math.isfinite(c.validation)]
        return max(rated, key=lambda c: (sign * c.validation, -c.mean("parameters")), default=None)

    def to_json(self) -> str:
        """JSON text; values that are not finite become null."""
        text = json.dumps(to_plain(self), indent=1, allow_nan=False, ensure_ascii=False)
        return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text)

    @classmethod
    def from_json(cls, text: str) -> StudyResults:
        """Restore from :meth:`to_json`; raises InputError if the text is not a study's results, or of a newer
        version."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"these are not a study's results: {error}; give an intact results.json") from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if not isinstance(schema, int):
            raise InputError("these are not a study's results: no schema number; give a results.json of `assess`")
        if schema > SCHEMA:
            raise InputError(
                f"these results have schema {schema}, but this version of torchliquid reads up to {SCHEMA}: update "
                "torchliquid"
            )
        try:
            return from_plain(cls, data)
        except ValueError as error:
            raise InputError(f"these results are damaged ({error}); run the study again") from None


_NUMBERS = re.compile(r"\[\n(?:\s*(?:-?[\d.]+(?:e[-+]?\d+)?|null),?\n)+\s*\]")
"""A list of numbers, each on its own line, in JSON text. Strings in it contain no line ends."""
