"""What a scan of some settings found: as a JSON file, merged with others, and as the text people read.

The baseline, a chunk and the merged farm write the same kind of file, so any of them can be merged or compared.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from events import read_events

from pytaskfarmer.runners.cut_scan import VARIABLES, Best, best_of, count_settings, prepare
from pytaskfarmer.runners.tables import DatasetError


@dataclass(frozen=True, slots=True)
class Result:
    """The best of the settings `first` to `first + count - 1`.

    `checksum` is the CRC-32 of the events, `correct` the number of events that setting `k` puts on the right side,
    `cuts` are its cuts by variable. `seconds` has the phases `read`, `prepare` and `count`; merging adds them up.
    Where somebody has watched the whole, it has `elapsed`, too.
    """

    checksum: int
    n_events: int
    n_cuts: int
    first: int
    count: int
    k: int
    correct: int
    cuts: dict[str, float]
    seconds: dict[str, float]

    @property
    def best(self) -> Best:
        """What two results are compared and merged by."""
        return Best(self.correct, self.k)

    @property
    def accuracy(self) -> float:
        """The share of events on the right side, from 0 to 1."""
        return self.correct / self.n_events

    @property
    def elapsed(self) -> float:
        """What the text calls elapsed time: by the clock if somebody watched, or else preparing and counting."""
        return self.seconds.get("elapsed", self.seconds["prepare"] + self.seconds["count"])


class Loaded:
    """Events that are read and prepared once, and then scanned in parts. Raises DatasetError, OSError."""

    def __init__(self, path: Path, n_cuts: int) -> None:
        start = time.perf_counter()
        events = read_events(path)
        read = time.perf_counter()
        self._scan = prepare(events, n_cuts, path)
        self._spent = {"read": read - start, "prepare": time.perf_counter() - read}

    def scan(self, first: int, count: int) -> Result:
        """Scan `count` settings from `first` on; the first result also tells what reading and preparing took."""
        start = time.perf_counter()
        scan, best = self._scan, self._scan.best(first, count)
        seconds = {**self._spent, "count": time.perf_counter() - start}
        self._spent = dict.fromkeys(self._spent, 0.0)
        cuts = scan.setting(best.k)
        return Result(scan.checksum, scan.n_events, scan.n_cuts, first, count, best.k, best.correct, cuts, seconds)


def merge(parts: Mapping[Path, Result]) -> Result:
    """Return the result of the whole scan. Raises DatasetError unless the parts hold every setting exactly once."""
    _check_cover(parts)
    best = best_of(part.best for part in parts.values())
    winner = next(part for part in parts.values() if part.best == best)
    seconds = {phase: sum(part.seconds[phase] for part in parts.values()) for phase in winner.seconds}
    return replace(winner, first=0, count=count_settings(winner.n_cuts), seconds=seconds)


def _check_cover(parts: Mapping[Path, Result]) -> None:
    ordered = sorted(parts.items(), key=lambda part: part[1].first)
    previous, model = ordered[0]
    gaps: list[range] = []
    covered = 0
    for path, part in ordered:
        if (part.checksum, part.n_events, part.n_cuts) != (model.checksum, model.n_events, model.n_cuts):
            stale = f"not of the same events and --n-cuts as {previous}; remove the stale one"
            raise DatasetError(path, None, stale)
        end = part.first + part.count
        if part.first < covered:
            twice = f"settings {part.first} to {min(covered, end) - 1} are also in {previous}"
            raise DatasetError(path, None, f"{twice}; remove one of the two")
        gaps.append(range(covered, part.first))
        covered, previous = end, path
    gaps.append(range(covered, count_settings(model.n_cuts)))
    if any(gaps):
        missing = _name([gap for gap in gaps if gap])
        raise DatasetError(previous.parent, None, f"{missing} in no part; run their tasks, then merge again")


def _name(gaps: list[range]) -> str:
    named = ", ".join(f"{gap[0]} to {gap[-1]}" for gap in gaps[:4])
    missing = sum(len(gap) for gap in gaps)
    return f"settings {named} are" if len(gaps) <= 4 else f"settings {named} and others ({missing} in all) are"


def as_text(result: Result) -> str:
    """Return what the programs print."""
    return "\n".join(
        [
            f"Best accuracy obtained :{result.accuracy}",
            "Final cuts :",
            *(f"{name:>30} : {result.cuts[name]}" for name in VARIABLES),
            "",
            f"Number of settings:{result.count:9d}",
            f"Elapsed time      :{result.elapsed:9.4f}",
            f"task time [mus]   :{result.elapsed / result.count * 1e6:9.4f}",
        ]
    )


def as_profile(result: Result) -> str:
    """Return one line with the seconds of each phase."""
    return ", ".join(f"{phase} {seconds:.4f} s" for phase, seconds in result.seconds.items())


def write_result(path: Path, result: Result) -> None:
    """Write `result` as JSON; a file of that name is complete at any time."""
    publish(path, json.dumps({"accuracy": result.accuracy, **asdict(result)}, indent=1).encode() + b"\n")


def read_result(path: Path) -> Result:
    """Read what `write_result` wrote. Raises DatasetError, OSError."""
    try:
        values = json.loads(path.read_bytes())
        del values["accuracy"]
        return Result(**values)
    except (ValueError, KeyError, TypeError):
        raise DatasetError(path, None, "not a result of this scan; remove it and run its task again") from None


def publish(path: Path, content: bytes) -> None:
    """Write under a name of our own, then rename: whoever looks, on any host, finds all of it or nothing.

    A link or a device is written through, never replaced.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
