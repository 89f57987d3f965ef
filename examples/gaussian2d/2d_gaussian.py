"""The 2-D Gaussian by one process, one row after the other."""

import sys
import time

from gaussian import INTEGRAL, check, parser, side, strip
from picture import draw


def main() -> int:
    """Compute it, check it, draw it, and leave the values in a file."""
    options = parser("Compute a 2-D Gaussian in one process.")
    options.add_argument("--output", default="serial", metavar="NAME", help="NAME.f64, NAME.png (default: serial).")
    words = options.parse_args()
    points = side(words.step)
    begin = time.perf_counter()
    values = strip(words.step, 0, points)
    seconds = time.perf_counter() - begin
    total = check(values, words.step)
    print(f"serial: {points} x {points} points in {seconds:.2f} s; sum {total:.6f}, expected {INTEGRAL:.6f}")
    with open(f"{words.output}.f64", "wb") as file:
        values.tofile(file)
    draw(f"{words.output}.png", values, points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
