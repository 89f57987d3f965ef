"""Tasks that use too much memory: they fail as such, and their farmer outlives them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from farm_driver import COMMAND, Farm, Started

from pytaskfarmer.farm import cgroup, memory
from pytaskfarmer.farm.cgroup import Group, KernelKills
from pytaskfarmer.farm.memory import MemoryWatch, Seen

WaitUntil = Callable[..., None]
MIB = 1 << 20
GREEDY = f"exec {sys.executable} -S -c 'x = bytearray(200 << 20); import time; time.sleep(60)'"

SERVANT = """
from pytaskfarmer.worker import command

class Calls:
    def __init__(self, first: int = 0):
        self.concurrency, self.max_tasks, self.first = 1, None, first
    def worker(self, context):
        return command("serve:Servant", {"first": self.first})
    def request(self, task, context):
        return task.text.encode()

class Servant:
    def __init__(self, first):
        import time
        self.base = bytearray(first << 20)
        time.sleep(60 if first else 0)
    def perform(self, request, task):
        import time
        if request == b"greedy":
            grown = bytearray(200 << 20)
            time.sleep(60)
"""


def log(farm: Farm, task: int) -> str:
    return Path(farm.layout.log(task)).read_text()


def ends(farm: Farm, task: int) -> list[tuple[str, Any]]:
    """Return outcome and signal, or status, of every attempt."""
    args = [event["args"] for event in farm.timeline() if event["ph"] == "X" and event["args"]["id"] == task]
    return [(end["outcome"], end.get("signal", end.get("status"))) for end in args]


# The limit of a task


def test_a_task_over_its_limit_fails(farm: Farm, mark: Any) -> None:
    """A task that grows beyond `--mem-per-task` is killed with its children, without grace, and its log says why."""
    farm.write([f"trap '' TERM; ({GREEDY}) & wait; sleep 60", "echo fine", "setsid true"])
    assert 1 == farm.run("--mem-per-task", "100M", "--grace", "60"), farm.started[-1].output
    assert [] == mark.living()
    farm.balance(3, "finished", "failed")
    assert [("out_of_memory", "SIGKILL")] == ends(farm, 0)
    said = r"pytaskfarmer: killed for its memory: it used [0-9.]+M, and may use 100M \(--mem-per-task\)\n"
    assert re.fullmatch(said, log(farm, 0)), log(farm, 0)
    assert [0] == farm.ids("failed")


def test_it_has_its_retries(farm: Farm) -> None:
    """An attempt that ran out of memory counts as any failure."""
    farm.write([f"[ $PYTASKFARMER_ATTEMPT = 2 ] || {GREEDY}"])
    assert 0 == farm.run("--mem-per-task", "100M", "--retries", "1")
    assert [("out_of_memory", "SIGKILL"), ("success", 0)] == ends(farm, 0)


def test_a_stop_does_not_make_it_another_thing(farm: Farm, wait_until: WaitUntil) -> None:
    """Without a limit the same task goes on, and is stopped like any other."""
    farm.write([f"touch up; {GREEDY}"])
    started = farm.start("--grace", "0.1")
    wait_until((farm.directory / "up").exists, hopeless=started.over)
    started.signal(signal.SIGTERM)
    assert 3 == started.wait()
    farm.balance(1, "toprocess")


@pytest.fixture
def warm(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    (farm.directory / "serve.py").write_text(SERVANT)
    (farm.directory / "warm.ini").write_text("[warm]\nRunner = serve.Calls\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    return farm


def test_the_call_that_grows_is_to_blame(warm: Farm) -> None:
    """A worker over its limit takes the call that it was executing with it; those after it have a new one."""
    warm.write(["small", "greedy", "small", "small"])
    assert 1 == warm.run("-n", "1", "-r", "warm", "--mem-per-task", "100M"), warm.started[-1].output
    warm.balance(4, "finished", "failed")
    assert [("out_of_memory", "SIGKILL")] == ends(warm, 1)
    assert "killed for its memory" in log(warm, 1)


def test_a_worker_too_large_to_begin_with_fails_no_task(warm: Farm) -> None:
    """Where making the servant takes more than the limit, all tasks stay in the list, and a person is told."""
    (warm.directory / "warm.ini").write_text("[warm]\nRunner = serve.Calls\nfirst = 200\n")
    warm.write(["small"] * 3)
    assert 2 == warm.run("-n", "2", "-r", "warm", "--mem-per-task", "100M"), warm.started[-1].output
    assert "no worker can be had: killed for its memory: it used" in warm.started[-1].output
    warm.balance(3, "toprocess")


# What is weighed


def test_a_family_is_a_session_and_what_descends_from_it() -> None:
    """Members of the leader's session and descendants in other sessions count, orphans that left it do not."""
    seen = {
        1: Seen(0, 1, 5),
        10: Seen(1, 10, 5),  # the farmer
        20: Seen(10, 20, 5),
        21: Seen(20, 20, 5),
        22: Seen(21, 22, 5),
        23: Seen(10, 20, 5),  # an orphan of the session
        30: Seen(10, 30, 5),
        31: Seen(30, 31, 5),
        40: Seen(10, 40, 5),  # left everything
        50: Seen(51, 50, 5),
        51: Seen(50, 51, 5),  # read while pids were used anew
    }
    assert {20: [20, 21, 22, 23], 30: [30, 31]} == memory.families(seen, [20, 30])


