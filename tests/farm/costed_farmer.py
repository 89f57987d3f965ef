"""The command, run so that guard and farmer tell at their ends what they cost: `costed_farmer.py REPORT run ...`.

Each of them appends one line of JSON to REPORT: `cpu`, seconds without its children's; `peak`, bytes of memory;
`written`, bytes, its children's included, so tasks should print nothing; `operations`, the changes to shared files
that go through `disk`, and each time that one is opened or a directory of them is listed; `sections`, the moments
(monotonic clock) at which it let go of the main lock, from the start of the first task on. The farmer's line is the
one that has sections.
"""

import atexit
import fcntl
import json
import os
import resource
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from pytaskfarmer.cli.main import main
from pytaskfarmer.workdir.layout import disk

report, workdir = sys.argv[1], os.path.abspath(sys.argv[sys.argv.index("--workdir") + 1])
operations: dict[str, int] = {}
sections: list[float] = []
started: set[bool] = set()


def count(operation: str, where: object) -> None:
    operations[operation] = operations.get(operation, 0) + 1


def listen(event: str, details: tuple[Any, ...]) -> None:
    if event in {"open", "os.listdir"} and str(details[0]).startswith(workdir):
        count(event, details[0])
    elif event == "os.posix_spawn":
        started.add(True)
    elif event == "fcntl.flock" and details[1] == fcntl.LOCK_UN and started:  # other locks are only ever closed
        sections.append(monotonic())


def tell() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    facts = {
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": 1024 * _number("/proc/self/status", "VmHWM:"),
        "written": _number("/proc/self/io", "wchar:"),
        "operations": operations,
        "sections": sections,
    }
    with open(report, "a") as file:
        file.write(json.dumps(facts) + "\n")


def _number(path: str, name: str) -> int:
    words = Path(path).read_text().split()
    return int(words[words.index(name) + 1])


disk.before = count
sys.addaudithook(listen)
atexit.register(tell)
sys.exit(main(sys.argv[2:]))
