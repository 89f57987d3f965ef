"""The guard: no task outlives its farmer, whichever process of the farm is killed."""

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from farm_driver import Farm, Started, alive

from pytaskfarmer.farm.guard import GuardLink

WaitUntil = Callable[..., None]

DAEMONS = (
    "setsid -f setsid -f setsid -f bash -c 'trap \"\" TERM HUP; echo $$ > pid.0; mv pid.0 up.0; sleep 60'; sleep 60"
)
ORPHANS = "(trap '' TERM; bash -c 'echo $$ > pid.1; mv pid.1 up.1; sleep 60; sleep 60' &); sleep 60"
CLEANED = "env -i setsid -f bash -c 'echo $$ > pid.2; mv pid.2 up.2; exec sleep 60'; sleep 60"
"""The last one has thrown away the environment by which it could be found."""


def test_a_farmer_survives_a_guard_that_dies_as_it_begins() -> None:
    """What it would ask of a dead guard is no error: the guard's death makes it stop in the ordinary way."""
    guards_end, farmers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    guards_end.close()
    with farmers_end:
        GuardLink(farmers_end).keep(0)


class TestDeath:
    @pytest.fixture
    def busy(self, farm: Farm, wait_until: WaitUntil) -> Callable[..., tuple[Started, int, list[int]]]:
        """Return `busy(option...)`: a farmer, its pid, and the pids of what its tasks have started."""
        farm.write([f"[ -e go ] || {{ {task}; }}" for task in (DAEMONS, ORPHANS, CLEANED)])

        def busy(*options: str) -> tuple[Started, int, list[int]]:
            started = farm.start("--grace", "0.2", *options)
            ups = [farm.directory / f"up.{i}" for i in range(3)]
            wait_until(lambda: all(up.exists() for up in ups), state=lambda: started.output, hopeless=started.over)
            farmer = started.farmer
            assert farmer is not None
            return started, farmer, [int(up.read_text()) for up in ups]

        return busy

    def assert_finishes(self, farm: Farm) -> None:
        """Assert that running again finishes everything."""
        (farm.directory / "go").touch()
        assert 0 == farm.run(), farm.started[-1].output
        farm.balance(3, "finished")

    @pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
    def test_of_the_farmer_takes_every_task_along(
        self, farm: Farm, busy: Callable[..., Any], mark: Any, whole_group: bool
    ) -> None:
        """When the farmer is killed, nothing that descends from it is alive when the guard has left, with 137."""
        started, farmer, strays = busy()
        (os.killpg if whole_group else os.kill)(farmer, signal.SIGKILL)
        assert 137 == started.wait()
        assert ([], [False] * 3) == (mark.living(), [alive(pid) for pid in strays])
        (dead,) = farm.farmers()
        assert {0, 1, 2} == set(farm.claims(dead).running), "what ran stays in the claims of the dead"
        self.assert_finishes(farm)

    def test_by_a_signal_without_a_name(self, farm: Farm, busy: Callable[..., Any], mark: Any) -> None:
        """Whatever signal ends the farmer, the guard says which, and nothing stays alive."""
        started, farmer, strays = busy()
        os.kill(farmer, 40)
        assert 168 == started.wait()
        assert "pytaskfarmer: the farmer was killed (SIG40); nothing is lost" in started.output
        assert ([], [False] * 3) == (mark.living(), [alive(pid) for pid in strays])

    @pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
    def test_of_the_guard_stops_the_farmer(
        self, farm: Farm, busy: Callable[..., Any], mark: Any, wait_until: WaitUntil, whole_group: bool
    ) -> None:
        """When the guard is killed, the farmer stops in the ordinary way: all goes back, and nothing stays alive."""
        started, farmer, strays = busy()
        (os.killpg if whole_group else os.kill)(started.guard.pid, signal.SIGKILL)
        assert -signal.SIGKILL == started.wait()
        wait_until(lambda: not alive(farmer), state=lambda: started.output)
        wait_until(lambda: not mark.living(), seconds=1)
        assert [False] * 3 == [alive(pid) for pid in strays]
        farm.balance(3, "toprocess")
        stops = [event["name"] for event in farm.timeline() if event["ph"] == "i"]
        assert ["stop (SIGTERM)"] == stops
        self.assert_finishes(farm)

    def test_of_both_leaves_nothing_to_the_next_farmer(self, farm: Farm, busy: Callable[..., Any], mark: Any) -> None:
        """What is left when guard and farmer are killed in the same instant, the next farmer kills before it starts."""
        started, farmer, strays = busy()
        os.kill(farmer, signal.SIGSTOP)
        os.kill(started.guard.pid, signal.SIGKILL)
        os.kill(farmer, signal.SIGKILL)
        started.wait()
        marked, cleaned = strays[:2], strays[2]
        assert [True] * 3 == [alive(pid) for pid in strays]
        self.assert_finishes(farm)
        assert [False, False] == [alive(pid) for pid in marked]
        assert alive(cleaned), "what has thrown away the mark is not ours for certain, and is left alone"
        os.kill(cleaned, signal.SIGKILL)

    def test_is_not_believed_before_the_tasks_are_gone(
        self, farm: Farm, busy: Callable[..., Any], wait_until: WaitUntil, mark: Any
    ) -> None:
        """While the guard has not cleaned up, the dead farmer's claims read as alive, and nobody takes them over."""
        started, farmer, strays = busy()
        os.kill(started.guard.pid, signal.SIGSTOP)
        os.kill(farmer, signal.SIGKILL)
        wait_until(lambda: not alive(farmer))
        (farm.directory / "go").touch()
        assert 0 == farm.run(), "the rest is held by another farmer"
        assert "the rest is held by 1 other farmer" in farm.started[-1].output
        assert ([], [True] * 3) == (farm.ids("finished"), [alive(pid) for pid in strays])
        os.kill(started.guard.pid, signal.SIGCONT)
        assert 137 == started.wait()
        assert ([], [False] * 3) == (mark.living(), [alive(pid) for pid in strays])
        self.assert_finishes(farm)


class TestStatus:
    def test_is_the_farmer_s(self, farm: Farm) -> None:
        """The guard exits as the farmer does: 0, 1, and 2 with the error said once."""
        farm.write(["true"])
        assert 0 == farm.run()
        farm.write(["true", "false"])
        assert 1 == farm.run()
        (farm.workdir / "tasklist.json").write_text("{}")
        assert 2 == farm.run()
        assert 1 == farm.started[-1].output.count("pytaskfarmer: error:")


class TestFamily:
    def test_has_two_groups_in_one_session(self, farm: Farm, wait_until: WaitUntil) -> None:
        """The farmer leads a group of its own in the guard's session, so that no one kill of a group ends both."""
        farm.write(["touch up; sleep 60"])
        started = farm.start()
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        farmer, guard = started.farmer, started.guard.pid
        assert farmer is not None
        assert (farmer, guard) == (os.getpgid(farmer), os.getpgid(guard))
        assert os.getsid(guard) == os.getsid(farmer)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()

    def test_starts_nothing_that_stays(self, farm: Farm, mark: Any) -> None:
        """A farm whose tasks start as fast as they can leaves no process when it ends."""
        farm.write(["sleep 60 & setsid -f sleep 60"] * 40)
        assert 0 == farm.run("-n", "8")
        assert [] == mark.living()
