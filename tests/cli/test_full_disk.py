"""A disk of 64 kB that fills up: a tmpfs in a mount namespace, in which the scripts below run as a whole."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable

import pytest
from desk import COMMAND, FARM, Desk, Ended

SMALL_DISK = """
mount -t tmpfs -o size=64k none disk || exit 99
fill() { dd if=/dev/zero of=disk/ballast bs=1k count=100 2>/dev/null; }
free() { rm disk/ballast; }
farm() { "$FARM" "$@"; echo "exit $?"; }
"""


@pytest.fixture
def on_a_small_disk(desk: Desk, require: Callable[[str], str]) -> Callable[[str], Ended]:
    """Return `run(script)`, which runs a bash script beside a directory `disk` of 64 kB."""
    unshare = [require("unshare"), "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    (desk / "disk").mkdir()
    probe = subprocess.run(
        [*unshare, "mount", "-t", "tmpfs", "none", desk / "disk"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no mount namespace here: {probe.stderr.strip()}")
    desk.environment["FARM"] = FARM

    def run(script: str) -> Ended:
        return desk.run(*unshare, require("bash"), "-c", SMALL_DISK + script)

    return run


def test_a_full_disk_at_the_start_is_refused(desk: Desk, on_a_small_disk: Callable[[str], Ended]) -> None:
    """Where the work directory does not fit, the run is refused in one line; with room, the same command works."""
    desk.write("tasks.txt", "echo one >> ran", "echo two >> ran")
    ended = on_a_small_disk("fill; farm tasks.txt -w disk/w; free; find disk -name '*.tmp'; farm tasks.txt -w disk/w")
    refused = f"pytaskfarmer: error: {desk.place}/disk/w: cannot set up the work directory: No space left on device.\n"
    assert refused == ended.err
    assert ["exit 2", "exit 0"] == [line for line in ended.lines if not line.startswith("pytaskfarmer: ")]
    assert ["one", "two"] == sorted(desk.lines("ran"))


def test_a_list_that_does_not_fit_is_refused(desk: Desk, on_a_small_disk: Callable[[str], Ended]) -> None:
    """A disk too small for `toprocess` is one line, nothing has run, and with a larger disk the command resumes."""
    desk.write("tasks.txt", *(f"echo {n} >> ran # {'x' * 1000}" for n in range(100)))
    ended = on_a_small_disk(
        "farm tasks.txt -w disk/w --logs none; mount -o remount,size=8m disk; farm tasks.txt -w disk/w --logs none"
    )
    assert 1 == ended.err.count("\n"), ended
    assert ended.err.startswith(f"pytaskfarmer: error: {desk.place}/disk/w")
    assert "No space left on device" in ended.err
    assert ["exit 2", "exit 0"] == [line for line in ended.lines if not line.startswith("pytaskfarmer: ")]
    assert sorted(map(str, range(100))) == sorted(desk.lines("ran"))


def test_a_disk_that_fills_up_loses_nothing(desk: Desk, on_a_small_disk: Callable[[str], Ended]) -> None:
    """A disk that fills up during the run stops it with 3; with room again, every task has run exactly once."""
    desk.write("tasks.txt", *(f"echo {n} >> ran; head -c 6000 /dev/zero; true" for n in range(20)))
    ended = on_a_small_disk(
        "farm tasks.txt -w disk/w -n 2; cp ran ran.before; mount -o remount,size=8m disk;"
        "farm tasks.txt -w disk/w -n 2; cp -r disk/w after"
    )
    warnings = {"pytaskfarmer: no more tasks are taken until this is over: No space left on device"}
    assert warnings == set(ended.err.splitlines())
    assert ["exit 3", "exit 0"] == [line for line in ended.lines if line.startswith("exit")]
    assert desk.lines("ran.before")
    assert list(range(20)) == desk.ids("after/finished")
    assert {str(n): 1 for n in range(20)} == Counter(desk.lines("ran"))


def test_a_study_whose_table_does_not_fit(desk: Desk, on_a_small_disk: Callable[[str], Ended]) -> None:
    """A row of `scale` that the disk does not hold is an error that names the table, and nothing is left behind."""
    desk.write("tasks.txt", "true")
    ended = on_a_small_disk(f"fill; {COMMAND} scale tasks.txt --procs 1 --repeat 1 -o disk; echo exit $?")
    assert "pytaskfarmer: error: disk/scaling.csv: cannot be written: No space left on device.\n" == ended.err
    assert ["exit 2"] == ended.lines[-1:]
    assert {"tasks.txt", "disk"} == set(os.listdir(desk.place))


def test_a_full_disk_of_the_node_is_no_tasks_fault(desk: Desk, on_a_small_disk: Callable[[str], Ended]) -> None:
    """Where there is no room for a task's own directory, it waits until there is, and does not fail."""
    desk.write("tasks.txt", "true", "true")
    room_for_one = "mount -t tmpfs -o nr_inodes=3 none disk; "
    ended = on_a_small_disk(room_for_one + "farm tasks.txt --proc 2 -R tempdir=$PWD/disk -R setup=:")
    told = ended.err.splitlines()
    assert 1 == len(told)
    assert told[0].startswith(f"pytaskfarmer: no more tasks are taken until this is over: {desk.place}/disk/")
    assert [0, 1] == desk.ids("tasks.txt_workdir/finished")
