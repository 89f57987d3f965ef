"""Write the farm's task list: a line for each chunk of settings, a command or what the `hep` runner is told."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from commands import positive, run, scan_options
from results import publish

from pytaskfarmer.runners.cut_scan import count_settings
from pytaskfarmer.runners.tables import DatasetError


def hep_lines(events: Path, n_cuts: int, chunk: int) -> Iterator[str]:
    """Yield FILE FIRST COUNT for each chunk."""
    for first, count in chunks(n_cuts, chunk):
        yield shlex.join([str(events.absolute()), str(first), str(count)])


def command_lines(events: Path, n_cuts: int, chunk: int, results: Path) -> Iterator[str]:
    """Yield a command line for each chunk; all paths are absolute, so a task may run anywhere."""
    scan_chunk = Path(__file__).absolute().with_name("scan_chunk.py")
    for number, (first, count) in enumerate(chunks(n_cuts, chunk)):
        command = {
            "--input": events.absolute(),
            "--first": first,
            "--count": count,
            "--n-cuts": n_cuts,
            "--output": results.absolute() / f"chunk_{number:03d}.json",
        }
        words = [sys.executable, scan_chunk, *(word for option in command.items() for word in option)]
        yield shlex.join(str(word) for word in words)


def chunks(n_cuts: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield first and count of each chunk of settings; the last may be smaller."""
    n_settings = count_settings(n_cuts)
    for first in range(0, n_settings, chunk):
        yield first, min(chunk, n_settings - first)


def main() -> int:
    """Write the task list that the command line asks for."""
    parser = scan_options("Write a task list that scans all settings in chunks.")
    parser.add_argument(
        "--chunk",
        type=positive,
        default=243,
        metavar="N",
        help="Settings in a task (default: %(default)s, which is 27 tasks for 3 cuts).",
    )
    parser.add_argument("--hep", action="store_true", help="Write tasks for the hep runner instead of commands.")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="Directory that the tasks write their parts to (default: %(default)s).",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("tasks.txt"),
        metavar="FILE",
        help="The task list to write (default: %(default)s).",
    )
    options = parser.parse_args()
    options.input.stat()
    what = (options.input, options.n_cuts, options.chunk)
    lines = list(hep_lines(*what) if options.hep else command_lines(*what, options.results))
    if "\n" in "".join(lines):
        raise DatasetError(
            str(options.output), None, "a task is one line, and a path in it holds a newline; rename that path"
        )
    publish(options.output, os.fsencode("\n".join(lines) + "\n"))
    print(f"{options.output}: {len(lines)} tasks of up to {options.chunk} settings")
    return 0


if __name__ == "__main__":
    run(main)
