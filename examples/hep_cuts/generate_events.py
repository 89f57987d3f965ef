"""Make up events that look like isolated electrons (signal) and other calorimeter clusters (background).

The same seed gives the same bytes with every Python on every machine. Of the methods of `random.Random` only
`random()` is promised to keep its sequence, and `math.log` or `math.cos` may differ in the last bit from one C
library to the next, so a normal deviate is made of twelve uniform ones with nothing but exactly rounded sums.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from commands import positive, run
from events import HEADER
from results import publish

SIGNAL_FRACTION = 0.4
BACKGROUND_TYPES = (0, 1, 3, 4, 16, 17)
TRACKS = 6

# Mean and spread of each variable: signal, then background.
PILE_UP = ((22.0, 4.0), (40.0, 9.0))
SHAPES = {
    "p_Rhad": ((0.0, 0.013), (0.08, 0.06)),
    "p_Rhad1": ((0.0, 0.0065), (0.06, 0.025)),
    "p_TRTTrackOccupancy": ((0.19, 0.04), (0.34, 0.09)),
    "p_topoetcone40": ((900.0, 1200.0), (9800.0, 3800.0)),
    "p_eTileGap3Cluster": ((45.0, 90.0), (1000.0, 380.0)),
    "p_phiModCalo": ((0.009, 0.002), (0.019, 0.0045)),
    "p_etaModCalo": ((0.016, 0.003), (0.009, 0.003)),
}


def normal(random: Random, mean: float, spread: float) -> float:
    """Return a value that is near enough to normal: twelve uniform ones add up to mean 6 and variance 1."""
    return mean + spread * (math.fsum(random.random() for _ in range(12)) - 6.0)


def event_lines(events: int, seed: int) -> Iterator[str]:
    """Yield the header and `events` lines."""
    random = Random(seed)
    yield ",".join(HEADER)
    for index in range(events):
        is_signal = random.random() < SIGNAL_FRACTION
        kind = 0 if is_signal else 1
        pile_up = abs(normal(random, *PILE_UP[kind]))
        vertices = max(1, round(normal(random, 0.55 * pile_up, 1.5)))
        tracks = 1 + int(TRACKS * random.random())
        shapes = [normal(random, *shape[kind]) for shape in SHAPES.values()]
        truth = 2 if is_signal else BACKGROUND_TYPES[int(len(BACKGROUND_TYPES) * random.random())]
        numbers = ",".join(f"{value:.6f}" for value in shapes)
        yield f"{index},{pile_up:.6f},{vertices},{tracks},{numbers},{truth}"


def main() -> int:
    """Write the events that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write made-up events in the format that the scan reads.")
    parser.add_argument("--events", type=positive, default=2000, metavar="N", help="How many (default: %(default)s).")
    parser.add_argument(
        "--seed",
        type=int,
        default=1234,
        metavar="S",
        help="Start of the random numbers, an integer (default: %(default)s).",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="The file to write.")
    options = parser.parse_args()
    publish(options.output, "".join(f"{line}\n" for line in event_lines(options.events, options.seed)).encode())
    return 0


if __name__ == "__main__":
    run(main)