FAMILY = """
import os
pages = bytearray(60 << 20)
for _ in range(3):
    if os.fork() == 0:
        break
print(flush=True)
os.read(0, 1)
"""


def test_shared_pages_count_once() -> None:
    """Four processes that share 60 MiB use less than 150 MiB, though each has them resident; and more than 50 MiB."""
    words = [sys.executable, "-S", "-c", FAMILY]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        assert b"\n" * 4 == leader.stdout.read(4)
        resident = sum(entry.size for entry in memory.processes().values() if entry.session == leader.pid)
        light, heavy = MemoryWatch(150 * MIB).look([leader.pid]), MemoryWatch(50 * MIB).look([leader.pid])
        leader.communicate()
    assert resident > 200 * MIB
    assert ({}, [leader.pid]) == (light, list(heavy))


def test_looking_costs_a_fiftieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look that took 20 ms, the next one is a second later; never is it sooner than a fifth of a second."""
    watch, begin = MemoryWatch(MIB), time.monotonic()
    watch.look([1])
    assert watch.due >= begin + 0.2
    monkeypatch.setattr(memory, "processes", lambda: time.sleep(0.02) or {})
    begin = time.monotonic()
    watch.look([1])
    assert watch.due >= begin + 1.0


# The kernel's limit


def test_a_task_is_more_likely_to_be_killed_than_its_farmer(farm: Farm, wait_until: WaitUntil) -> None:
    """Tasks, warm or not, have a higher score than farmer and guard, which keep the one they came with."""
    farm.write(["cat /proc/self/oom_score_adj; touch up; sleep 60"])
    own = int(Path("/proc/self/oom_score_adj").read_text())
    started = farm.start("--grace", "0.1")
    wait_until((farm.directory / "up").exists, hopeless=started.over)
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (started.guard.pid, started.farmer)]
    assert [own, own] == scores
    assert min(1000, own + 500) == int(log(farm, 0))
    started.signal(signal.SIGTERM)
    assert 3 == started.wait()


@pytest.fixture
def small_group() -> Iterator[str]:
    """A memory group of 64 MiB below that of this process. Skips where none can be made."""
    for group in cgroup.own():
        path = f"{group.path}/pytest-{os.getpid()}"
        limit = "memory.max" if group.second else "memory.limit_in_bytes"
        try:
            os.mkdir(path)
            try:
                Path(path, limit).write_text(str(64 * MIB))
            except OSError:
                os.rmdir(path)
                raise
        except OSError:
            continue
        try:
            yield path
        finally:
            _remove(path)
        return
    pytest.skip("this user may make no memory group here")


def _remove(path: str) -> None:
    for _ in range(1000):
        try:
            os.rmdir(path)
        except OSError:  # until the last zombie is gone
            os.sched_yield()
            continue
        return
    os.rmdir(path)


def test_the_farmer_outlives_the_kernel_s_kills(farm: Farm, small_group: str) -> None:
    """Where memory runs out, the kernel kills tasks, which have failed as out of memory; a KILL of another's has not.

    A shell that lost a child to it and says so by its status counts, too.
    """
    grow = f"{sys.executable} -S -c 'x = bytearray(200 << 20)'"
    farm.write([f"exec {grow}", f"{grow}; exit $?", "sleep 0.1", "echo fine"])
    script = f'echo $$ > {small_group}/cgroup.procs; exec "$@"'
    words = ["bash", "-c", script, "script", *COMMAND, "-n", "2", farm.list.name]
    farm.started.append(Started(words, farm.directory, farm.directory / "out"))
    assert 1 == farm.started[-1].wait(), farm.started[-1].output
    farm.balance(4, "finished", "failed")
    assert [[("out_of_memory", "SIGKILL")], [("out_of_memory", 137)]] == [ends(farm, 0), ends(farm, 1)]
    assert {0, 1} == set(farm.ids("failed"))
    assert log(farm, 0).endswith("pytaskfarmer: killed by the kernel, which had no memory left\n")


def test_a_kill_by_somebody_is_no_lack_of_memory(farm: Farm) -> None:
    """A task that is killed while there is memory was killed by a signal."""
    farm.write(["kill -9 $$", "exit 137"])
    assert 1 == farm.run()
    assert [("killed_by_signal", "SIGKILL"), ("nonzero_exit", 137)] == [*ends(farm, 0), *ends(farm, 1)]


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel would count."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 2\noom_kill 2\noom_group_kill 0\n")
    monkeypatch.setattr(cgroup, "own", lambda: [Group(str(tmp_path), str(tmp_path), True)])
    return events


def test_each_kill_accounts_for_one_death(counter: Path) -> None:
    """Two new kills explain two deaths, and neither a third nor one before them."""
    kills = KernelKills()
    assert not kills.claim(100.0)
    counter.write_text("oom 4\noom_kill 4\n")
    assert [True, True, False] == [kills.claim(101.0) for _ in range(3)]
    kills.close()


def test_an_old_kill_explains_nothing(counter: Path) -> None:
    """A kill that was noticed long before a death had nothing to do with it."""
    kills = KernelKills()
    counter.write_text("oom_kill 3\n")
    kills.look(100.0)
    kills.look(110.0)
    assert not kills.claim(120.0)
    kills.close()


MOUNTS_OF_BOTH = """\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
MOUNTS_OF_SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
STEP = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"


