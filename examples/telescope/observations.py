"""Runs of a telescope as files in a directory, and the job that analyses one of them.

A job only says where its run is and what to do with it; what it finds it writes beside the run. So next to nothing
travels between the one who calls and the workers, and all that is left to do is to see that each job went well.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any

Job = dict[str, Any]

EVENTS = 100
RAW, FEATURES = ".events.jsonl", ".features.jsonl"

DONE, NOTHING_LEFT = 0, 1


def observe(directory: Path, runs: int, seed: int) -> None:
    """Write so many made-up runs of 100 events: lists of 5 to 24 integers from 0 to 99.

    Each run has random numbers of its own, so it does not depend on how many there are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for run in range(runs):
        draw = Random(f"run {run} of seed {seed}").random
        events = ([int(100 * draw()) for _ in range(5 + int(20 * draw()))] for _ in range(EVENTS))
        _publish(directory / f"{run:06}{RAW}", events)


def make_jobs(directory: Path, seed: int, threshold_size: int) -> list[Job]:
    """Return a job for each run in a directory; about one event in twenty is known to be broken.

    The listing is sorted. Directories list their files in any order, and since the random numbers are drawn one after
    the other here, jobs would differ from one disk to the next.
    """
    draw = Random(f"broken events of seed {seed}").random
    return [
        {
            "work_dir": os.fspath(directory.absolute()),
            "basename": path.name.removesuffix(RAW),
            "broken_events_to_be_skipped": [event for event in range(EVENTS) if draw() < 0.05],
            "threshold_size": threshold_size,
        }
        for path in sorted(directory.glob(f"*{RAW}"))
    ]


def run_job(job: Job) -> int:
    """Write size, mean and spread of each event of a run that is neither broken nor too small; return a code."""
    run = Path(job["work_dir"], job["basename"])
    features = []
    for number, event in enumerate(_lines(run.with_name(run.name + RAW))):
        if number in job["broken_events_to_be_skipped"] or len(event) < job["threshold_size"]:
            continue
        features.append({"event": number, "size": len(event), "mean": fmean(event), "spread": pstdev(event)})
    _publish(run.with_name(run.name + FEATURES), features)
    return DONE if features else NOTHING_LEFT


def found(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield what is known of each analysed event, in the order of runs and events."""
    for path in sorted(directory.glob(f"*{FEATURES}")):
        yield from _lines(path)


def _lines(path: Path) -> Iterator[Any]:
    with path.open() as lines:
        yield from map(json.loads, lines)


def _publish(path: Path, values: Any) -> None:
    """Write a line for each value. The file appears when it is complete, whenever its writer may be killed."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text("".join(f"{json.dumps(value)}\n" for value in values))
    unfinished.replace(path)
