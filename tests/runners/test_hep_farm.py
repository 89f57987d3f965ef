"""The `hep` runner in real farms: the cut scan in chunks, killed on the way, and ranges of a ROOT file."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from farm_driver import Farm

from pytaskfarmer.runners import cut_scan
from pytaskfarmer.runners.tables import read_csv

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hep_cuts" / "data" / "sample.csv"
SETTINGS = 3**8
BASELINE = (6227, 293, [[0, SETTINGS]])
"""The best setting of the sample and its correct events, as `test_cut_scan` counts them one by one."""

WaitUntil = Callable[..., None]

ANALYSIS = """\
    def add(events, task):
        if task.options.get("fail"):
            raise ValueError("no good")
        return sum(events["x"])

    def count(events, task):
        import awkward
        return {
            "events": len(events),
            "x": awkward.sum(events["x"]),
            "xx": awkward.sum(events["x"] ** 2),
            "selected": awkward.sum(events["x"] % task.options["every"] == 0),
        }

    def merge(a, b):
        return {name: a[name] + b[name] for name in a}
    """


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path)
    (tmp_path / "analysis.py").write_text(textwrap.dedent(ANALYSIS))
    yield farm
    farm.end()


def merged(farm: Farm, function: str) -> Any:
    """Return what `pytaskfarmer results --merge` prints."""
    command = [sys.executable, "-m", "pytaskfarmer", "results", farm.workdir.name, "--merge", function]
    done = subprocess.run(command, cwd=farm.directory, capture_output=True, text=True, timeout=30, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def write_scan(farm: Farm, chunk: int) -> int:
    """Write tasks that scan all settings, that in the middle on the data set `gate.csv`; return their number."""
    ranges = [(first, min(chunk, SETTINGS - first)) for first in range(0, SETTINGS, chunk)]
    files = [str(SAMPLE)] * len(ranges)
    files[len(ranges) // 2] = "gate.csv"
    farm.write([f"{file} {first} {count}" for file, (first, count) in zip(files, ranges, strict=True)])
    return len(ranges)


def someone_opens(gate: Path) -> bool:
    """Whether a process is trying to read this pipe."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("chunk", [1, 7, 243, 1000, 6561])
def test_scan_killed_and_resumed_equals_the_baseline(farm: Farm, wait_until: WaitUntil, chunk: int, slots: int) -> None:
    """Whatever the chunks and slots, a scan whose farmer was killed while it counted gives the baseline's answer."""
    tasks = write_scan(farm, chunk)
    gate = farm.directory / "gate.csv"
    os.mkfifo(gate)
    killed = farm.start("-n", str(slots), "-r", "hep", "--logs", "pack")
    wait_until(partial(someone_opens, gate), state=lambda: killed.output, hopeless=killed.over)
    assert killed.farmer is not None
    os.kill(killed.farmer, signal.SIGKILL)
    killed.wait()
    gate.unlink()
    gate.symlink_to(SAMPLE)
    assert len(farm.ids("finished")) < tasks

    assert 0 == farm.run("-n", str(slots), "-r", "hep", "--logs", "pack"), farm.started[-1].output
    farm.balance(tasks, "finished")
    found = merged(farm, "pytaskfarmer.runners.cut_scan:merge")
    assert BASELINE == (found["k"], found["correct"], found["settings"])


def test_ranges_of_a_root_file_add_up_to_the_whole(farm: Farm) -> None:
    """Sums over ranges, whole and ragged, are the sums over the whole tree, exactly."""
    x = np.random.default_rng(7).integers(0, 1000, 10_000)
    with uproot.recreate(farm.directory / "events.root") as file:
        tree = file.mktree("nominal/events", {"x": "i8", "unused": "f8"})
        for part in np.split(x, [3000, 3100, 9999]):
            tree.extend({"x": part, "unused": part / 2})
    step = 767
    farm.write(
        [f"events.root:nominal/events {first} {min(step, 10_000 - first)} every=3" for first in range(0, 10_000, step)]
    )
    (farm.directory / "hep.ini").write_text(
        "[sums]\nRunner = pytaskfarmer.runners.hep.Hep\nfunction = analysis:count\nbranches = x\nkeep = 1\n"
    )
    assert 0 == farm.run("-n", "2", "-r", "sums"), farm.started[-1].output
    expected = {"events": 10_000, "x": sum(x), "xx": sum(x * x), "selected": sum(x % 3 == 0)}
    assert expected == merged(farm, "analysis:merge")


