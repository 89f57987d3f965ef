"""Who ends a task: itself, the farmer, or a batch system; and what is recorded where two of them do it at once."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from farm_driver import Farm, Started

WaitUntil = Callable[..., None]

GAP = 0.008
"""Seconds between the announcement of a task and its end."""

ANNOUNCED = f"exec 3<>gap 4<>ends; echo $PROC_NUMBER $PPID >&4; read -t {GAP} -u 3; exit 0"


def outcomes(farm: Farm, task: int) -> list[str]:
    """Return how the attempts at a task ended, oldest first."""
    return [e["args"]["outcome"] for e in farm.timeline() if e["ph"] == "X" and e["args"]["id"] == task]


class TestStopAsATaskEnds:
    @pytest.fixture
    def ends(self, farm: Farm) -> Iterator[int]:
        """Make the FIFOs; return the one in which each task says its id and the farmer's pid before it ends."""
        os.mkfifo(farm.directory / "gap")
        os.mkfifo(farm.directory / "ends")
        fd = os.open(farm.directory / "ends", os.O_RDWR)
        yield fd
        os.close(fd)

    @pytest.mark.parametrize(
        "rounds", [40, pytest.param(200, marks=[pytest.mark.proof, pytest.mark.timeout(300)])], ids=str
    )
    def test_records_it_or_puts_it_back(self, farm: Farm, ends: int, rounds: int) -> None:
        """A task that ends within 5 ms of a stop is recorded or put back, never both and never neither."""
        tasks = 2 * rounds + 2
        farm.write([ANNOUNCED] * tasks)
        results: Counter[str] = Counter()
        for n in random.sample(range(rounds), rounds):
            offset = -0.005 + 0.01 * n / (rounds - 1)
            os.set_blocking(ends, True)
            started = farm.start("-n", "2", "--grace", "5")
            task, farmer = map(int, os.read(ends, 4096).splitlines()[0].split())
            time.sleep(GAP + offset)
            os.kill(farmer, signal.SIGUSR1)
            assert 3 == started.wait(), f"{offset * 1000:.1f} ms: {started.output}"
            farm.balance(tasks)
            (where,) = {book for book in ("finished", "toprocess") if task in farm.ids(book)}
            last = outcomes(farm, task)[-1]
            assert {"finished": "success", "toprocess": "stopped"}[where] == last, f"{offset * 1000:.1f} ms"
            results[where] += 1
            self.empty(ends)
        assert {"finished", "toprocess"} == results.keys(), "both results occur"
        assert 0 == farm.run("-n", "8"), farm.started[-1].output
        farm.balance(tasks, "finished")
        assert {1} == {outcomes(farm, task).count("success") for task in range(tasks)}, (
            "what succeeded never runs again"
        )

    @staticmethod
    def empty(fifo: int) -> None:
        """Forget announcements that came too late."""
        os.set_blocking(fifo, False)
        try:
            os.read(fifo, 65536)
        except BlockingIOError:
            pass


class TestKillFromOutside:
    """A batch system that ends an allocation signals the tasks too, often before the farmer."""

    @pytest.fixture
    def running(self, farm: Farm, wait_until: WaitUntil) -> Callable[..., tuple[Started, int]]:
        """Return `running(option...)`: a farmer of one slot, and the pid of the first of its two tasks."""
        farm.write(["echo $$ > pid; mv pid up; exec sleep 60", "touch next"])

        def running(*options: str) -> tuple[Started, int]:
            started = farm.start("-n", "1", *options)
            wait_until((farm.directory / "up").exists, state=lambda: started.output, hopeless=started.over)
            return started, int((farm.directory / "up").read_text())

        return running

    @pytest.mark.parametrize("name", ["TERM", "KILL"])
    def test_is_a_stop_if_the_farmer_is_stopped_too(
        self, farm: Farm, running: Callable[..., tuple[Started, int]], wait_until: WaitUntil, name: str
    ) -> None:
        """A task that was killed from outside goes back if a stop comes within two seconds."""
        started, task = running()
        os.kill(task, getattr(signal, f"SIG{name}"))
        wait_until((farm.directory / "next").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        farm.balance(2)
        assert ([], ["stopped"]) == (farm.ids("failed"), outcomes(farm, 0))

    def test_at_the_same_instant_is_a_stop(self, farm: Farm, running: Callable[..., tuple[Started, int]]) -> None:
        """Nothing has failed where guard, farmer and task are signalled together, as in a Slurm step."""
        started, task = running()
        farmer = started.farmer
        assert farmer is not None
        for pid in (task, farmer, started.guard.pid):
            os.kill(pid, signal.SIGTERM)
        assert 3 == started.wait()
        farm.balance(2, "toprocess")
        assert ["stopped"] == outcomes(farm, 0)

    def test_alone_is_a_failure(
        self, farm: Farm, running: Callable[..., tuple[Started, int]], wait_until: WaitUntil
    ) -> None:
        """Without a stop the task has failed by that signal, two seconds later; its slot works meanwhile."""
        started, task = running()
        killed = time.monotonic()
        os.kill(task, signal.SIGTERM)
        wait_until(lambda: farm.ids("finished") == [1], hopeless=started.over)
        assert [] == farm.ids("failed")
        wait_until(lambda: farm.ids("failed") == [0])
        assert time.monotonic() - killed >= 1.9
        assert 1 == started.wait()
        farm.balance(2, "finished", "failed")
        (bar,) = [e for e in farm.timeline() if e["ph"] == "X" and e["args"]["id"] == 0]
        assert ("killed_by_signal", "SIGTERM", "terrible") == (
            bar["args"]["outcome"],
            bar["args"]["signal"],
            bar["cname"],
        )

    def test_by_other_signals_is_a_failure_at_once(self, farm: Farm) -> None:
        """A signal that no batch system ends an allocation with is nobody's doubt."""
        farm.write(["kill -ALRM $$"])
        assert 1 == farm.run()
        (bar,) = [e for e in farm.timeline() if e["ph"] == "X"]
        assert "killed_by_signal" == bar["args"]["outcome"]
        ended = (bar["ts"] + bar["dur"]) / 1e6
        assert (farm.workdir / "failed").stat().st_mtime - ended < 1.9
