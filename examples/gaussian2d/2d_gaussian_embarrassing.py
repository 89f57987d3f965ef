"""The 2-D Gaussian by independent commands, each of which computes one strip and knows nothing of the others."""

import os
import sys
from argparse import ArgumentTypeError
from array import array

from gaussian import INTEGRAL, check, cut, parser, side, strip
from picture import draw


def compute(step: float, number: int, parts: int) -> None:
    """Write strip `number`, counted from 1, under its final name when it is whole."""
    first, count = list(cut(side(step), parts))[number - 1]
    path = _path(number, parts)
    with open(f"{path}.part", "wb") as file:
        strip(step, first, count).tofile(file)
    os.rename(f"{path}.part", path)
    print(f"{path}: rows {first} to {first + count - 1}")


def join(step: float, parts: int) -> None:
    """Put the strips together in the order of their rows, check the whole, and draw it. Raises ValueError, OSError."""
    values = array("d")
    for number in range(1, parts + 1):
        with open(_path(number, parts), "rb") as file:
            values.frombytes(file.read())
    total = check(values, step)
    print(f"{parts} strips: sum {total:.6f}, expected {INTEGRAL:.6f}")
    with open(f"embarrassing{parts}.f64", "wb") as file:
        values.tofile(file)
    draw(f"embarrassing{parts}.png", values, side(step))


def _path(number: int, parts: int) -> str:
    return f"strip-{number}-of-{parts}.f64"


def _fraction(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise ArgumentTypeError(f"{text!r} is not like 1/4")
    return int(number), int(parts)


def main() -> int:
    """Compute one strip, or join all."""
    options = parser("Compute a strip of a 2-D Gaussian, or put the strips together.")
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--strip", type=_fraction, metavar="I/N", help="Compute strip I of N, counted from 1.")
    what.add_argument("--join", type=int, metavar="N", help="Put N strips together.")
    words = options.parse_args()
    try:
        if words.strip:
            compute(words.step, *words.strip)
        else:
            join(words.step, words.join)
    except FileNotFoundError as error:
        options.error(f"{error.filename} is not there; compute the strips first")
    except ValueError as error:
        options.error(f"{error}; remove strips{words.join}.txt_workdir and compute the strips again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
