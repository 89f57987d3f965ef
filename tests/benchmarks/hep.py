#!/usr/bin/env python3
"""The cut scan in chunks: warm `hep` workers beside a process a chunk: `hep.py [--events N] [--chunk N] [--rounds R]`.

Both are farms on the same chunks, slots and events. One runs `examples/hep_cuts/scan_chunk.py` for each chunk, which
starts Python and reads the events; the other has workers that read them once. The baseline is one process that scans
all settings one after the other. They take turns, round after round; of ratios the median of each round's, and all
must find the same setting. Times are from the start of a contender to its end. TMPDIR chooses the file system.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 2.0
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hep_cuts"
COMMAND = (sys.executable, str(ROOT / "pytaskfarmer" / "bin" / "pytaskfarmer.py"))
NAMES = ("hep workers", "a process a chunk", "baseline, one process")


def run(*command: str | Path | int) -> str:
    """Return what a command prints. Raises SystemExit if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


def program(name: str, *options: str | Path | int) -> str:
    """Return what a program of the example prints."""
    return run(sys.executable, EXAMPLE / name, *options)


def one_round(events: Path, words: argparse.Namespace, directory: Path) -> tuple[float, ...]:
    """Return the seconds of each contender, in the order of NAMES."""
    directory.mkdir()
    hep, commands = directory / "hep.txt", directory / "commands.txt"
    chunks: list[str | Path | int] = ["--input", events, "--n-cuts", words.n_cuts, "--chunk", words.chunk]
    program("make_tasks.py", *chunks, "--hep", "--output", hep)
    program("make_tasks.py", *chunks, "--results", directory / "parts", "--output", commands)
    farm = (*COMMAND, "--proc", str(words.slots), "--logs", "pack", "--quiet")
    whole = ("--first", 0, "--count", words.n_cuts**8, "--output", directory / "baseline.json")
    scan = ("--input", events, "--n-cuts", words.n_cuts, *whole)
    contenders: list[tuple[str | Path | int, ...]] = [
        (*farm, "-r", "hep", "-R", f"cuts={words.n_cuts}", hep),
        (*farm, commands),
        (sys.executable, EXAMPLE / "scan_chunk.py", *scan),
    ]
    seconds = []
    for contender in contenders:
        begin = time.monotonic()
        run(*contender)
        seconds.append(time.monotonic() - begin)
    agree(directory, hep)
    return tuple(seconds)


def agree(directory: Path, hep: Path) -> None:
    """Raise SystemExit unless all contenders found the same."""
    results = ("-m", "pytaskfarmer", "results", hep, "--merge", "pytaskfarmer.runners.cut_scan:merge")
    merged = json.loads(run(sys.executable, *results))
    baseline = json.loads((directory / "baseline.json").read_text())
    program("merge.py", directory / "parts", "--expect", directory / "baseline.json")
    if (merged["k"], merged["correct"]) != (baseline["k"], baseline["correct"]):
        raise SystemExit(f"the hep runner found {merged}, the baseline {baseline}")


def main() -> None:
    """Measure, and print a line for each contender and one for the ratio."""
    assert __doc__ is not None
    cpus = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000, metavar="N", help="events (default: 100000)")
    parser.add_argument("--n-cuts", type=int, default=4, metavar="N", help="N**8 settings (default: 4)")
    parser.add_argument("--chunk", type=int, default=2430, metavar="N", help="settings in a task (default: 2430)")
    parser.add_argument("--slots", type=int, default=cpus, metavar="S", help="at a time (default: the CPUs)")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="rounds (default: 3)")
    words = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="hep-") as root:
        events = Path(root, "events.csv")
        program("generate_events.py", "--events", words.events, "--output", events)
        for number in range(words.rounds):
            print(f"round {number + 1} of {words.rounds}", file=sys.stderr)
            rounds.append(one_round(events, words, Path(root, str(number))))
    print(
        f"{words.events:,} events, {words.n_cuts**8:,} settings in chunks of {words.chunk}, {words.slots} slots, "
        f"{cpus} CPUs, median of {words.rounds} rounds"
    )
    for name, seconds in zip(NAMES, zip(*rounds, strict=True), strict=True):
        print(f"{name:24}{statistics.median(seconds):9.3f} s")
    ratio = statistics.median(cold / warm for warm, cold, _ in rounds)
    verdict = "reached" if ratio >= WANTED else "MISSED"
    print(f"{NAMES[0]} over {NAMES[1]}: {ratio:.1f} times as fast, wanted {WANTED}: {verdict}")


if __name__ == "__main__":
    main()
