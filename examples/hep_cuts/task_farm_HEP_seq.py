"""Find the best rectangular cut one setting after the other: the baseline that the farm is held against.

It follows the definition, and shares with the farm how events are read and how results are printed, but not the scan:
what both find, two programs have found.
"""

import math
import sys
import time
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import run, scan_options
from events import read_events
from results import Result, as_profile, as_text, write_result

from pytaskfarmer.runners.tables import DatasetError, Table

COLUMNS = (
    "averageInteractionsPerCrossing",
    "p_Rhad",
    "p_Rhad1",
    "p_TRTTrackOccupancy",
    "p_topoetcone40",
    "p_eTileGap3Cluster",
    "p_phiModCalo",
    "p_etaModCalo",
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Events, turned so that signal lies below background in each variable: `data[i][event]` is compared with cuts.

    `flip[i]` is -1 where variable i was turned; `places[i]` are the cuts to try, the lowest first.
    """

    data: list[list[float]]
    signal: list[bool]
    flip: list[int]
    places: list[list[float]]

    def setting(self, k: int) -> list[float]:
        """Return the eight cuts of setting k: digit i of k, the least significant first, says which of variable i."""
        cuts = []
        for of_variable in self.places:
            k, digit = divmod(k, len(of_variable))
            cuts.append(of_variable[digit])
        return cuts

    def correct(self, cuts: Sequence[float]) -> int:
        """Return how many events are on the right side: signal below all cuts, background not."""
        selected: Sequence[int] = range(len(self.signal))
        for values, cut in zip(self.data, cuts, strict=True):
            selected = [event for event in selected if values[event] < cut]
        hits = sum(self.signal[event] for event in selected)
        missed, fakes = sum(self.signal) - hits, len(selected) - hits
        return len(self.signal) - missed - fakes


def prepare(events: Table, n_cuts: int, path: Path) -> Prepared:
    """Place `n_cuts` cuts in each variable between the means of signal and background. Raises DatasetError."""
    signal = [truth == 2 for truth in events["p_truthType"]]
    if all(signal) or not any(signal):
        count = f"{sum(signal)} of {len(signal)} events are signal (p_truthType = 2)"
        raise DatasetError(path, None, f"{count}; a scan needs events of both kinds")
    prepared = Prepared([], signal, [], [])
    for name in COLUMNS:
        values = events[name].tolist()
        mean_s = mean([value for value, is_signal in zip(values, signal, strict=True) if is_signal])
        mean_b = mean([value for value, is_signal in zip(values, signal, strict=True) if not is_signal])
        flip = -1 if mean_b < mean_s else +1
        mean_s, mean_b = mean_s * flip, mean_b * flip
        prepared.data.append([value * flip for value in values])
        prepared.flip.append(flip)
        prepared.places.append([mean_s + j * (mean_b - mean_s) / n_cuts for j in range(n_cuts)])
    return prepared


def mean(values: Sequence[float]) -> float:
    """Return the mean; `sum` would give other last digits from one version of Python to the next."""
    return math.fsum(values) / len(values)


def checksum(events: Table, signal: Sequence[bool]) -> int:
    """Return the CRC-32 by which results of other events are told apart: the signal flags, then each column."""
    crc = zlib.crc32(bytes(signal))
    for name in COLUMNS:
        crc = zlib.crc32(array("d", events[name]).tobytes(), crc)
    return crc


def scan(path: Path, n_cuts: int) -> Result:
    """Try all settings. Raises DatasetError."""
    start = time.perf_counter()
    events = read_events(path)
    read = time.perf_counter()
    prepared = prepare(events, n_cuts, path)
    ready = time.perf_counter()
    best_k, most = 0, -1
    for k in range(n_cuts**8):
        correct = prepared.correct(prepared.setting(k))
        if correct > most:
            best_k, most = k, correct
    end = time.perf_counter()
    cuts = [flip * cut for flip, cut in zip(prepared.flip, prepared.setting(best_k), strict=True)]
    return Result(
        checksum=checksum(events, prepared.signal),
        n_events=len(prepared.signal),
        n_cuts=n_cuts,
        first=0,
        count=n_cuts**8,
        k=best_k,
        correct=most,
        cuts=dict(zip(COLUMNS, cuts, strict=True)),
        seconds={"read": read - start, "prepare": ready - read, "count": end - ready},
    )


def main() -> int:
    """Scan all settings."""
    parser = scan_options("Find the rectangular cut that best separates signal from background.")
    parser.add_argument("--output", type=Path, metavar="JSON", help="Also write the result to this file.")
    parser.add_argument("--profile", action="store_true", help="Report the seconds of each phase on standard error.")
    parser.add_argument("--workers", type=int, choices=[1], default=1, help="There is one, this process.")
    options = parser.parse_args()
    result = scan(options.input, options.n_cuts)
    if options.output:
        write_result(options.output, result)
    print(as_text(result))
    if options.profile:
        print(as_profile(result), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)