def test_what_fails_is_one_task(farm: Farm) -> None:
    """Bad lines, files, functions and results are failed tasks with their reason in the log; the others finish."""
    (farm.directory / "few.csv").write_text("x\n1\n2\n")
    (farm.directory / "ragged.csv").write_text("x\n1\n2,3\n")
    with uproot.recreate(farm.directory / "a.root") as file:
        file.mktree("events", {"x": "f8"}).extend({"x": np.arange(3.0)})
    farm.write(
        [
            "few.csv 0 2",
            "few.csv 0 3",
            "ragged.csv 0 1",
            "a.root:nominal 0 1",
            "few.csv 0 1 fail=true",
            "few.csv 0 once",
            "few.csv 1 1",
        ]
    )
    assert 1 == farm.run("-n", "1", "-r", "hep", "-R", "function=analysis:add")
    assert ([0, 6], [1, 2, 3, 4, 5]) == (sorted(farm.ids("finished")), sorted(farm.ids("failed")))
    logs = [Path(farm.layout.log(task)).read_text() for task in range(7)]
    assert ["", ""] == [logs[0], logs[6]]
    assert "few.csv: the task asks for events 0 to 2, and there are 2" in logs[1]
    assert "ragged.csv, line 3: 2 fields where 1 is expected" in logs[2]
    assert "a.root: has no tree 'nominal'; its trees are 'events'" in logs[3]
    assert "ValueError: no good" in logs[4]
    assert 'analysis.py", line 3, in add' in logs[4]
    assert "the line has 'once' where a number from 0 on should stand" in logs[5]
    assert [1, 1, 1, 1] == [logs[task].count("\n") for task in (1, 2, 3, 5)]


def test_missing_extra_is_one_line(farm: Farm) -> None:
    """Where uproot is not installed, a ROOT file fails its task with what to install; CSV files need nothing."""
    (farm.directory / "few.csv").write_text("x\n1\n2\n")
    (farm.directory / "a.root").write_bytes(b"root....")
    (farm.directory / "hide.py").write_text("import sys\n\ndef uproot():\n    sys.modules['uproot'] = None\n")
    (farm.directory / "analysis.py").write_text("def size(events, task):\n    return len(events)\n")
    farm.write(["few.csv 0 2", "a.root 0 1"])
    assert 1 == farm.run("-n", "1", "-r", "hep", "-R", "function=analysis:size", "-R", "setup=hide:uproot")
    assert ([0], [1]) == (farm.ids("finished"), farm.ids("failed"))
    log = Path(farm.layout.log(1)).read_text()
    assert "pytaskfarmer: a.root: reading ROOT files needs uproot; pip install 'pytaskfarmer[hep]'\n" == log


def test_data_set_is_opened_once_a_worker(farm: Farm) -> None:
    """A worker reads a file for its first task, and no more for the others."""
    (farm.directory / "analysis.py").write_text(
        "seen = []\n\n"
        "def look(events, task):\n"
        "    if not any(events is each for each in seen):\n"
        "        seen.append(events)\n"
        "    return len(seen)\n"
    )
    (farm.directory / "few.csv").write_text("x\n1\n2\n")
    farm.write(["few.csv 0 1"] * 50)
    options = ("-R", "function=analysis:look", "-R", "over=settings")
    assert 0 == farm.run("-n", "1", "-r", "hep", *options), farm.started[-1].output
    assert 1 == merged(farm, "builtins:max")


def test_sample_is_the_baseline() -> None:
    """The numbers that the farms are compared with are those of the scan of all settings at once."""
    events = read_csv(SAMPLE, (*cut_scan.VARIABLES, cut_scan.TRUTH))
    correct, k = cut_scan.prepare(events, 3, SAMPLE).best(0, SETTINGS)
    assert BASELINE[:2] == (k, correct)
