"""What a study found, as plain data: the one thing that the verdict, the report and ``results.json`` share.

Everything here survives ``to_json`` and ``from_json`` unchanged. Bulky figures (a contender's sums per stretch of
the test recordings, from which the intervals come) stay in a ``.npz`` beside it, named by ``TrialResult.scores``
and read by :mod:`torchliquid.study.stats.intervals`.
"""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from torchliquid.alarms import Alarm, Counts
from torchliquid.errors import InputError
from torchliquid.files import to_plain
from torchliquid.models.calibration import Reliability
from torchliquid.training.history import Doubt

SCHEMA = 1

Family = Literal["liquid", "neural", "classical", "naive", "probe"]
"""``probe``: not a contender but evidence, such as a linear model on one sensor alone."""

Answer = Literal["worth it", "not worth it", "not shown"]

Reason = Literal["", "few", "wide", "constant", "seed"]
"""Why an interval is unknown: too few blocks of test data, one that is wider than all that is possible, nothing that
varies, or one seed of a network."""

POOLED = "pooled"
"""The name under which a trial's metrics over all test recordings together stand."""


@dataclass(frozen=True)
class Calibrated:
    """How a classifier's probabilities were calibrated on the validation part, and what they are worth on the test
    part."""

    temperature: float  # by which the logits are divided
    shift: float  # then added to the logit of the class that is looked for
    threshold: float | None  # of its alarms; None: the likeliest class is answered
    before: Reliability
    after: Reliability


