"""The scan of rectangular cuts: which of n_cuts**8 settings best tells signal from background.

A setting selects an event if all eight variables lie strictly below their cuts. Its cuts come from the digits of
its number k in base n_cuts, the first variable's digit being the least significant.

For each variable and digit one big integer holds a bit an event: does it pass this cut? A setting's selection is
then the AND of eight integers, and its correct events are counted by a popcount: exact, and fast without numpy.
"""

import math
import os
import time
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

from pytaskfarmer.errors import FarmError

from .tables import DatasetError

VARIABLES = (
    "averageInteractionsPerCrossing",
    "p_Rhad",
    "p_Rhad1",
    "p_TRTTrackOccupancy",
    "p_topoetcone40",
    "p_eTileGap3Cluster",
    "p_phiModCalo",
    "p_etaModCalo",
)
TRUTH = "p_truthType"
SIGNAL_TYPE = 2

_SAME_SCAN = ("checksum", "n_events", "n_cuts")


class Best(NamedTuple):
    """The first setting with the most correct events."""

    correct: int
    k: int


def best_of(candidates: Iterable[Best]) -> Best:
    """Return the best candidate; among equals the lowest k, so that the order of `candidates` is no matter."""
    return max(candidates, key=lambda best: (best.correct, -best.k))


@dataclass(frozen=True, slots=True)
class Scan:
    """Events made ready for counting: what a worker prepares once and uses for every setting.

    `cuts[i][digit]` is variable i's cut as printed (the flip undone), `passing[i][digit]` the events that pass it,
    `signal` the signal events, both with one bit an event. `checksum` is the CRC-32 of the events' values.
    """

    n_cuts: int
    n_events: int
    checksum: int
    cuts: tuple[tuple[float, ...], ...]
    passing: tuple[tuple[int, ...], ...]
    signal: int

    @property
    def n_settings(self) -> int:
        """How many settings there are."""
        return count_settings(self.n_cuts)

    def setting(self, k: int) -> dict[str, float]:
        """Return the cuts of setting k by variable."""
        cuts = {}
        for name, of_digit in zip(VARIABLES, self.cuts, strict=True):
            k, digit = divmod(k, self.n_cuts)
            cuts[name] = of_digit[digit]
        return cuts

    def correct(self, k: int) -> int:
        """Return how many events setting k puts on the right side."""
        selected = -1
        for of_digit in self.passing:
            k, digit = divmod(k, self.n_cuts)
            selected &= of_digit[digit]
        return self.n_events - (selected ^ self.signal).bit_count()

    def best(self, first: int, count: int) -> Best:
        """Return the best of the `count` settings from `first` on."""
        return best_of(Best(self.correct(k), k) for k in range(first, first + count))


def count_settings(n_cuts: int) -> int:
    """Return the number of settings: one for each choice of a digit for each of the eight variables."""
    return n_cuts**8


def prepare(events: Any, n_cuts: int, path: str | os.PathLike[str]) -> Scan:
    """Turn each variable so that signal lies below background, place its cuts, and see who passes them.

    `events[name]` is a column that has `tolist`, for each of `VARIABLES` and `TRUTH`; `path` is where they are from.
    The means are taken with `math.fsum`, whose result depends neither on order nor on the version of Python. Raises
    `DatasetError`, which names an event by its place, from 0.
    """
    truth = _numbers(events, TRUTH, path)
    signal = [value == SIGNAL_TYPE for value in truth]
    if all(signal) or not any(signal):
        count = f"{sum(signal)} of {len(signal)} events are signal ({TRUTH} = {SIGNAL_TYPE})"
        raise DatasetError(path, None, f"{count}; a scan needs events of both kinds")
    others = [not is_signal for is_signal in signal]
    checksum = zlib.crc32(bytes(signal))
    cuts, passing = [], []
    for name in VARIABLES:
        column = _numbers(events, name, path)
        checksum = zlib.crc32(column.tobytes(), checksum)
        mean_signal, mean_other = _mean(compress(column, signal)), _mean(compress(column, others))
        flip = -1 if mean_other < mean_signal else 1
        turned = [flip * value for value in column]
        start, width = flip * mean_signal, flip * mean_other - flip * mean_signal
        places = [start + digit * width / n_cuts for digit in range(n_cuts)]
        cuts.append(tuple(flip * place for place in places))
        passing.append(tuple(_bits(value < place for value in turned) for place in places))
    return Scan(n_cuts, len(signal), checksum, tuple(cuts), tuple(passing), _bits(signal))


def _numbers(events: Any, name: str, path: str | os.PathLike[str]) -> "array[float]":
    try:
        column = array("d", events[name].tolist())
    except TypeError:
        raise DatasetError(path, None, f"{name} has no number for each event, and the scan needs one") from None
    for event, value in enumerate(column):
        if not math.isfinite(value):
            raise DatasetError(path, None, f"event {event}: {name} is {value}, expected a finite number")
    return column


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def _bits(flags: Iterable[bool]) -> int:
    return int("".join(["1" if flag else "0" for flag in flags]), 2)


# -- results


class MergeError(FarmError, ValueError):
    """Two results that do not belong together."""


def result(scan: Scan, first: int, count: int, microseconds: int) -> dict[str, Any]:
    """Scan `count` settings from `first` on and return the best, with what it takes to merge and to report it.

    `settings` are the ranges scanned, as [first, end before]; `cuts` those of the best setting, by variable.
    `microseconds` is the time that preparing took, to which counting is added.
    """
    start = time.perf_counter_ns()
    best = scan.best(first, count)
    microseconds += (time.perf_counter_ns() - start) // 1000
    return {
        "correct": best.correct,
        "k": best.k,
        "cuts": scan.setting(best.k),
        "n_events": scan.n_events,
        "n_cuts": scan.n_cuts,
        "checksum": scan.checksum,
        "settings": [[first, first + count]],
        "microseconds": microseconds,
    }


def merge(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of both together: the better one's setting, and of equally good ones the lowest.

    Any number of results merge to the same one in any order and grouping; that is complete when its `settings` are
    `[[0, n_cuts**8]]`. Raises `MergeError` if the two are of different scans, or a setting is in both.
    """
    differing = [key for key in _SAME_SCAN if a[key] != b[key]]
    if differing:
        raise MergeError(f"results of different scans, their {' and '.join(differing)} differ; merge those of one only")
    better = max(a, b, key=lambda one: (one["correct"], -one["k"]))
    settings = _joined([*a["settings"], *b["settings"]])
    return {**better, "settings": settings, "microseconds": a["microseconds"] + b["microseconds"]}


def _joined(ranges: list[list[int]]) -> list[list[int]]:
    joined: list[list[int]] = []
    for first, end in sorted(ranges):
        if joined and first < joined[-1][1]:
            raise MergeError(f"settings {first} to {min(end, joined[-1][1]) - 1} are in both results; leave one out")
        if joined and first == joined[-1][1]:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    return joined
