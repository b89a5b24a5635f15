"""The two worlds: Gymnasium's own check, frames that repeat, experts that succeed, and pictures and physics held
against what geometry and mechanics say."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env  # noqa: E402

import torchliquid.control  # noqa: E402, F401
from torchliquid.control.worlds import drive, fly, track  # noqa: E402
from torchliquid.control.worlds.car import FRONT, REAR, Car  # noqa: E402
from torchliquid.control.worlds.caster import Air, Camera, View, paint_sky  # noqa: E402
from torchliquid.control.worlds.pictures import skyline  # noqa: E402
from torchliquid.control.worlds.quadrotor import Obstacle, Quadrotor  # noqa: E402
from torchliquid.errors import InputError  # noqa: E402

FLY = [{"season": season} for season in fly.SEASONS]
FLY_HARD: list[dict[str, Any]] = [{"wind": 4.0}, {"target_speed": 1.0}, {"distance": 20.0}, {"decoys": 5}]
DRIVE = [{"season": season, "track": kind} for kind in track.KINDS for season in drive.SEASONS]
BOTH = [("torchliquid/FlyToTarget-v0", s) for s in FLY] + [("torchliquid/KeepLane-v0", s) for s in DRIVE[:5]]


@pytest.mark.parametrize(("name", "settings"), BOTH[::3])
def test_gymnasium_accepts_it_without_a_warning(name: str, settings: dict[str, Any]) -> None:
    world = gym.make(name, render_mode="rgb_array", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(world.unwrapped)


@pytest.mark.parametrize(("name", "settings"), BOTH[::3])
def test_a_seed_gives_the_same_frames(name: str, settings: dict[str, Any]) -> None:
    def frames(seed: int) -> np.ndarray:
        world: Any = gym.make(name, **settings).unwrapped
        found = [world.reset(seed=seed)[0]]
        for _ in range(4):
            found.append(world.step(world.expert())[0])
        return np.stack(found)

    one = frames(3)
    np.testing.assert_array_equal(one, frames(3))
    assert (one != frames(4)).mean() > 0.5
    assert all((a != b).any() for a, b in pairwise(one))


def test_the_season_changes_colours_and_not_places() -> None:
    worlds = [fly.FlyToTarget(season=season) for season in fly.SEASONS[:3]]
    frames = np.stack([world.reset(seed=5)[0].astype(int) for world in worlds])
    assert all((world.trunks == worlds[0].trunks).all() for world in worlds)
    assert abs(frames[0] - frames[2]).mean() > 20


@pytest.mark.parametrize("settings", FLY + FLY_HARD)
def test_the_flying_expert_reaches_the_target(settings: dict[str, Any]) -> None:
    world = fly.FlyToTarget(**settings)
    for seed in range(3):
        assert finish(world, seed)["is_success"], f"{settings}, seed {seed}"


@pytest.mark.parametrize("settings", DRIVE)
def test_the_driving_expert_drives_a_lap(settings: dict[str, Any]) -> None:
    world = drive.KeepLane(**settings)
    info = finish(world, 0)
    assert info["is_success"]
    assert info["lap"] >= 1


def finish(world: Any, seed: int) -> dict[str, Any]:
    world.blind = True  # experts need no frames, which cost the most
    world.reset(seed=seed)
    while True:
        _, _, terminated, truncated, info = world.step(world.expert())
        if terminated or truncated:
            return dict(info)


def test_who_does_nothing_or_steers_away_fails() -> None:
    world = drive.KeepLane()
    world.reset(seed=0)
    for _ in range(200):
        _, _, terminated, _, info = world.step(np.array([1.0]))
        if terminated:
            break
    assert info["crashed"]
    assert not info["is_success"]
    air = fly.FlyToTarget()
    air.reset(seed=0)
    for _ in range(60):
        _, _, terminated, _, info = air.step(np.array([0, 0, -1.0, 0]))
        if terminated:
            break
    assert info["crashed"]


@pytest.mark.parametrize("seed", range(4))
def test_the_target_is_where_a_pinhole_camera_puts_it(seed: int) -> None:
    """The ball's middle, projected by hand, is red; the decoys' middles are not."""
    world = fly.FlyToTarget(fog=0.0)
    world.reset(seed=seed)
    for _ in range(25):  # it leans as it flies
        frame, *_ = world.step(world.expert())
    ahead, left, up = world.craft.attitude.T @ (world.target - world.craft.place)
    half = np.tan(np.radians(75 / 2))
    column, row = 32 * (1 - left / ahead / half), 24 - 32 * up / ahead / half
    red, green, blue = frame[int(row), int(column)].astype(int)
    assert red > 2 * max(green, blue)


@pytest.mark.parametrize("seed", range(4))
def test_the_markings_are_where_a_pinhole_camera_puts_them(seed: int) -> None:
    """The right edge's line, some metres ahead, is brighter than the lane's middle beside it."""
    world = drive.KeepLane()
    world.reset(seed=seed)
    for _ in range(10):
        world.step(world.expert())
    large = world.look(Camera(320, 240, samples=1)).astype(int).sum(-1)
    c, s = np.cos(world.car.heading), np.sin(world.car.heading)
    eye = np.array([world.car.x + 0.6 * c, world.car.y + 0.6 * s])
    pitch = world.track.slope(eye) @ [c, s] - drive.DOWN
    half = np.tan(np.radians(75 / 2))

    def pixel(along: float, right: float) -> int:
        i = int((world.along + along) / world.track.spacing) % len(world.track.points)
        tangent = world.track.tangents[i]
        place = world.track.points[i] + right * np.array([tangent[1], -tangent[0]])
        to = place - eye
        ahead, left = to @ [c, s], to @ [-s, c]
        up = world.track.height(place) - world.track.height(eye) - drive.EYE - pitch * ahead
        return int(large[int(120 - 160 * up / ahead / half), int(160 * (1 - left / ahead / half))])

    for along in (6, 8, 10):
        assert pixel(along, track.LANE) > 1.5 * pixel(along, track.LANE / 2)


def test_the_quadrotor_holds_what_it_is_asked_for() -> None:
    craft = Quadrotor([], (0, 0, 5), 0.4)
    craft.fly((1.5, -0.5, 0.3), 0.0, np.array([0, 4.0, 0]), 6.0)
    c, s = np.cos(craft.yaw), np.sin(craft.yaw)
    np.testing.assert_allclose(craft.velocity, [1.5 * c + 0.5 * s, 1.5 * s - 0.5 * c, 0.3], atol=0.08)
    before = craft.yaw
    craft.fly((0, 0, 0), 0.5, np.zeros(3), 2.0)
    assert craft.yaw - before == pytest.approx(1.0, abs=0.1)


def test_the_quadrotor_stops_at_what_it_hits() -> None:
    craft = Quadrotor([Obstacle((3.0, 0.0), (0.3, 8.0))], (0, 0, 1.5), 0.0)
    craft.fly((2.0, 0, 0), 0.0, np.zeros(3), 4.0)
    assert craft.touches
    assert craft.place[0] == pytest.approx(3 - 0.3 - 0.22, abs=0.05)


@pytest.mark.parametrize(("speed", "wheels"), [(3.0, 0.2), (2.0, -0.3)])
def test_a_slow_car_turns_as_geometry_says(speed: float, wheels: float) -> None:
    car = Car(0, 0, 0, speed)
    car.drive(wheels, speed, 0.95, (0, 0), 5.0)
    assert car.turn == pytest.approx(speed * np.tan(wheels) / (FRONT + REAR), rel=0.05)


@pytest.mark.parametrize("grip", [0.4, 0.9])
def test_tyres_hold_no_more_than_their_grip(grip: float) -> None:
    car = Car(0, 0, 0, 15.0)
    places = [(car.x, car.y)]
    for _ in range(60):
        car.drive(0.4, 15.0, grip, (0, 0), 0.05)
        places.append((car.x, car.y))
    velocity = np.diff(places, axis=0) / 0.05
    ahead = velocity[:-1] / np.hypot(*velocity[:-1].T)[:, None]
    change = np.diff(velocity, axis=0) / 0.05
    sideways = abs(ahead[:, 0] * change[:, 1] - ahead[:, 1] * change[:, 0])
    assert sideways.max() < 1.1 * grip * 9.81
    assert sideways.max() > 0.7 * grip * 9.81


@pytest.mark.parametrize(
    ("world", "settings", "says"),
    [
        (fly.FlyToTarget, {"season": "spring"}, "season 'spring' is not known; there are summer"),
        (fly.FlyToTarget, {"distance": 1.0}, "distance is 1.0"),
        (fly.FlyToTarget, {"wind": float("nan")}, "wind is nan"),
        (drive.KeepLane, {"worn": 2.0}, "worn is 2.0"),
        (drive.KeepLane, {"track": "moon"}, "track 'moon'"),
        (drive.KeepLane, {"render_mode": "human"}, "render_mode 'human'"),
    ],
)
def test_settings_that_cannot_be(world: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        world(**settings)


def test_actions_and_options_that_cannot_be() -> None:
    world = drive.KeepLane()
    with pytest.raises(InputError, match="no option 'sesaon'; it has season, track, worn"):
        world.reset(seed=0, options={"sesaon": "winter"})
    world.reset(seed=0)
    for action in (np.zeros(2), np.array([np.nan])):
        with pytest.raises(InputError, match="an action of KeepLane is 1 numbers"):
            world.step(action)


@pytest.mark.parametrize("pitch", [0.0, 1e-12, 1e-9, 1e-7, -1e-9])
def test_a_ray_along_the_horizon_sees_the_foot_of_the_skyline(pitch):
    camera = Camera(64, 1, samples=1)
    basis = np.eye(3)
    basis[2, 0] = pitch
    view = View(camera, np.zeros(3), basis)
    paint_sky(view, np.ones(3), Air(np.full(3, 0.5), 100.0), skyline("summer"), np.zeros(3))
    assert np.isfinite(view.colours).all()
    assert (view.colours[0, :, 0] < 0.5).all() == (pitch > 0)
