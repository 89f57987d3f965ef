"""What a task may take: its time, its attempts, its place before the deadline; and what it finds when it starts."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farm_driver import COMMAND, Farm, Started

WaitUntil = Callable[..., None]


def bars(farm: Farm, task: int) -> list[dict[str, Any]]:
    """Return the timeline's bars of one task, oldest first."""
    return [event for event in farm.timeline() if event["ph"] == "X" and event["args"]["id"] == task]


def log(farm: Farm, task: int) -> str:
    """Return what the last attempt at a task has printed."""
    return Path(farm.layout.log(task)).read_text()


def release(gate: Path, readers: int = 1) -> None:
    """Let as many tasks go on as wait in `read -u 3` after `exec 3<> gate`."""
    fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"\n" * readers)
    os.close(fd)


def signals_of(status: str, mask: str) -> set[int]:
    """Return the signals in one mask of a process's status, but for those that are the C library's own."""
    found = re.search(rf"{mask}:\t([0-9a-f]+)", status)
    assert found, status
    return {n for n in range(1, 32) if int(found[1], 16) >> (n - 1) & 1}


ELSEWHERE = """
from pytaskfarmer.plugins.contracts import Command

class Elsewhere:
    def command(self, task, context):
        return Command(("sh", "-c", task.text), cwd="/")  # bash would unblock signals by itself
"""


