#!/usr/bin/env python3
"""What calling a tiny function costs in a warm worker, and as a process of its own: `warm.py [--calls N] [--rounds R]`.

The farm runs a task list of calls with the `python` runner, from its start to its end, books, logs and results
included; `xargs -P` starts `python3 -c pass` as often, with the same interpreter and as many at a time. They take
turns, round after round, so that whatever else the machine does meets both; of ratios the median of each round's.
TMPDIR chooses the file system.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 1 / 10
COMMAND = (sys.executable, str(Path(__file__).parents[2] / "pytaskfarmer" / "bin" / "pytaskfarmer.py"))


def farm(calls: int, slots: int, directory: Path) -> float:
    """Return the seconds that the farm takes, after checking that every call has returned."""
    directory.mkdir()
    (directory / "tiny.py").write_text("def double(x):\n    return 2 * x\n")
    (directory / "calls.txt").write_text("".join(f"tiny:double {i}\n" for i in range(calls)))
    options = ["--proc", str(slots), "--logs", "pack", "--quiet", "-r", "python"]
    seconds = timed([*COMMAND, *options, "calls.txt"], directory)
    merge = [sys.executable, "-m", "pytaskfarmer", "results", "calls.txt", "--merge", "operator:add"]
    found = int(subprocess.run(merge, cwd=directory, check=True, capture_output=True).stdout)
    if found != calls * (calls - 1):
        raise SystemExit(f"the calls returned {found} in all, not {calls * (calls - 1)}")
    return seconds


def processes(calls: int, slots: int, directory: Path) -> float:
    """Return the seconds that as many processes take."""
    directory.mkdir()
    (directory / "calls.txt").write_text("".join(f"{i}\n" for i in range(calls)))
    return timed(["xargs", "-a", "calls.txt", "-n1", f"-P{slots}", sys.executable, "-c", "pass"], directory)


def timed(command: list[str], directory: Path) -> float:
    """Return the seconds of one command. Raises SystemExit if it fails."""
    begin = time.monotonic()
    done = subprocess.run(command, cwd=directory, check=False)
    seconds = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(f"{command[0]}: exit status {done.returncode}")
    return seconds


def main() -> None:
    """Measure, and print a line for each contender and one for the ratio."""
    assert __doc__ is not None
    cpus = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000, metavar="N", help="calls in a round (default: 2000)")
    parser.add_argument("--slots", type=int, default=cpus, metavar="S", help="at a time (default: the CPUs)")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="rounds (default: 3)")
    words = parser.parse_args()
    rounds: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="warm-") as root:
        for number in range(words.rounds):
            print(f"round {number + 1} of {words.rounds}", file=sys.stderr)
            warm = farm(words.calls, words.slots, Path(root, f"farm-{number}"))
            cold = processes(words.calls, words.slots, Path(root, f"processes-{number}"))
            rounds.append((warm, cold))
    print(f"{words.calls:,} calls, {words.slots} at a time, {cpus} CPUs, median of {words.rounds} rounds")
    for name, seconds in zip(
        ("pytaskfarmer -r python", "xargs python3 -c pass"), zip(*rounds, strict=True), strict=True
    ):
        median = statistics.median(seconds)
        print(f"{name:24}{median:9.3f} s{median / words.calls * 1e6:9.0f} us a call")
    ratio = statistics.median(warm / cold for warm, cold in rounds)
    verdict = "reached" if ratio <= WANTED else "MISSED"
    print(f"a warm call costs {ratio:.3f} of a process, wanted at most {WANTED}: {verdict}")


if __name__ == "__main__":
    main()