@pytest.mark.parametrize(
    ("own", "mounts", "expected"),
    [
        (f"0::{STEP}\n", MOUNTS_OF_SECOND, [Group(f"/sys/fs/cgroup{STEP}", "/sys/fs/cgroup", True)]),
        (
            "9:name=systemd:/\n4:memory:/slurm/uid_5/job_7\n0::/\n",
            MOUNTS_OF_BOTH,
            [
                Group("/sys/fs/cgroup/memory/slurm/uid_5/job_7", "/sys/fs/cgroup/memory", False),
                Group("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified", True),
            ],
        ),
        (
            "4:cpu,memory:/docker/ab\n",
            "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            [Group("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory", False)],
        ),
        (
            "0::/../other\n",
            "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
            [Group("/sys/fs/cgroup", "/sys/fs/cgroup", True)],
        ),
        ("", MOUNTS_OF_BOTH, []),
        ("0::/x\n", "", []),
    ],
)
def test_the_group_is_found(own: str, mounts: str, expected: list[Group]) -> None:
    """Both kinds of groups are found below what is mounted, also in a container that sees its own only."""
    assert expected == cgroup.groups(own, mounts)


def test_limits_of_groups_above_count(tmp_path: Path) -> None:
    """A group without a limit of its own has those of the groups above it."""
    for path, limit in (("", "max"), ("job", "8589934592"), ("job/step", "4294967296"), ("job/step/task", "max")):
        (tmp_path / path).mkdir(exist_ok=True)
        (tmp_path / path / "memory.max").write_text(limit + "\n")
    group = Group(str(tmp_path / "job/step/task"), str(tmp_path), True)
    assert [4 << 30, 8 << 30] == list(group.limits())