class TestTaskTimeout:
    def test_ends_a_task_and_not_its_neighbours(self, farm: Farm, mark: Any) -> None:
        """A task beyond its time has failed, by the stop signal or by KILL after the grace; others are left alone."""
        farm.write([
            "sleep 60",
            "trap '' TERM; bash -c 'echo $$ > grandchild; sleep 60; sleep 60' & wait; sleep 60",
            "trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.01; done",
            *["sleep 0.1; ! kill -0 $(cat grandchild) 2> gone || echo lives"] * 9,
            "for i in {1..60}; do kill -0 $(cat grandchild) 2> gone || exit 0; sleep 0.01; done; exit 1",
        ])  # fmt: skip
        assert 1 == farm.run("-n", "4", "--task-timeout", "0.7", "--grace", "0.3")
        assert [] == mark.living()
        farm.balance(13, "finished", "failed")
        assert {0, 1, 2} == set(farm.ids("failed"))
        ends = [bars(farm, task)[0]["args"] for task in range(3)]
        assert ["timed_out"] * 3 == [end["outcome"] for end in ends]
        assert ["SIGTERM", "SIGKILL", 0] == [end.get("signal", end.get("status")) for end in ends]
        assert ["bad"] * 3 == [bars(farm, task)[0]["cname"] for task in range(3)]
        first, second, _ = (bars(farm, task)[0]["dur"] / 1e6 for task in range(3))
        assert 0.7 <= first < second
        assert second >= 1.0
        assert "cleaned" in log(farm, 2)
        assert "lives\n" == log(farm, 3)

    def test_counts_for_each_attempt(self, farm: Farm) -> None:
        """A task that timed out is tried again, with its whole time anew."""
        farm.write(["[ $PYTASKFARMER_ATTEMPT = 2 ] || sleep 60"])
        assert 0 == farm.run("--task-timeout", "0.3", "--retries", "1")
        assert ["timed_out", "success"] == [bar["args"]["outcome"] for bar in bars(farm, 0)]

    def test_does_not_outlive_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A task that had timed out before the stop has failed all the same."""
        farm.write(
            ["exec 3<> gate; trap 'touch asked; read -u 3; exit 0' TERM; while :; do sleep 0.01; done", "sleep 60"]
        )
        os.mkfifo(farm.directory / "gate")
        started = farm.start("-n", "1", "--task-timeout", "0.3", "--grace", "60")
        wait_until((farm.directory / "asked").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in started.output, hopeless=started.over)
        release(farm.directory / "gate")
        assert 3 == started.wait()
        farm.balance(2)
        assert ([0], [1]) == (farm.ids("failed"), farm.ids("toprocess"))


class TestMaxFails:
    def test_leaves_the_rest_in_the_list(self, farm: Farm) -> None:
        """With `--max-fails 2` the farmer starts nothing after the second failure, and the next run goes on."""
        farm.write(["true", "false", "true", "false", "true", "true"])
        assert 3 == farm.run("-n", "1", "--max-fails", "2")
        farm.balance(6)
        assert ([0, 2], [1, 3], [4, 5]) == tuple(sorted(farm.ids(book)) for book in ("finished", "failed", "toprocess"))
        assert "stopped by --max-fails 2" in farm.started[-1].output
        assert 1 == farm.run("-n", "1", "--max-fails", "2")
        farm.balance(6, "finished", "failed")

    def test_is_silent_where_nothing_is_left_to_start(self, farm: Farm) -> None:
        """A failure of the last task starts no words about tasks to come."""
        farm.write(["true", "false"])
        assert 1 == farm.run("-n", "2", "--max-fails", "1")
        assert "no more are started" not in farm.started[-1].output
        assert "max-fails" not in farm.started[-1].output

    def test_is_silent_during_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """What fails while the farmer stops adds no second reason to the first."""
        farm.write(
            ["exec 3<> gate; trap 'touch asked; read -u 3; exit 0' TERM; while :; do sleep 0.01; done", "sleep 60"]
        )
        os.mkfifo(farm.directory / "gate")
        started = farm.start("-n", "1", "--task-timeout", "0.3", "--grace", "60", "--max-fails", "1")
        wait_until((farm.directory / "asked").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in started.output, hopeless=started.over)
        release(farm.directory / "gate")
        assert 3 == started.wait()
        assert [0] == farm.ids("failed")
        assert "too many" not in started.output

    def test_counts_tasks_and_not_attempts(self, farm: Farm) -> None:
        """An attempt that is tried again is no failed task."""
        farm.write(["[ $PYTASKFARMER_ATTEMPT = 2 ]", "true"])
        assert 0 == farm.run("-n", "1", "--retries", "1", "--max-fails", "1")


class TestRetries:
    def test_are_counted_and_only_the_last_one_is_recorded(self, farm: Farm) -> None:
        """`--retries 1` makes two attempts: both in the timeline, with a log each, and one line in `failed`."""
        farm.write(["echo try $PYTASKFARMER_ATTEMPT; exit 7", "[ $PYTASKFARMER_ATTEMPT = 2 ]"])
        assert 1 == farm.run("-n", "2", "--retries", "1")
        farm.balance(2, "finished", "failed")
        assert ([1], [0]) == (farm.ids("finished"), farm.ids("failed"))
        tries = [(bar["args"]["attempt"], bar["args"]["outcome"], bar["args"]["status"]) for bar in bars(farm, 0)]
        assert [(1, "nonzero_exit", 7), (2, "nonzero_exit", 7)] == tries
        assert ("try 1\n", "try 2\n") == (Path(farm.layout.log(0) + ".1").read_text(), log(farm, 0))
        assert ["nonzero_exit", "success"] == [bar["args"]["outcome"] for bar in bars(farm, 1)]
        first, second = bars(farm, 0)
        pause = (second["ts"] - first["ts"] - first["dur"]) / 1e6
        assert 0.5 <= pause <= 2, "the first pause is half a second to a second"

    def test_do_not_occupy_a_slot_while_they_wait(self, farm: Farm) -> None:
        """Other tasks run in the pause between two attempts, also with a single slot."""
        farm.write(["[ $PYTASKFARMER_ATTEMPT = 2 ]", "true", "true"])
        assert 0 == farm.run("-n", "1", "--retries", "1")
        order = [
            event["args"]["id"] for event in sorted(farm.timeline(), key=lambda e: e.get("ts", 0)) if event["ph"] == "X"
        ]
        assert [0, 1, 2, 0] == order

    def test_are_left_after_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A stop costs no retry: afterwards the task has all its attempts again."""
        farm.write(["[ $PYTASKFARMER_ATTEMPT = 1 ] && exit 1; [ -e go ] || { touch up; sleep 60; }"])
        started = farm.start("--retries", "1", "--grace", "0.2")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        farm.balance(1, "toprocess")
        (farm.directory / "go").touch()
        assert 0 == farm.run("--retries", "1")
        ends = [(bar["args"]["attempt"], bar["args"]["outcome"]) for bar in bars(farm, 0)]
        assert [(1, "nonzero_exit"), (2, "stopped"), (1, "nonzero_exit"), (2, "success")] == ends

    def test_that_wait_go_back_at_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A task that waits for its next attempt is not failed by a stop, and does not delay it."""
        farm.write(["false"])
        started = farm.start("--retries", "9")
        wait_until(
            lambda: Path(farm.layout.timeline).exists() and b'"attempt":1' in Path(farm.layout.timeline).read_bytes(),
            hopeless=started.over,
        )
        started.signal(signal.SIGTERM)
        assert 3 == started.wait(1)
        farm.balance(1, "toprocess")

    def test_end_with_the_program_s_absence_too(self, farm: Farm) -> None:
        """A program that cannot be started fails like any other, with 127 or 126, and others run."""
        (farm.directory / "data").write_text("no program")
        farm.write(["no-such-program", "./data", "true"])
        assert 1 == farm.run()
        assert ([2], {0, 1}) == (farm.ids("finished"), set(farm.ids("failed")))
        assert [127, 126] == [bars(farm, task)[0]["args"]["status"] for task in (0, 1)]


class TestDeadline:
    @pytest.fixture
    def slow(self, farm: Farm, wait_until: WaitUntil) -> Callable[..., Started]:
        """Return `slow(option...)`: a farmer whose first ten tasks took two of the four seconds that it has."""
        farm.write(["exec 3<> gate; touch up.$PROC_NUMBER; [ -e open ] || read -u 3"] * 30)
        os.mkfifo(farm.directory / "gate")

        def slow(*options: str) -> Started:
            started = farm.start("-n", "10", "--timeout", "4", "--grace", "0.2", *options)
            wait_until(lambda: len(list(farm.directory.glob("up.*"))) == 10, hopeless=started.over)
            time.sleep(2.1)
            (farm.directory / "open").touch()
            release(farm.directory / "gate", 10)
            return started

        return slow

    def test_holds_back_what_would_not_fit(self, farm: Farm, slow: Callable[..., Started]) -> None:
        """After ten ended tasks none is started that typically would not end in time; the summary counts those left."""
        began = time.monotonic()
        started = slow()
        assert 3 == started.wait()
        assert time.monotonic() - began < 4, "nobody waits for the deadline"
        farm.balance(30)
        left = farm.ids("toprocess")
        assert left
        assert {"success"} == {event["args"]["outcome"] for event in farm.timeline() if event["ph"] == "X"}
        held_back = re.search(r"(\d+) tasks? held back", started.output)
        assert held_back, started.output
        assert len(left) == int(held_back[1])
        assert 0 == farm.run()

    def test_is_ignored_on_request(self, farm: Farm, slow: Callable[..., Started]) -> None:
        """`--no-fit` starts tasks up to the deadline."""
        assert 0 == slow("--no-fit").wait()
        farm.balance(30, "finished")

    def test_lets_something_start_always(self, farm: Farm, wait_until: WaitUntil) -> None:
        """Without knowledge of durations tasks are started, and told when the deadline is."""
        farm.write(["echo $PYTASKFARMER_DEADLINE; sleep 60"])
        began = time.time()
        assert 3 == farm.run("--timeout", "0.9", "--grace", "0.2")
        assert began - 1 <= int(log(farm, 0)) - 0.9 <= began + 3
        farm.balance(1, "toprocess")


class TestSurroundings:
    def test_a_task_finds_its_name(self, farm: Farm) -> None:
        """A task finds its id, its slot, its attempt, its farmer and its work directory in its environment."""
        names = "PROC_NUMBER PYTASKFARMER_TASK_ID PYTASKFARMER_SLOT PYTASKFARMER_ATTEMPT PYTASKFARMER_WORKDIR"
        look = "ls $PYTASKFARMER_WORKDIR/claims; echo $PYTASKFARMER_FARMER ${PYTASKFARMER_DEADLINE-never}"
        farm.write(["true", f"for n in {names}; do echo ${{!n}}; done; {look}"])
        assert 0 == farm.run("-n", "1")
        *facts, farmer, lock, told = log(farm, 1).splitlines()
        assert ["1", "1", "0", "1", str(farm.workdir)] == facts
        assert (f"{farmer}.lock", f"{farmer} never") == (lock, told)

    def test_a_task_has_no_input_and_only_its_log(self, farm: Farm) -> None:
        """A task reads /dev/null and prints to its log; nothing else is open, whatever the batch script left open."""
        farm.write(["ls -l /proc/self/fd; cat; echo $?"])
        script = 'exec 3< tasks.txt 9> left.open; exec "$@"'
        started = Started(
            ["bash", "-c", script, "script", *COMMAND, farm.list.name], farm.directory, farm.directory / "out"
        )
        farm.started.append(started)
        assert 0 == started.wait(), started.output
        found = dict(re.findall(r"(\d+) -> (\S+)", log(farm, 0)))
        assert re.fullmatch(r"/proc/\d+/fd", found.pop("3")), "what ls itself looks at"
        assert {"0": "/dev/null", "1": farm.layout.log(0), "2": farm.layout.log(0)} == found
        assert log(farm, 0).endswith("\n0\n")

    def test_a_task_has_its_log_also_where_all_is_closed(self, farm: Farm) -> None:
        """A farmer that is started with stdin, stdout and stderr closed runs its tasks as any other does."""
        farm.write(["echo out; echo err >&2; cat", "ls /proc/self/fd"])
        script = 'exec "$@" <&- >&- 2>&-'
        words = ["bash", "-c", script, "script", *COMMAND, farm.list.name]
        farm.started.append(Started(words, farm.directory, farm.directory / "out"))
        assert 0 == farm.started[-1].wait()
        assert ("out\nerr\n", "0\n1\n2\n3\n") == (log(farm, 0), log(farm, 1))
        farm.balance(2, "finished")

    def test_a_task_leads_its_own_session(self, farm: Farm) -> None:
        """A task leads a session and a process group of its own, without a terminal."""
        read = "read -r _ _ _ _ group session terminal _ < /proc/$$/stat"
        farm.write([f"{read}; echo $(($$ - group)) $(($$ - session)) $terminal"])
        assert 0 == farm.run()
        assert "0 0 0\n" == log(farm, 0)

    @pytest.mark.parametrize("line", ["grep Sig /proc/self/status", "(grep Sig /proc/self/status)"])
    @pytest.mark.parametrize("runner", ["default", "elsewhere"])
    def test_a_task_has_default_signals(
        self, farm: Farm, monkeypatch: pytest.MonkeyPatch, runner: str, line: str
    ) -> None:
        """No signal is blocked, and none ignored that the user did not ignore: with and without a shell, or a cwd."""
        (farm.directory / "elsewhere.py").write_text(ELSEWHERE)
        (farm.directory / "elsewhere.ini").write_text("[elsewhere]\nRunner = elsewhere.Elsewhere\n")
        monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
        farm.write([line])
        assert 0 == farm.run("--runner", runner), farm.started[-1].output
        ours = signals_of(Path("/proc/self/status").read_text(), "SigIgn") - {signal.SIGPIPE, signal.SIGXFSZ}
        assert (set(), ours) == (signals_of(log(farm, 0), "SigBlk"), signals_of(log(farm, 0), "SigIgn"))

    def test_a_task_dies_of_a_broken_pipe(self, farm: Farm) -> None:
        """A pipeline whose reader leaves ends in silence."""
        farm.write(["yes | head -1; echo ${PIPESTATUS[*]}"])
        assert 0 == farm.run()
        assert "y\n141 0\n" == log(farm, 0)
