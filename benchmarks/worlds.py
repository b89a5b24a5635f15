"""Measures the two worlds of ``torchliquid.control`` and draws their pictures.

``speed`` measures frames per second of whole steps, physics and expert included. It also times MuJoCo's own renderer,
on the tree trunks only, with EGL and OSMesa (``apt-get install libosmesa6``) if they are installed. ``experts`` counts
how often the experts succeed in ``--episodes`` scenes of each kind. ``sheets`` writes the pictures to ``docs/pictures``
or ``--folder``.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchliquid.control.worlds import drive, fly
from torchliquid.control.worlds.world import World

SEED = 1000
FRAMES = 400
KINDS: dict[str, tuple[type[World[Any]], list[dict[str, Any]]]] = {
    "FlyToTarget": (
        fly.FlyToTarget,
        [
            *({"season": season} for season in fly.SEASONS),
            {"wind": 4.0},
            {"target_speed": 1.0},
            {"distance": 25.0},
            {"decoys": 5},
        ],
    ),
    "KeepLane": (
        drive.KeepLane,
        [{"season": season, "track": track} for track in drive.KINDS for season in drive.SEASONS] + [{"worn": 0.8}],
    ),
}


def words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def speed(job: tuple[str, dict[str, Any], int]) -> tuple[float, float]:
    """Frames per second, and per second of processor time."""
    name, settings, seed = job
    world = KINDS[name][0](**settings)
    world.reset(seed=seed)
    start, used = time.perf_counter(), time.process_time()
    for _ in range(FRAMES):
        _, _, terminated, truncated, _ = world.step(world.expert())
        if terminated or truncated:
            seed += 1
            world.reset(seed=seed)
    return FRAMES / (time.perf_counter() - start), FRAMES / (time.process_time() - used)


def succeeds(job: tuple[str, dict[str, Any], int]) -> tuple[bool, float]:
    """Whether the expert succeeds, and the seconds it takes. No frames are drawn."""
    name, settings, seed = job
    world = KINDS[name][0](**settings)
    world.blind = True
    world.reset(seed=seed)
    steps = 0
    while True:
        _, _, terminated, truncated, info = world.step(world.expert())
        steps += 1
        if terminated or truncated:
            return bool(info["is_success"]), steps * world.dt


def mujoco_speed() -> float:
    """Frames of MuJoCo's renderer per second of processor time, without physics."""
    import mujoco

    world = fly.FlyToTarget()
    world.reset(seed=SEED)
    world.craft.model.vis.quality.offsamples = 0
    renderer = mujoco.Renderer(world.craft.model, 48, 64)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    start = time.process_time()
    for _ in range(FRAMES):
        renderer.update_scene(world.craft.data)
        renderer.render()
    return FRAMES / (time.process_time() - start)


def mujoco_by(backend: str) -> str:
    """A line of text. Each backend runs in its own process, because MuJoCo chooses only once."""
    os.environ["MUJOCO_GL"] = backend
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return f"MuJoCo's renderer by {backend}: {pool.submit(mujoco_speed).result():.0f} frames a second"
        except Exception as error:
            return f"MuJoCo's renderer by {backend}: not here ({type(error).__name__})"


def sheet(name: str, settings: dict[str, Any]) -> np.ndarray:
    """A row of three frames of an episode: the first and the last as a policy sees them, the middle one in detail."""
    world = KINDS[name][0](**settings)
    world.reset(seed=SEED)
    row = []
    for step in range(41):
        frame, *_ = world.step(world.expert())
        if step in (0, 20, 40):
            picture = Image.fromarray(world.render() if step == 20 else frame)
            row.append(
                np.asarray(picture.resize((256, 192), Image.Resampling.BOX if step == 20 else Image.Resampling.NEAREST))
            )
    return np.hstack(row)


def speeds(jobs: int) -> None:
    with ProcessPoolExecutor(jobs) as pool:
        for name, (_, kinds) in KINDS.items():
            for settings in kinds[:4]:
                found = np.array(list(pool.map(speed, [(name, settings, SEED + 50 * i) for i in range(jobs)])))
                clock, processor = found.sum(0)
                print(
                    f"{name}, {words(settings)}: {clock:.0f} frames a second by {jobs} processes, "
                    f"{processor:.0f} with a core for each",
                    flush=True,
                )
    for backend in ("egl", "osmesa"):
        print(mujoco_by(backend), flush=True)


def experts(episodes: int, jobs: int) -> None:
    with ProcessPoolExecutor(jobs) as pool:
        for name, (_, kinds) in KINDS.items():
            for settings in kinds:
                done = list(pool.map(succeeds, [(name, settings, SEED + i) for i in range(episodes)]))
                took = np.median([seconds for _, seconds in done])
                print(
                    f"{name}, {words(settings)}: the expert succeeds in {sum(ok for ok, _ in done)} of {episodes}, "
                    f"{took:.1f} s in the middle",
                    flush=True,
                )


def sheets(folder: Path) -> None:
    for name, (_, kinds) in KINDS.items():
        picture = Image.fromarray(np.vstack([sheet(name, settings) for settings in kinds]))
        picture.save(folder / f"{name}.jpg", quality=80, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "experts", "sheets"), nargs="*", default=["speed", "experts"])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "docs/pictures")
    options = parser.parse_args()
    if "speed" in options.what:
        speeds(options.jobs)
    if "experts" in options.what:
        experts(options.episodes, options.jobs)
    if "sheets" in options.what:
        sheets(options.folder)


if __name__ == "__main__":
    main()