@dataclass(frozen=True)
class TrialResult:
    """One contender trained once from one seed, and measured."""

    seed: int
    hyper: dict[str, Any]
    validation: float  # primary metric on the validation part
    tests: dict[str, dict[str, float]]  # test's name (and POOLED) -> metric -> value; state carried, as it will be used
    windows: dict[str, dict[str, float]]  # the same, scored on windows as it was trained
    parameters: int  # live ones: those that can change the output
    bytes: int  # stored on a device, as in torchliquid.study.run.cost
    train_seconds: float
    epochs: int
    latency_us: float  # one live step, batch 1: median, microseconds
    latency_p99_us: float
    memory_mb: float  # peak while training
    shifts: dict[str, tuple[float, ...]] = field(default_factory=dict)  # primary metric for each severity of a shift
    state_bytes: int = 0  # between two samples, on a device
    operations: float = math.nan  # a sample
    unshifted: dict[str, float] = field(default_factory=dict)  # without it, where fewer samples are asked
    scores: str | None = None  # .npz with the sums behind the intervals, relative to results.json
    doubt: Doubt = ""  # why this training does not judge the contender
    updates: int = 0  # of the weights
    alarms: dict[str, Counts] = field(default_factory=dict)  # test's name (and POOLED), where the task has alarms
    calibration: Calibrated | None = None  # of classifiers
    curve: tuple[tuple[float, ...], ...] = ()  # (updates made, primary metric on the validation part), look by look
    confusion: tuple[tuple[int, ...], ...] = ()  # of classifiers: how often each class (row) was answered by each
    coverage: dict[str, tuple[float, float]] = field(default_factory=dict)  # of intervals: share inside, mean width


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; infinite ends where nothing is known."""

    value: float
    low: float
    high: float
    blocks: int = 0  # independent pieces of the test data behind it
    unit: str = ""  # what these are: "series", "groups", or "stretches" of one recording
    data: float = 0.0  # the variance that the test data make, and that of the seeds
    seeds: float = 0.0
    reason: Reason = ""  # why nothing is known

    def __post_init__(self) -> None:
        # JSON knows no infinity, and what it has instead is read as NaN.
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
    """A trial that broke off: its seed, its settings, why, and whether it was one of the settings that were tried."""

    seed: int
    hyper: dict[str, Any]
    reason: str
    tuning: bool = False


@dataclass(frozen=True)
class ContenderResult:
    """One kind of model: its trials that came to their end, one a seed. A deterministic one may have a single trial.
    Where none came to its end, all are here, and their validation is not a number: it takes no part in a choice."""

    name: str
    label: str
    family: Family
    trials: tuple[TrialResult, ...]
    detail: str = ""  # for a probe: what it looked at, e.g. the sensor's name
    primary: Interval | None = None  # on the test part; the verdict fills these two
    shifted: Interval | None = None  # the mean under all shifts
    failed: tuple[Failed, ...] = ()  # trials that broke off

    @property
    def validation(self) -> float:
        """Mean over the seeds of the primary metric on the validation part."""
        return float(np.mean([trial.validation for trial in self.trials]))

    @property
    def doubt(self) -> Doubt:
        """Of at least half of its trainings, the same; else none."""
        found = [trial.doubt for trial in self.trials]
        return next((doubt for doubt in get_args(Doubt) if doubt and 2 * found.count(doubt) >= len(found)), "")

    def mean(self, attribute: str) -> float:
        """Mean over the seeds of a measured figure such as ``"parameters"`` or ``"latency_us"``."""
        return float(np.mean([getattr(trial, attribute) for trial in self.trials]))

    def test(self, metric: str) -> list[float]:
        """The metric over all test recordings together, one value a seed."""
        return [trial.tests[POOLED].get(metric, math.nan) for trial in self.trials]


@dataclass(frozen=True)
class TaskResult:
    """What was asked, in words a report can print."""

    kind: Literal["classification", "regression"]
    per: Literal["step", "series"]
    target: str
    primary: str  # a metric's name, as in TrialResult.tests
    higher_is_better: bool
    labels: tuple[str, ...] = ()
    horizon: str = ""  # e.g. "6 samples"; empty when nothing is forecast
    reason: str = ""  # why the primary metric is not the usual one
    positive: int = 1  # of two classes the one that is looked for
    alarm: Alarm | None = None  # how samples become alarms; None: there are none
    time_unit: str = ""  # of the recording


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
    notes: tuple[str, ...] = ()  # what reading found or mended


@dataclass(frozen=True)
class ShiftResult:
    """A shift that was tried: its severities, mild to strong, and each in words."""

    name: str
    severities: tuple[float, ...]
    descriptions: tuple[str, ...]
    summary: str = ""
    unit: str = ""  # of the severities


@dataclass(frozen=True)
class Stretch:
    """A test recording, or a long piece of it, with what was read, what was true and what models said, for a chart."""

    test: str
    series: str
    times: tuple[float, ...]
    time_unit: str
    truth: tuple[float, ...]  # class index or value; NaN where unlabelled
    outputs: dict[str, tuple[float, ...]]  # contender -> probability of `shown_class`, class index, or value
    shown_class: str = ""  # two classes: the outputs are its probability; several: empty, outputs are class indices
    channels: dict[str, tuple[float, ...]] = field(default_factory=dict)  # readings as they were, NaN: not observed
    of_channels: int = 0  # that the recording has
    of_samples: int = 0  # that the series has
    view: tuple[float, ...] = ()  # from when to when is shown at first
    begins: float = math.nan  # where times are dates: the first, in seconds since 1970-01-01


@dataclass(frozen=True)
class Finding:
    """One question of the verdict: its answer, the sentence, and the figures behind it."""

    question: Literal["accuracy", "stability", "cost"]
    answer: Answer
    sentence: str
    difference: Interval | None = None  # liquid against rival, positive where the liquid model is better
    margin: float | None = None  # the smallest difference that matters
    ratios: dict[str, float] = field(default_factory=dict)  # of what decides the cost: liquid over rival


@dataclass(frozen=True)
class Verdict:
    """Is a liquid network worth it here?"""

    answer: Answer
    sentence: str
    liquid: str  # contender's name: the liquid one best on validation
    rival: str  # the other one best on validation
    findings: tuple[Finding, ...]
    evidence: tuple[str, ...] = ()  # special findings first: nothing learnt, one sensor does it, order carries nothing
    tags: tuple[str, ...] = ()  # for programs: "nothing_learnt" or "learning_not_shown", or "one_sensor", "no_memory"


@dataclass(frozen=True)
class StudyResults:
    """A whole study."""

    title: str
    task: TaskResult
    data: DataResult
    contenders: tuple[ContenderResult, ...]  # in the order they should be shown; probes among them
    shifts: tuple[ShiftResult, ...] = ()
    split: tuple[str, ...] = ()  # how the parts were made, in sentences
    conditions: tuple[str, ...] = ()  # what was the same for all contenders, in sentences
    left_out: tuple[str, ...] = ()  # by a limit of time, in sentences
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    machine: str = ""
    stretches: tuple[Stretch, ...] = ()
    verdict: Verdict | None = None
    schema: int = SCHEMA

    def contender(self, name: str) -> ContenderResult:
        return next(contender for contender in self.contenders if contender.name == name)

    @property
    def competing(self) -> tuple[ContenderResult, ...]:
        """The contenders without the probes."""
        return tuple(contender for contender in self.contenders if contender.family != "probe")

    def best(self, *families: Family) -> ContenderResult | None:
        """The contender of these families that was best on validation; of equals the one with fewer parameters."""
        sign = 1.0 if self.task.higher_is_better else -1.0
        rated = [c for c in self.contenders if c.family in families and math.isfinite(c.validation)]
        return max(rated, key=lambda c: (sign * c.validation, -c.mean("parameters")), default=None)

    def to_json(self) -> str:
        """JSON text; figures that are not finite become null."""
        text = json.dumps(to_plain(self), indent=1, allow_nan=False, ensure_ascii=False)
        return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text)

    @classmethod
    def from_json(cls, text: str) -> StudyResults:
        """Raises InputError when the text is not a study's results or comes from a newer version."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"these are not a study's results: {error}; give an intact results.json") from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if not isinstance(schema, int):
            raise InputError("these are not a study's results: no schema number; give a results.json of `assess`")
        if schema > SCHEMA:
            raise InputError(f"these results have schema {schema}, this version knows {SCHEMA}: update torchliquid")
        try:
            return from_plain(cls, data)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"these results are damaged ({error}); run the study again") from None


_NUMBERS = re.compile(r"\[\n(?:\s*(?:-?[\d.]+(?:e[-+]?\d+)?|null),?\n)+\s*\]")
"""A list of numbers, each on a line of its own, in JSON's text; no text in it has a line's end."""


def from_plain(kind: Any, value: Any) -> Any:
    """The inverse of :func:`~torchliquid.files.to_plain` for a dataclass and the types its fields name; None as a float
    is NaN."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else from_plain(next(a for a in args if a is not type(None)), value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        return kind(**{name: from_plain(hints[name], item) for name, item in value.items() if name in known})  # type: ignore[operator]
    if origin is tuple:
        return tuple(from_plain(args[0], item) for item in value)
    if origin is dict:
        return {key: from_plain(args[1], item) for key, item in value.items()}
    if origin is list:
        return [from_plain(args[0], item) for item in value]
    if kind is float:
        return math.nan if value is None else float(value)
    return value
