"""A quadrotor of 0.8 kg in MuJoCo, with the usual inner control loop for velocity and yaw rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import atan2, cos, hypot, isfinite, sin, sqrt

import numpy as np

from torchliquid.errors import InputError

try:
    import mujoco
except ModuleNotFoundError:
    raise InputError("FlyToTarget needs MuJoCo: pip install 'torchliquid[control]'") from None

STEP = 0.002
"""Seconds per step of the physics and of the inner loop."""

MASS, GRAVITY, ARM = 0.8, 9.81, 0.12
YAW_PER_THRUST = 0.016
INERTIA = (0.0045, 0.0045, 0.008)
STRONGEST = 5.0
"""Maximum thrust of one rotor, in newtons."""

TILT = 0.55
"""Maximum tilt of the inner loop, in radians."""

XML = """
<mujoco>
  <option timestep="{step}" gravity="0 0 -{gravity}" density="1.2" viscosity="1.8e-5" integrator="implicitfast"/>
  <worldbody>
    <geom name="ground" type="plane" size="500 500 1"/>
    {obstacles}
    <body name="craft">
      <freejoint/>
      <inertial pos="0 0 0" mass="{mass}" diaginertia="{inertia}"/>
      <geom type="cylinder" size="0.22 0.04"/>
      <site name="front_left" pos="{arm} {arm} 0"/><site name="front_right" pos="{arm} -{arm} 0"/>
      <site name="rear_left" pos="-{arm} {arm} 0"/><site name="rear_right" pos="-{arm} -{arm} 0"/>
    </body>
  </worldbody>
  <actuator>{rotors}</actuator>
