#!/usr/bin/env python3
"""How many trivial tasks a second, beside what else could run them: `throughput.py [--tasks N] [--rounds R]`.

Every contender keeps 8 processes in flight and starts the identical `sh -c true` for each task, except in the rows
below the line, which say what they run. The contenders take turns, round after round, so that whatever else the
machine does meets them all; the table shows medians over the rounds, and of ratios the median of each round's. A rate
counts from the start of a contender to its end, its own start-up included. CPU and memory are the contender's own,
without its tasks: of ours, guard and farmer together, and the larger of the two. TMPDIR chooses the file system.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SLOTS = 8
WANTED_OF_LOOP, WANTED_OF_XARGS = 0.8, 1.0
COMMAND = (sys.executable, str(Path(__file__).parents[2] / "pytaskfarmer" / "bin" / "pytaskfarmer.py"))
LOOP = f"""
import os, sys
running = 0
for _ in range(int(sys.argv[1])):
    if running == {SLOTS}:
        os.waitpid(-1, 0)
        running -= 1
    os.posix_spawn("/bin/sh", ["sh", "-c", "true"], os.environ)
    running += 1
while running:
    os.waitpid(-1, 0)
    running -= 1
"""


@dataclass(frozen=True)
class Contender:
    """Something that runs tasks; a slow one is given a `share` of them only.

    `command(tasks, directory)` gives its argv. The list of tasks is `lines` in that directory, and on stdin.
    """

    name: str
    command: Callable[[int, str], list[str]]
    task: str = "sh -c true"
    share: float = 1.0


@dataclass(frozen=True)
class Cost:
    """Of one run: tasks a second, CPU microseconds a task, peak memory in MiB."""

    rate: float
    cpu: float
    peak: float


def ours(logs: str) -> Callable[[int, str], list[str]]:
    def command(tasks: int, directory: str) -> list[str]:
        options = ["--proc", str(SLOTS), "--workdir", f"{directory}/work", "--logs", logs, "--quiet"]
        return [*COMMAND, f"{directory}/lines", *options]

    return command


def contenders() -> tuple[list[Contender], list[Contender]]:
    """Return those that run the identical process, the loop first and xargs second, and those that do not."""
    same = [
        Contender("posix_spawn loop in Python", lambda tasks, _: [sys.executable, "-c", LOOP, str(tasks)]),
        Contender("xargs -P8", lambda tasks, _: ["xargs", f"-P{SLOTS}", "-I{}", "sh", "-c", "true"]),
        Contender("pytaskfarmer --logs pack", ours("pack")),
        Contender("pytaskfarmer --logs files", ours("files")),
    ]
    if shutil.which("parallel"):
        words = ["parallel", "--will-cite", f"-j{SLOTS}", "-N0", "sh", "-c", "true"]
        same.append(Contender("GNU parallel -j8", lambda tasks, _: words, share=0.1))
    others = [
        Contender("ours, `true`: bash -c true", ours("pack"), "true"),
        Contender("ours, `/bin/true`: started directly", ours("pack"), "/bin/true"),
    ]
    return same, others


def measure(contender: Contender, tasks: int, directory: Path) -> Cost:
    """Run one contender once, in a new directory. Raises SystemExit if it fails."""
    tasks = max(1, int(tasks * contender.share))
    directory.mkdir()
    lines = directory / "lines"
    lines.write_text(f"{contender.task}\n" * tasks)
    command = contender.command(tasks, str(directory))
    environment = {**os.environ, "PARALLEL_SHELL": "/bin/sh"}
    begin = time.monotonic()
    with lines.open() as stdin:
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, env=environment)
    cpu, peak = watch(process.pid, and_child=COMMAND[1] in command)
    seconds = time.monotonic() - begin
    if process.wait() != 0:
        raise SystemExit(f"{contender.name}: exit status {process.returncode}")
    return Cost(tasks / seconds, cpu / tasks * 1e6, peak / 2**20)


def watch(pid: int, *, and_child: bool) -> tuple[float, float]:
    """Look at a process until it has ended; return its CPU seconds and its peak memory in bytes.

    With `and_child` also at its first child, whose last 20 ms may be missed.
    """
    cpu: dict[int, float] = {}
    peak: dict[int, float] = {}
    ended = False
    while not ended:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if and_child and len(cpu) < 2:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            cpu |= {int(child): 0.0 for child in children[:1]}
        for each in {pid, *cpu}:
            look(each, cpu, peak)
        if not ended:
            time.sleep(0.02)
    return sum(cpu.values()), max(peak.values())


def look(pid: int, cpu: dict[int, float], peak: dict[int, float]) -> None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text().split()
    except OSError:  # gone
        return
    cpu[pid] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    if "VmHWM:" in status:  # a zombie has none
        peak[pid] = int(status[status.index("VmHWM:") + 1]) * 1024.0


def table(same: list[Contender], others: list[Contender], rounds: list[dict[str, Cost]]) -> str:
    def median(contender: Contender, what: Callable[[Cost], float]) -> float:
        return statistics.median(what(costs[contender.name]) for costs in rounds)

    def ratio(contender: Contender, to: Contender) -> float:
        return statistics.median(costs[contender.name].rate / costs[to.name].rate for costs in rounds)

    loop, xargs, pack = same[:3]
    lines = [f"{'':36}{'tasks/s':>9}{'of loop':>9}{'of xargs':>10}{'CPU us/task':>13}{'peak MiB':>10}"]
    for contender in (*same, None, *others):
        if contender is None:
            lines.append("-" * len(lines[0]))
            continue
        lines.append(
            f"{contender.name:36}{median(contender, lambda c: c.rate):9,.0f}"
            f"{ratio(contender, loop):9.2f}{ratio(contender, xargs):10.2f}"
            f"{median(contender, lambda c: c.cpu):13.0f}{median(contender, lambda c: c.peak):10.1f}"
        )
    lines.append("")
    for to, wanted in ((loop, WANTED_OF_LOOP), (xargs, WANTED_OF_XARGS)):
        found = ratio(pack, to)
        verdict = "reached" if found >= wanted else "MISSED"
        lines.append(f"{pack.name} over {to.name}: {found:.2f}, wanted {wanted}: {verdict}")
    return "\n".join(lines)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000, metavar="N", help="tasks in a round (default: 10000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="R", help="rounds (default: 5)")
    words = parser.parse_args()
    same, others = contenders()
    rounds: list[dict[str, Cost]] = []
    # Nothing is removed before the end: ext4 creates files slowly for minutes after many were removed.
    with tempfile.TemporaryDirectory(prefix="throughput-") as root:
        directories = (Path(root, str(number)) for number in itertools.count())
        for number in range(1, words.rounds + 1):
            print(f"round {number} of {words.rounds}", file=sys.stderr)
            rounds.append({c.name: measure(c, words.tasks, next(directories)) for c in (*same, *others)})
    print(f"{words.tasks:,} tasks, {SLOTS} at a time, {os.cpu_count()} CPUs, median of {words.rounds} rounds")
    print(table(same, others, rounds))


if __name__ == "__main__":
    main()
