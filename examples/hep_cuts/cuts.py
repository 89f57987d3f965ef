"""The scan of rectangular cuts: which of n_cuts**8 settings best tells signal from background.

A setting selects an event if all eight variables lie strictly below their cuts. Its cuts come from the digits of
its number k in base n_cuts, the first variable's digit being the least significant.

For each variable and digit one big integer holds a bit an event: does it pass this cut? A setting's selection is
then the AND of eight integers, and its correct events are counted by a popcount: exact, and fast without numpy.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HEADER = (
    "",
    "averageInteractionsPerCrossing",
    "NvtxReco",
    "p_nTracks",
    "p_Rhad",
    "p_Rhad1",
    "p_TRTTrackOccupancy",
    "p_topoetcone40",
    "p_eTileGap3Cluster",
    "p_phiModCalo",
    "p_etaModCalo",
    "p_truthType",
)
COLUMNS = (1, 4, 5, 6, 7, 8, 9, 10)
VARIABLES = tuple(HEADER[column] for column in COLUMNS)
TRUTH = len(HEADER) - 1
SIGNAL_TYPE = 2


class InputError(Exception):
    """A file that cannot be used; `line` counts from 1, or is None where no single line is at fault."""

    def __init__(self, path: Path, line: int | None, message: str) -> None:
        super().__init__(path, line, message)
        self.path, self.line, self.message = path, line, message

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path}, line {self.line}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Events:
    """What the scan needs of a file: eight columns, who is signal, and the CRC-32 of the bytes read."""

    columns: tuple[list[float], ...]
    signal: list[bool]
    checksum: int


class Best(NamedTuple):
    """The first setting with the most correct events."""

    correct: int
    k: int


def best_of(candidates: Iterable[Best]) -> Best:
    """Return the best candidate; among equals the lowest k, so that the order of `candidates` is no matter."""
    return max(candidates, key=lambda best: (best.correct, -best.k))


def read_events(path: Path) -> Events:
    """Read a file of events line by line. Raises InputError, OSError."""
    columns: tuple[list[float], ...] = tuple([] for _ in COLUMNS)
    signal: list[bool] = []
    checksum = 0
    header_seen = False
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            checksum = zlib.crc32(line, checksum)
            fields = line.strip().split(b",")
            if fields == [b""]:
                continue
            if not header_seen:
                _check_header(path, number, fields)
                header_seen = True
                continue
            *values, truth = _numbers(path, number, fields)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            signal.append(truth == SIGNAL_TYPE)
    if not header_seen:
        raise InputError(path, None, "the file is empty; expected a header line and one event a line")
    if all(signal) or not any(signal):
        count = f"{sum(signal)} of {len(signal)} events are signal (p_truthType = {SIGNAL_TYPE})"
        raise InputError(path, None, f"{count}; a scan needs events of both kinds")
    return Events(columns, signal, checksum)


def _check_header(path: Path, line: int, fields: list[bytes]) -> None:
    names = tuple(field.decode("utf-8", "replace") for field in fields)
    if names[1:] != HEADER[1:]:
        raise InputError(path, line, f"expected the header line {','.join(HEADER)}")


def _numbers(path: Path, line: int, fields: list[bytes]) -> list[float]:
    if len(fields) != len(HEADER):
        raise InputError(path, line, f"{len(fields)} fields where {len(HEADER)} are expected")
    row = []
    for column in (*COLUMNS, TRUTH):
        try:
            value = float(fields[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            text = fields[column].decode("utf-8", "replace")
            raise InputError(path, line, f"{HEADER[column]} is {text!r}, expected a finite number")
        row.append(value)
    return row


@dataclass(frozen=True, slots=True)
class Scan:
    """Events made ready for counting: what a worker prepares once and uses for every setting.

    `cuts[i][digit]` is variable i's cut as printed (the flip undone), `passing[i][digit]` the events that pass it,
    `signal` the signal events, both with one bit an event.
    """

    n_cuts: int
    n_events: int
    cuts: tuple[tuple[float, ...], ...]
    passing: tuple[tuple[int, ...], ...]
    signal: int

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


def prepare(events: Events, n_cuts: int) -> Scan:
    """Turn each variable so that signal lies below background, place its cuts, and see who passes them.

    The means are taken with `math.fsum`, whose result depends neither on order nor on the version of Python.
    """
    cuts, passing = [], []
    for column in events.columns:
        mean_signal = _mean(value for value, is_signal in zip(column, events.signal, strict=True) if is_signal)
        mean_other = _mean(value for value, is_signal in zip(column, events.signal, strict=True) if not is_signal)
        flip = -1 if mean_other < mean_signal else 1
        turned = [flip * value for value in column]
        start, width = flip * mean_signal, flip * mean_other - flip * mean_signal
        places = [start + digit * width / n_cuts for digit in range(n_cuts)]
        cuts.append(tuple(flip * place for place in places))
        passing.append(tuple(_bits(value < place for value in turned) for place in places))
    return Scan(n_cuts, len(events.signal), tuple(cuts), tuple(passing), _bits(events.signal))


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def _bits(flags: Iterable[bool]) -> int:
    return int("".join(["1" if flag else "0" for flag in flags]), 2)
