"""The sizes of comparisons in the worlds of this package, and the page that shows several comparisons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torchliquid.control.contenders import CONTENDERS, PUBLISHED
from torchliquid.control.shifts import ANYWHERE, WORLDS
from torchliquid.control.study import Setting
from torchliquid.control.summary import section
from torchliquid.errors import InputError
from torchliquid.files import read_json
from torchliquid.page import write_page

FLY = Setting(
    demonstrations=20,
    noise=0.3,
    updates=120,
    validation=4,
    test=6,
    shifts=(
        ("Season", 3.0),
        ("Distance", 20.0),
        ("Fog", 0.4),
        ("Hue", 30.0),
        ("RotatedCamera", 10.0),
        ("DroppedFrames", 0.8),
    ),
)
DRIVE = Setting(
    demonstrations=6,
    noise=0.1,
    updates=250,
    validation=2,
    test=6,
    shifts=(("Season", 1.0), ("OtherTrack", 1.0), ("DroppedFrames", 0.6)),
)
SMALL = {"fly": FLY, "drive": DRIVE}
ALL = tuple(one.name for one in CONTENDERS)
NOT_OF = {"fly": ("OtherTrack", "WornMarkings"), "drive": ("Wind", "Distance", "MovingTarget", "Decoys", "Fog")}
"""Shifts that exist only in the other world."""

HEAD = """# Does a liquid policy work where it was never trained?

Written by `torchliquid control`; not by hand. The worlds are those of [the closed loop](guides/closed-loop.md).

All networks learn by behaviour cloning from the same demonstrations. The expert knows the world's state. The networks
have the same image encoder and, besides it, the same number of live parameters within 10 %. Then they steer in worlds
of other seeds, unchanged and under shifts. The best liquid network on the validation worlds is compared with the best
other one. The pair is written down before any test world is used.

* *Worth it*: the 95 % interval of the difference in success rates lies above zero, and the difference is 5 points or
  more in favour of the liquid network.
* *Not worth it*: the interval excludes a difference of 5 points or more in favour of the liquid network.
* *Not shown*: anything else. One seed always ends here, since it does not show what another training would give.
"""


def setting_of(environment: str, full: bool, given: dict[str, Any]) -> Setting:
    """The setting of a comparison.

    Args:
        environment: ``"fly"``, ``"drive"`` or any other.
        full: whether to use all contenders, 5 seeds, 3 tuning trials, and all shifts at all their severities.
        given: attributes of :class:`Setting` to change.
    """
    setting = SMALL.get(environment, Setting())
    if full:
        shifts = tuple(
            (kind.__name__, severity)
            for kind in (*ANYWHERE, *(WORLDS if environment in NOT_OF else ()))
            if kind.__name__ not in NOT_OF.get(environment, ())
            for severity in kind.severities
        )
        setting = replace(
            setting,
            contenders=(*ALL, PUBLISHED.name) if environment == "drive" else ALL,
            seeds=5,
            trials=3,
            demonstrations=5 * setting.demonstrations,
            updates=4 * setting.updates,
            dagger=1,
            validation=12,
            test=20,
            shifts=shifts if environment in NOT_OF else (),
        )
    return replace(setting, **given)


def write_document(folder: Path, path: Path) -> None:
    """Write all comparisons in a folder as one page of Markdown.

    Raises:
        InputError: there is no comparison, its figures are damaged, or the page cannot be written.
    """
    found = sorted(folder.glob("*/results.json"))
    sections = []
    for one in found:
        results = read_json(one, dict)
        if "pair" in results and "contenders" in results:
            sections.append(section(results))
    if not sections:
        raise InputError(f"{folder} holds no finished comparison")
    write_page("\n".join([HEAD, *sections]), path)
