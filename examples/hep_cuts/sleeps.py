"""The lengths of tasks that do nothing but sleep, the same from a seed on every machine."""

import random
from collections.abc import Iterator
from itertools import islice

LONGEST = 30
WORDS = 624


def lengths(tasks: int, seed: int) -> list[int]:
    """Return milliseconds from 0 to 30: what `numpy.random.seed(seed); numpy.random.randint(0, 31, tasks)` returns."""
    return list(islice(_draws(seed), tasks))


def _draws(seed: int) -> Iterator[int]:
    """Both libraries have the same generator and differ in how they seed it, and in how they make a number of it."""
    source = random.Random()
    state = [seed & 0xFFFFFFFF]
    for place in range(1, WORDS):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + place) & 0xFFFFFFFF)
    source.setstate((3, (*state, WORDS), None))
    while True:
        drawn = source.getrandbits(32) & 31
        if drawn <= LONGEST:
            yield drawn