</mujoco>
"""


@dataclass(frozen=True)
class Obstacle:
    """A post or a box on the ground.

    Attributes:
        place: (x, y) of its centre, in metres.
        size: radius and height of a post, or half lengths along x and y and height of a box, in metres.
        turned: rotation about the vertical axis, in radians.
    """

    place: tuple[float, float]
    size: tuple[float, ...]
    turned: float = 0.0

    def xml(self) -> str:
        *flat, height = self.size
        kind = "cylinder" if len(flat) == 1 else "box"
        numbers = " ".join(f"{n:.4f}" for n in (*flat, height / 2))
        x, y = self.place
        turn = f"{cos(self.turned / 2):.6f} 0 0 {sin(self.turned / 2):.6f}"
        return f'<geom type="{kind}" size="{numbers}" pos="{x:.4f} {y:.4f} {height / 2:.4f}" quat="{turn}"/>'


class Quadrotor:
    """A quadrotor among obstacles.

    Args:
        obstacles: the obstacles it can hit.
        place: start position (x, y, z) in metres.
        yaw: start heading, radians from the x axis to the left.
    """

    def __init__(self, obstacles: Iterable[Obstacle], place: tuple[float, float, float], yaw: float) -> None:
        rotors = "".join(
            f'<general site="{site}" gear="0 0 1 0 0 {sign}{YAW_PER_THRUST}" ctrlrange="0 {STRONGEST}" '
            f'dyntype="filterexact" dynprm="0.03"/>'
            for site, sign in (("front_left", "-"), ("front_right", ""), ("rear_left", ""), ("rear_right", "-"))
        )
        self.model = mujoco.MjModel.from_xml_string(
            XML.format(
                step=STEP,
                gravity=GRAVITY,
                mass=MASS,
                arm=ARM,
                inertia=" ".join(map(str, INERTIA)),
                rotors=rotors,
                obstacles="\n".join(one.xml() for one in obstacles),
            )
        )
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:3] = place
        self.data.qpos[3:] = cos(yaw / 2), 0, 0, sin(yaw / 2)
        self.data.act[:] = MASS * GRAVITY / 4
        self.push = [0.0, 0.0, 0.0]  # integral part of the velocity loop, which compensates wind, m/s²
        mujoco.mj_forward(self.model, self.data)

    @property
    def place(self) -> np.ndarray:
        """(3,) position in metres."""
        return np.array(self.data.qpos[:3])

    @property
    def velocity(self) -> np.ndarray:
        """(3,) velocity in m/s."""
        return np.array(self.data.qvel[:3])

    @property
    def attitude(self) -> np.ndarray:
        """(3, 3) matrix whose columns point forward, left and up from the craft."""
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, self.data.qpos[3:7])
        return matrix.reshape(3, 3)

    @property
    def yaw(self) -> float:
        w, x, y, z = self.data.qpos[3:7].tolist()
        return atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

    @property
    def touches(self) -> bool:
        """Whether it touches anything."""
        return self.data.ncon > 0

    @property
    def overturned(self) -> bool:
        """Whether it tilts too far to recover, or its state is not finite."""
        _, x, y, _ = self.data.qpos[3:7].tolist()
        return not isfinite(x) or 1 - 2 * (x * x + y * y) < 0.2

    def fly(self, velocity: tuple[float, float, float], yaw_rate: float, wind: np.ndarray, seconds: float) -> None:
        """Hold a velocity and a yaw rate for some time. Stops when it touches something.

        Args:
            velocity: m/s forward, to the left (both horizontal) and up.
            yaw_rate: rad/s to the left.
            wind: (3,) m/s in the world.
            seconds: duration, rounded to whole physics steps.
        """
        self.model.opt.wind[:] = wind
        for _ in range(round(seconds / STEP)):
            self.data.ctrl[:] = self._thrusts(velocity, yaw_rate)
            mujoco.mj_step(self.model, self.data)
            if self.data.ncon:
                return

    def _thrusts(self, velocity: tuple[float, float, float], yaw_rate: float) -> list[float]:
        """Thrusts of the rotors: from velocity to acceleration, to tilt and total thrust, and from tilt to torques."""
        _, _, _, w, x, y, z = self.data.qpos.tolist()
        vx, vy, vz, roll_rate, pitch_rate, turn_rate = self.data.qvel.tolist()
        # The craft's axes in the world are the columns of the rotation.
        ax, ay, az = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
        lx, ly, lz = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
        ux, uy, uz = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
        size = hypot(ax, ay) or 1.0
        hx, hy = ax / size, ay / size
        ahead, left, climb = velocity
        wrong = (ahead * hx - left * hy - vx, ahead * hy + left * hx - vy, climb - vz)
        push = self.push
        for i in range(3):
            push[i] = min(max(push[i] + 1.5 * wrong[i] * STEP, -3.0), 3.0)
        fx, fy = 3.0 * wrong[0] + push[0], 3.0 * wrong[1] + push[1]
        fz = min(max(GRAVITY + 4.0 * wrong[2] + push[2], 4.0), 18.0)
        level, most = hypot(fx, fy), fz * TILT
        if level > most:
            fx, fy = fx * most / level, fy * most / level
        force = sqrt(fx * fx + fy * fy + fz * fz)
        thrust = MASS * max(fx * ux + fy * uy + fz * uz, 0.0)
        # The rotation of the thrust axis that is needed, about the craft's own axes.
        to_ahead, to_left = (fx * ax + fy * ay + fz * az) / force, (fx * lx + fy * ly + fz * lz) / force
        roll = INERTIA[0] * 25.0 * (-9.0 * to_left - roll_rate)
        pitch = INERTIA[1] * 25.0 * (9.0 * to_ahead - pitch_rate)
        turn = INERTIA[2] * 15.0 * (yaw_rate - turn_rate)
        turn = min(max(turn, -0.03), 0.03)
        even, r, p, t = thrust / 4, roll / (4 * ARM), pitch / (4 * ARM), turn / (4 * YAW_PER_THRUST)
        return [even + r - p - t, even - r - p + t, even + r + p + t, even - r + p - t]
