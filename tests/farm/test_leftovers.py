"""What tasks leave running: it is gone before anybody could mistake it for something else."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farm_driver import Farm

from pytaskfarmer.workdir import outputs

WaitUntil = Callable[..., None]

BOTH = pytest.mark.parametrize("logs", ["files", "pack"])
KILLED = re.compile(rb"pytaskfarmer: killed (\d+) process(es)? that the task left behind\n")


def printed(farm: Farm, task: int) -> bytes:
    """Return what a task has printed, whatever the mode of the logs."""
    output = outputs.latest(farm.layout, task)
    return b"" if output is None else b"".join(output.read())


def killed(text: bytes) -> int:
    """Return how many processes a log says were killed."""
    return sum(int(match[1]) for match in KILLED.finditer(text))


def release(gate: Path, readers: int = 1) -> None:
    """Let as many tasks go on as wait in `read -u 3` after `exec 3<> gate`."""
    fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"\n" * readers)
    os.close(fd)


class TestOrdinaryEnd:
    @BOTH
    def test_takes_the_group_along(self, farm: Farm, mark: Any, logs: str) -> None:
        """Whatever stays in a task's group is killed before its slot is used again, and its log says how many."""
        look = "; ".join(f"! kill -0 $(cat {i}.left) 2>/dev/null || echo lives" for i in range(4))
        farm.write([
            "sleep 60 & echo $! > 0.left; echo done",
            "exec 7>&1 >&- 2>&-; trap '' TERM HUP; sleep 60 & echo $! > 1.left; echo closed >&7",
            "( (trap '' TERM; echo $BASHPID > 2.left; exec sleep 60) & ); until [ -s 2.left ]; do :; done; echo forked",
            "sleep 60 & sleep 60 & echo $! > 3.left; echo -n two",
            f"{look}; echo four",
            "exit 0",
        ])  # fmt: skip
        assert 0 == farm.run("-n", "1", "--logs", logs)
        assert [] == mark.living()
        texts = [printed(farm, task) for task in range(6)]
        assert [1, 1, 1, 2, 0, 0] == [killed(text) for text in texts]
        said = [KILLED.sub(b"", text) for text in texts]
        assert [b"done\n", b"closed\n", b"forked\n", b"two\n", b"four\n", b""] == said

    @BOTH
    def test_counts_every_process(self, farm: Farm, logs: str) -> None:
        """None of the processes that a task left behind is forgotten in its log, however quickly they die."""
        tasks = 24
        farm.write(["for i in 1 2 3 4 5; do sleep 60 & done; sleep 0.11; echo done"] * tasks)
        assert 0 == farm.run("-n", "4", "--logs", logs)
        assert [5] * tasks == [killed(printed(farm, task)) for task in range(tasks)]

    @BOTH
    def test_of_a_daemon_s_task_keeps_its_words_apart(
        self, farm: Farm, wait_until: WaitUntil, mark: Any, logs: str
    ) -> None:
        """A daemon in a session of its own may print as late as it likes: never into another task's log."""
        daemon, until_up = (
            "exec 3<> gate; touch up.{0}; read -u 3; echo late; touch late.{0}; sleep 60",
            "until [ -e up.{0} ]; do :; done",
        )
        farm.write([
            f"setsid -f bash -c '{daemon.format(0)}'; {until_up.format(0)}; echo zero",
            f"set -m; bash -c '{daemon.format(1)}' & {until_up.format(1)}; echo one",
            "echo two; exec 3<> next; touch up.2; read -u 3; echo two",
            "echo three",
        ])  # fmt: skip
        os.mkfifo(farm.directory / "gate")
        os.mkfifo(farm.directory / "next")
        started = farm.start("-n", "1", "--logs", logs)
        wait_until((farm.directory / "up.2").exists, hopeless=started.over)
        release(farm.directory / "gate", 2)
        wait_until(lambda: {"late.0", "late.1"} <= set(os.listdir(farm.directory)), hopeless=started.over)
        release(farm.directory / "next")
        assert 0 == started.wait()
        assert [] == mark.living(), "everything is gone when the farmer has left"
        texts = [printed(farm, task) for task in range(4)]
        assert [b"two\ntwo\n", b"three\n"] == texts[2:]
        assert [b"zero\n", b"one\n"] == [text.replace(b"late\n", b"") for text in texts[:2]]


class TestStop:
    @pytest.mark.parametrize("environment", ["inherited", "emptied"])
    def test_takes_daemons_along_before_their_task_is_anybody_s(
        self, farm: Farm, wait_until: WaitUntil, mark: Any, environment: str
    ) -> None:
        """When a stopped task is back in the list, no process of it is left that could meet its next attempt."""
        daemon = "trap '' TERM; touch up; until [ -s tasks.txt_workdir/toprocess ]; do :; done; touch met; sleep 60"
        empty = "env -i " if environment == "emptied" else ""
        farm.write([f'{empty}setsid -f bash -c "{daemon}"; sleep 60'])
        started = farm.start()
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        assert [] == mark.living()
        farm.balance(1, "toprocess")
        assert not (farm.directory / "met").exists()


class TestTimeout:
    @pytest.mark.parametrize("how", ["setsid bash", "set -m; bash"])
    def test_takes_along_what_left_the_group(self, farm: Farm, how: str) -> None:
        """A task that timed out leaves nothing that computes on while the farmer lives, wherever it hid."""
        farm.write([
            f"{how} -c 'echo $$ > left; sleep 60; sleep 60' & wait; sleep 60",
            "for i in {1..50}; do grep -qs '^State:.[^Z]' /proc/$(cat left)/status || exit 0; sleep 0.01; done; exit 1",
        ])  # fmt: skip
        assert 1 == farm.run("-n", "1", "--task-timeout", "1", "--grace", "0.2")
        assert ([0], [1]) == (farm.ids("failed"), farm.ids("finished"))
