#!/usr/bin/env python3
"""How long until the first task runs, above what Python itself needs: `startup.py [--rounds R]`.

A list of ten lines; the first task reports through a FIFO that it has started, and the clock stops. Then the farmer is
stopped, and started again: that is the resume. Both are done for a line that needs bash and for one that is started
directly, for which bash is asked once how it would start programs. The time of `python3 -c pass`, measured in the same
round, is subtracted; the table shows medians.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED_MS = 150
COMMAND = (sys.executable, str(Path(__file__).parents[2] / "pytaskfarmer" / "bin" / "pytaskfarmer.py"))
STOPPED = 3


def bare() -> float:
    """Return the seconds that `python3 -c pass` takes."""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - begin


def first_task(tasklist: Path, fifo: int) -> float:
    """Return the seconds until a task has reported its start, and stop the farmer."""
    begin = time.monotonic()
    farmer = subprocess.Popen([*COMMAND, str(tasklist), "--proc", "1"], stdout=subprocess.DEVNULL)
    os.read(fifo, 1)
    seconds = time.monotonic() - begin
    farmer.send_signal(signal.SIGTERM)
    if farmer.wait() != STOPPED:
        raise SystemExit(f"{tasklist}: exit status {farmer.returncode} instead of {STOPPED}")
    return seconds


def measure(directly: bool) -> tuple[float, float]:
    """Return milliseconds above the bare interpreter: in a new work directory, and on resume."""
    with tempfile.TemporaryDirectory(prefix="startup-") as name:
        directory = Path(name)
        report = f"printf . >{directory}/fifo; exec sleep 60"
        script = directory / "report"
        script.write_text(report + "\n")
        tasklist = directory / "tasks.txt"
        tasklist.write_text(f"sh {script}\n" * 10 if directly else f"{report}\n" * 10)
        os.mkfifo(directory / "fifo")
        fifo = os.open(directory / "fifo", os.O_RDWR)
        try:
            fresh, resumed = first_task(tasklist, fifo), first_task(tasklist, fifo)
        finally:
            os.close(fifo)
    python = bare()
    return (fresh - python) * 1e3, (resumed - python) * 1e3


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, metavar="R", help="rounds (default: 25)")
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {}
    pythons = []
    bare()
    for _ in range(rounds):
        pythons.append(bare() * 1e3)
        for line, directly in (("a line for bash", False), ("a line started directly", True)):
            fresh, resumed = measure(directly)
            found.setdefault(f"{line}, new work directory", []).append(fresh)
            found.setdefault(f"{line}, resume", []).append(resumed)
    print(f"python3 -c pass takes {statistics.median(pythons):.0f} ms; first task so many ms later, {rounds} rounds:")
    print(f"{'':44}{'median':>8}{'fastest':>9}{'slowest':>9}")
    for row, times in found.items():
        verdict = "" if statistics.median(times) <= WANTED_MS else f"  MISSED: wanted at most {WANTED_MS}"
        print(f"{row:44}{statistics.median(times):8.0f}{min(times):9.0f}{max(times):9.0f}{verdict}")


if __name__ == "__main__":
    main()
