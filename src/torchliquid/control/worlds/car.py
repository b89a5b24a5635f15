"""A bicycle model of a car with slipping tyres and speed control."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan, atan2, cos, sin

STEP = 0.002
"""Seconds per physics step."""

MASS, TURNING = 1300.0, 1900.0
"""Kilograms, and kg m² about the vertical axis."""

FRONT, REAR = 1.25, 1.35
"""Metres from the centre of mass to the axles."""

WIDTH = 1.8
LOCK = 0.5
"""Maximum angle of the front wheels, in radians."""

GRAVITY = 9.81


@dataclass
class Car:
    """The state of the car: position and heading in the world, velocity in its own axes (forward, left), yaw rate and
    the angle of the wheels.

    Side forces of the tyres follow the magic formula, ``μ F sin(C atan(B slip))``. The wheels follow the steering with
    a lag, at 1 rad/s at most.
    """

    x: float
    y: float
    heading: float
    ahead: float
    left: float = 0.0
    turn: float = 0.0
    wheels: float = 0.0

    def drive(self, steering: float, speed: float, grip: float, slope: tuple[float, float], seconds: float) -> None:
        """Drive for some time.

        Args:
            steering: target angle of the wheels, radians to the left.
            speed: target speed in m/s.
            grip: friction of the tyres.
            slope: slope of the land along x and y.
            seconds: duration, rounded to whole physics steps.
        """
        stiff_front, stiff_rear, shape = 9.0, 12.0, 1.4
        load_front, load_rear = (MASS * GRAVITY * arm / (FRONT + REAR) for arm in (REAR, FRONT))
        for _ in range(round(seconds / STEP)):
            want = min(max((steering - self.wheels) / 0.08, -1.0), 1.0)
            self.wheels += want * STEP
            c, s = cos(self.heading), sin(self.heading)
            quick = max(self.ahead, 1.0)
            slip_front = atan2(self.left + FRONT * self.turn, quick) - self.wheels
            slip_rear = atan2(self.left - REAR * self.turn, quick)
            front = -grip * load_front * sin(shape * atan(stiff_front * slip_front))
            rear = -grip * load_rear * sin(shape * atan(stiff_rear * slip_rear))
            up, side = slope[0] * c + slope[1] * s, -slope[0] * s + slope[1] * c
            foot = min(max(2.0 * (speed - self.ahead) + GRAVITY * up, -0.6 * grip * GRAVITY), 3.0)
            push = foot - GRAVITY * up - front * sin(self.wheels) / MASS + self.left * self.turn
            drift = (front * cos(self.wheels) + rear) / MASS - GRAVITY * side - self.ahead * self.turn
            spin = (FRONT * front * cos(self.wheels) - REAR * rear) / TURNING
            self.ahead += push * STEP
            self.left += drift * STEP
            self.turn += spin * STEP
            self.heading += self.turn * STEP
            self.x += (self.ahead * c - self.left * s) * STEP
            self.y += (self.ahead * s + self.left * c) * STEP
