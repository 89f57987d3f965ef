"""The 2-D Gaussian on [-2, 2) x [-2, 2), row by row.

Row i has x = -2 + STEP * i, and point j of a row y = -2 + STEP * j, always with these integers: so a strip of rows has
the same bits whoever computes it, and any strips put together in order are the whole.
"""

import math
import os
from argparse import ArgumentParser, ArgumentTypeError
from array import array
from collections.abc import Iterator

LOW, HIGH = -2.0, 2.0
SIGMA = 1.0
NORM = 2 * math.pi * SIGMA**2
INTEGRAL = math.erf(math.sqrt(2)) ** 2
"""What the values, times STEP squared, add up to: nearly, since they are points and no integral."""


def side(step: float) -> int:
    """Return the number of rows, and of points in a row. Raises ValueError unless they fill [-2, 2) exactly."""
    points = round((HIGH - LOW) / step) if step > 0 else 0
    if points < 1 or not math.isclose(points * step, HIGH - LOW):
        raise ValueError(f"a step of {step:g} does not divide {HIGH - LOW:g}")
    return points


def strip(step: float, first: int, count: int) -> "array[float]":
    """Return the values of `count` rows from `first` on, one row after the other."""
    squares = [(LOW + step * j) ** 2 for j in range(side(step))]
    values = array("d")
    for i in range(first, first + count):
        xx = (LOW + step * i) ** 2
        values.extend([math.exp(-(xx + yy) / (2 * SIGMA**2)) / NORM for yy in squares])
    return values


def cut(rows: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield first row and number of rows of each strip; these differ by one at most."""
    for part in range(parts):
        first = rows * part // parts
        yield first, rows * (part + 1) // parts - first


def check(values: "array[float]", step: float) -> float:
    """Return the sum times STEP squared. Raises ValueError if that is not what the whole must have.

    The sum is the trapezoidal rule, since the ends of a row are equal; it is off by 0.034 STEP squared.
    """
    points = side(step)
    if len(values) != points * points:
        raise ValueError(f"{len(values)} values where {points} x {points} are expected")
    total = sum(values) * step * step
    if not abs(total - INTEGRAL) < 0.05 * step * step + 1e-9:
        raise ValueError(f"the values add up to {total:.9f}, where {INTEGRAL:.9f} is expected")
    return total


def parser(description: str) -> ArgumentParser:
    """Return a parser that knows `--step`, whose default is STEP in the environment, or else 0.001."""
    parser = ArgumentParser(description=description)
    parser.add_argument(
        "--step", type=_step, default=os.environ.get("STEP", "0.001"), help="Distance of points (default: %(default)s)."
    )
    return parser


def _step(text: str) -> float:
    try:
        side(step := float(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return step
