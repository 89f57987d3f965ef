"""Signals: a farmer that is told to stop puts back what runs, loses nothing, and takes everything along."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from farm_driver import COMMAND, Farm, Started, alive

WaitUntil = Callable[..., None]

ENDED, FAILED = "true", "false"
LONG = {
    "sleeps": "touch up.0; sleep 60",
    "computes": "touch up.1; while :; do :; done",
    "ignores TERM": "trap '' TERM HUP INT USR1; touch up.2; sleep 60",
    "has grandchildren": "bash -c 'sleep 60 & touch up.3; wait; wait' & wait",
    "has a daemon": "setsid -f bash -c 'trap \"\" TERM; touch up.4; sleep 60'; sleep 60",
}
TASKS = [ENDED, FAILED, *(f"[ -e go ] || {{ {what}; }}" for what in LONG.values()), "echo later", "echo last"]
"""Two that end at once, five that need five slots for as long as nobody says `go`, two that must wait."""

OFTEN = pytest.mark.parametrize(
    ("name", "to"),
    [("USR1", "guard"), ("TERM", "guard"), ("TERM", "farmer"), ("INT", "farmer"), ("HUP", "both"), ("TERM", "both")],
)

TOLD_TWICE = """
import os, signal, sys
from pytaskfarmer.cli.main import main
from pytaskfarmer.farm.children import Children

def signal_all(children, number, signal_all=Children.signal_all):
    if number == signal.SIGSTOP:
        os.kill(os.getpid(), signal.SIGTSTP)
    signal_all(children, number)

Children.signal_all = signal_all
sys.exit(main())
"""
"""A farmer that is told to suspend itself once more while it does so."""


def bars(farm: Farm) -> dict[int, list[dict[str, Any]]]:
    """Return the timeline's bars by task, oldest first."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in farm.timeline():
        if event["ph"] == "X":
            found.setdefault(event["args"]["id"], []).append(event)
    return found


def reasons(farm: Farm) -> list[str]:
    """Return what the timeline's instant events say."""
    return [event["name"] for event in farm.timeline() if event["ph"] == "i"]


def tell(started: Started, number: int, to: str) -> None:
    """Send a signal to the process that was started, to the farmer, or to both, as Slurm does."""
    farmer = started.farmer
    assert farmer is not None
    if to != "guard":
        os.kill(farmer, number)
    if to != "farmer":
        started.signal(number)


def release(gate: Path, readers: int = 1) -> None:
    """Let as many tasks go on as wait in `read -u 3` after `exec 3<> gate`."""
    fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"\n" * readers)
    os.close(fd)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Terminal:
    """A pseudo-terminal, and the farmer that is started in its foreground."""

    def __init__(self) -> None:
        self._keyboard, line = pty.openpty()
        self.name = os.ttyname(line)
        os.set_blocking(self._keyboard, False)
        self._line = line
        self.screen = b""

    def start(self, farm: Farm) -> Started:
        """Start a farmer with the terminal as its stdin, stdout and stderr, and as the terminal of its session."""
        words = ["bash", "-c", 'exec "$@" <"$0" >"$0" 2>&1', self.name, *COMMAND, farm.list.name]
        farm.started.append(Started(words, farm.directory, farm.directory / "nothing.out"))
        return farm.started[-1]

    def stop_background_output(self) -> None:
        """Do as `stty tostop`."""
        settings = termios.tcgetattr(self._line)
        settings[3] |= termios.TOSTOP
        termios.tcsetattr(self._line, termios.TCSANOW, settings)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._keyboard, keys)

    def look(self) -> bytes:
        """Return all that was ever on the screen."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.screen += os.read(self._keyboard, 65536)
        return self.screen

    def close(self) -> None:
        """Close the window."""
        for fd in (self._line, self._keyboard):
            if fd >= 0:
                os.close(fd)
        self._line = self._keyboard = -1


@pytest.fixture
def busy(farm: Farm, wait_until: WaitUntil) -> Callable[..., Started]:
    """Return `busy(option...)`: a farmer whose five slots all run and which has recorded two ends."""
    farm.write(TASKS)

    def busy(*options: str) -> Started:
        started = farm.start("-n", "5", *options)
        wait_until(
            lambda: len(list(farm.directory.glob("up.*"))) == 5 and farm.ids("finished") and farm.ids("failed"),
            state=lambda: (started.output, sorted(farm.directory.glob("up.*"))),
            hopeless=started.over,
        )
        return started

    return busy


def assert_stopped(farm: Farm, started: Started, reason: str, mark: Any) -> None:
    """Assert that a busy farmer left as designed, and that running again finishes everything."""
    assert 3 == started.wait()
    assert [] == mark.living(), "nobody survives"
    farm.balance(len(TASKS))
    assert ([0], [1], {2, 3, 4, 5, 6, 7, 8}) == (farm.ids("finished"), farm.ids("failed"), set(farm.ids("toprocess")))
    stopped = {i: [(bar["args"]["outcome"], bar["cname"]) for bar in bars(farm)[i]] for i in range(2, 7)}
    assert {i: [("stopped", "grey")] for i in range(2, 7)} == stopped
    assert bars(farm).keys() == set(range(7)), "what had not started has no bar"
    assert [reason] == reasons(farm)
    assert "next: run the same command again" in started.output
    (farm.directory / "go").touch()
    assert 1 == farm.run("-n", "5"), farm.started[-1].output
    farm.balance(len(TASKS))
    assert (set(range(9)) - {1}, [1]) == (set(farm.ids("finished")), farm.ids("failed"))
    assert {1} == {bar["args"]["attempt"] for found in bars(farm).values() for bar in found}, "a stop costs no retry"


class TestStop:
    @OFTEN
    def test_puts_back_what_runs(self, farm: Farm, busy: Callable[..., Started], mark: Any, name: str, to: str) -> None:
        """USR1, TERM, INT and HUP, to the guard, the farmer or both, put everything back that runs or waits."""
        started = busy("--grace", "0.2")
        tell(started, getattr(signal, f"SIG{name}"), to)
        assert_stopped(farm, started, f"stop (SIG{name})", mark)

    def test_comes_with_the_timeout(self, farm: Farm, busy: Callable[..., Started], mark: Any) -> None:
        """`--timeout` stops as a signal does, and the timeline says that it was the timeout."""
        assert_stopped(farm, busy("--grace", "0.2", "--timeout", "2s"), "stop (--timeout 2 s)", mark)

    def test_keeps_what_was_printed(self, farm: Farm, wait_until: WaitUntil) -> None:
        """What a stopped task had printed stays readable beside what it prints when it runs again."""
        farm.write(["echo once; [ -e go ] || { touch up; sleep 60; }"])
        started = farm.start()
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        (farm.directory / "go").touch()
        assert 0 == farm.run()
        logs = Path(farm.layout.logs)
        assert {"log_0": "once\n", "log_0.1": "once\n"} == {path.name: path.read_text() for path in logs.iterdir()}

    def test_with_nothing_left_is_a_success(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A farmer that is stopped when all its tasks have ended exits as if nobody had stopped it."""
        farm.write(["exec 3<> gate; echo $$ > pid; mv pid up; read -u 3", "true"])
        os.mkfifo(farm.directory / "gate")
        started = farm.start()
        wait_until(lambda: (farm.directory / "up").exists() and farm.ids("finished") == [1], hopeless=started.over)
        farmer, task = started.farmer, int((farm.directory / "up").read_text())
        assert farmer is not None
        os.kill(farmer, signal.SIGSTOP)
        release(farm.directory / "gate")
        wait_until(lambda: state(task) == "Z")
        os.kill(farmer, signal.SIGTERM)
        os.kill(farmer, signal.SIGCONT)
        os.kill(started.guard.pid, signal.SIGCONT)
        assert 0 == started.wait(), started.output
        farm.balance(2, "finished")
        assert ["stop (SIGTERM)"] == reasons(farm)

    def test_with_failures_and_nothing_left_says_so(self, farm: Farm, wait_until: WaitUntil) -> None:
        """Exit status 1 is for failed tasks, also when a drain ends an exhausted list."""
        farm.write(["false", "exec 3<> gate; touch up; read -u 3"])
        os.mkfifo(farm.directory / "gate")
        started = farm.start()
        wait_until(lambda: (farm.directory / "up").exists() and farm.ids("failed") == [0], hopeless=started.over)
        started.signal(signal.SIGUSR2)
        wait_until(lambda: "draining" in started.output, hopeless=started.over)
        release(farm.directory / "gate")
        assert 1 == started.wait()
        farm.balance(2, "finished", "failed")


class TestStopWhileTheLockIsTaken:
    @pytest.fixture
    def lock(self, farm: Farm) -> Iterator[int]:
        """Return a descriptor of the main lock of a run that has two tasks to do and nobody who does them."""
        farm.write(["true"])
        assert 0 == farm.run()
        farm.write(["true", "touch up.1; sleep 60", "touch up.2; trap '' TERM; sleep 60"])
        fd = os.open(farm.layout.lock, os.O_RDWR)
        yield fd
        os.close(fd)

    def test_ends_the_tasks_at_once(self, farm: Farm, lock: int, wait_until: WaitUntil, mark: Any) -> None:
        """A farmer that cannot get the lock stops its tasks all the same, and gives them back as soon as it can."""
        started = farm.start("--grace", "0.2")
        wait_until(lambda: len(list(farm.directory.glob("up.*"))) == 2, hopeless=started.over)
        fcntl.flock(lock, fcntl.LOCK_EX)
        started.signal(signal.SIGTERM)
        wait_until(lambda: {started.guard.pid, started.farmer} == set(mark.living()), state=mark.living)
        assert ([], False) == (farm.ids("toprocess"), started.over())
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert 3 == started.wait()
        farm.balance(3)

    def test_ends_the_start(self, farm: Farm, lock: int, wait_until: WaitUntil) -> None:
        """A farmer that waits for its very first turn can be stopped."""
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = farm.start()

        def waits() -> bool:
            files = Path(f"/proc/{started.farmer}/fd")
            return farm.layout.lock in [os.path.realpath(fd) for fd in files.glob("*")]

        wait_until(waits, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert 3 == farm.run("--timeout", "1", "--grace", "0.2")
        farm.balance(3)


class TestGrace:
    ASKED = "trap 'touch asked; read -u 3; echo cleaned; exit 0' TERM; touch up; while :; do sleep 0.01; done"

    def test_is_given_to_the_task(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A task may clean up in its grace; signals to both processes within a second count once."""
        farm.write([f"exec 3<> gate; {self.ASKED}"])
        os.mkfifo(farm.directory / "gate")
        started = farm.start("--grace", "60")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        tell(started, signal.SIGTERM, "both")
        wait_until((farm.directory / "asked").exists, hopeless=started.over)
        tell(started, signal.SIGTERM, "both")
        tell(started, signal.SIGUSR1, "both")
        assert not started.over()
        release(farm.directory / "gate")
        assert 3 == started.wait()
        assert "cleaned" == Path(farm.layout.log(0)).read_text().splitlines()[-1]
        farm.balance(1, "toprocess")
        (bar,) = bars(farm)[0]
        assert ("stopped", 0) == (bar["args"]["outcome"], bar["args"]["status"])

    def test_is_skipped_by_a_second_signal(self, farm: Farm, busy: Callable[..., Started], mark: Any) -> None:
        """A signal that comes more than a second after the first one skips the grace."""
        started = busy("--grace", "60")
        started.signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            started.guard.wait(1.1)
        started.signal(signal.SIGINT)
        assert_stopped(farm, started, "stop (SIGINT)", mark)

    def test_ends_with_kill(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A task that ignores the stop signal is killed when its grace is over, not before."""
        farm.write(["trap '' TERM; touch up; sleep 60"])
        started = farm.start("--grace", "0.5")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        began = time.monotonic()
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        assert time.monotonic() - began >= 0.5
        (bar,) = bars(farm)[0]
        assert ("stopped", "SIGKILL") == (bar["args"]["outcome"], bar["args"]["signal"])

    def test_may_be_asked_for_by_another_signal(self, farm: Farm, wait_until: WaitUntil) -> None:
        """`--stop-signal INT` reaches the whole group of the task as INT."""
        child = "trap 'echo child; exit' INT; touch up; while :; do sleep 0.01; done"
        farm.write([f"trap 'echo parent; exit' INT; bash -c \"{child}\"; :"])
        started = farm.start("--stop-signal", "INT", "--grace", "60")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        assert "child\nparent\n" == Path(farm.layout.log(0)).read_text()


class TestDrain:
    @pytest.fixture
    def gated(self, farm: Farm, wait_until: WaitUntil) -> Started:
        """Start two slots that wait at a gate, with two more tasks in the list."""
        farm.write([f"exec 3<> gate; touch up.{i}; read -u 3" for i in range(4)])
        os.mkfifo(farm.directory / "gate")
        started = farm.start("-n", "2", "--grace", "0.2")
        wait_until(lambda: len(list(farm.directory.glob("up.*"))) == 2, hopeless=started.over)
        return started

    @pytest.mark.parametrize("to", ["guard", "farmer", "both"])
    def test_lets_running_tasks_end(self, farm: Farm, gated: Started, wait_until: WaitUntil, to: str) -> None:
        """After USR2 running tasks end by themselves, nothing more starts, and the exit status is 3."""
        tell(gated, signal.SIGUSR2, to)
        wait_until(lambda: "draining" in gated.output, hopeless=gated.over)
        release(farm.directory / "gate", 2)
        assert 3 == gated.wait()
        farm.balance(4)
        assert ({0, 1}, {2, 3}) == (set(farm.ids("finished")), set(farm.ids("toprocess")))
        assert ["drain (USR2)"] == reasons(farm)
        assert not (farm.directory / "up.2").exists()

    def test_gives_way_to_a_stop(self, farm: Farm, gated: Started, wait_until: WaitUntil) -> None:
        """A farmer that drains can still be stopped."""
        gated.signal(signal.SIGUSR2)
        wait_until(lambda: "draining" in gated.output, hopeless=gated.over)
        gated.signal(signal.SIGTERM)
        assert 3 == gated.wait()
        farm.balance(4, "toprocess")
        assert ["drain (USR2)", "stop (SIGTERM)"] == reasons(farm)

    def test_is_a_stop_in_grid_engine(self, farm: Farm, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch) -> None:
        """In Grid Engine USR2 announces the kill, so running tasks are stopped."""
        monkeypatch.setenv("SGE_TASK_ID", "undefined")
        farm.write(["touch up; sleep 60"])
        started = farm.start("--grace", "0.2")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        started.signal(signal.SIGUSR2)
        assert 3 == started.wait()
        farm.balance(1, "toprocess")
        assert ["stop (SIGUSR2)"] == reasons(farm)


class TestSuspension:
    @pytest.fixture
    def gated(self, farm: Farm) -> str:
        """Make a gate; return a task that runs until it is opened."""
        os.mkfifo(farm.directory / "gate")
        return "exec 3<> gate; touch up; read -u 3"

    def up(self, farm: Farm, wait_until: WaitUntil, *options: str) -> tuple[Started, int]:
        """Start a farmer, and return it and its pid once its task is up."""
        started = farm.start(*options)
        wait_until((farm.directory / "up").exists, state=lambda: started.output, hopeless=started.over)
        assert started.farmer is not None
        return started, started.farmer

    def test_does_not_count_for_the_time_limit(self, farm: Farm, gated: str, wait_until: WaitUntil) -> None:
        """A task that was suspended for longer than its time limit has the rest of its time when it goes on."""
        farm.write([gated])
        started, farmer = self.up(farm, wait_until, "--task-timeout", "3s")
        started.signal(signal.SIGTSTP)
        wait_until(lambda: {"T"} == {state(started.guard.pid), state(farmer)})
        time.sleep(3.2)
        started.signal(signal.SIGCONT)
        wait_until(lambda: "T" != state(farmer))
        release(farm.directory / "gate")
        assert 0 == started.wait(), started.output

    @pytest.mark.parametrize("after", [0, 0.0001, 0.0002, 0.0004, 0.0008, 0.0016])
    def test_and_a_stop_at_once(self, farm: Farm, gated: str, wait_until: WaitUntil, after: float) -> None:
        """A stop that comes before the farmer is suspended does not make the guard forget to wake it up again."""
        farm.write([gated])
        started, _ = self.up(farm, wait_until)
        started.signal(signal.SIGTSTP)
        time.sleep(after)
        started.signal(signal.SIGINT)

        def over() -> bool:
            started.signal(signal.SIGCONT)
            return started.over()

        wait_until(over)
        assert 3 == started.wait()
        farm.balance(1, "toprocess")

    def test_that_is_asked_for_twice_ends_once(self, farm: Farm, gated: str, wait_until: WaitUntil) -> None:
        """Told to suspend itself by Slurm, which tells every process, and by its guard, a farmer is continued once."""
        farm.write([gated])
        words = [sys.executable, "-c", TOLD_TWICE, "run", farm.list.name]
        started = Started(words, farm.directory, farm.directory / "farmer.out")
        farm.started.append(started)
        wait_until((farm.directory / "up").exists, state=lambda: started.output, hopeless=started.over)
        farmer = started.farmer
        assert farmer is not None
        started.signal(signal.SIGTSTP)
        wait_until(lambda: {"T"} == {state(started.guard.pid), state(farmer)})
        started.signal(signal.SIGCONT)
        wait_until(lambda: "T" != state(started.guard.pid))
        release(farm.directory / "gate")
        assert 0 == started.wait(10), started.output


class TestTerminal:
    @pytest.fixture
    def terminal(self) -> Iterator[Terminal]:
        """Open a window, and close it after the test."""
        terminal = Terminal()
        yield terminal
        terminal.close()

    @pytest.fixture
    def watched(self, farm: Farm, terminal: Terminal, wait_until: WaitUntil) -> tuple[Started, list[int]]:
        """Start a farmer on the terminal; return it, and the pids of guard, farmer, task and grandchild."""
        farm.write(["exec 3<> gate; sleep 60 & echo $$ $! > pids; mv pids up; read -u 3; kill $!"])
        os.mkfifo(farm.directory / "gate")
        started = terminal.start(farm)
        wait_until(
            lambda: terminal.look() and (farm.directory / "up").exists(), state=terminal.look, hopeless=started.over
        )
        farmer = started.farmer
        assert farmer is not None
        return started, [started.guard.pid, farmer, *map(int, (farm.directory / "up").read_text().split())]

    def test_stops_and_continues_everybody(
        self, farm: Farm, terminal: Terminal, watched: tuple[Started, list[int]], wait_until: WaitUntil
    ) -> None:
        """Ctrl-Z stops guard, farmer and tasks, `fg` lets them go on, as often as one likes."""
        started, everybody = watched
        for _ in range(2):
            terminal.type(b"\x1a")
            wait_until(lambda: {"T"} == {state(pid) for pid in everybody})
            os.killpg(started.guard.pid, signal.SIGCONT)
            wait_until(lambda: "T" not in {state(pid) for pid in everybody})
        release(farm.directory / "gate")
        wait_until(started.over, state=terminal.look)
        assert 0 == started.wait()
        assert [] == reasons(farm)
        assert b"1 of 1 finished" in terminal.look()

    def test_ends_the_farm_on_request(
        self, farm: Farm, terminal: Terminal, watched: tuple[Started, list[int]], wait_until: WaitUntil
    ) -> None:
        """Ctrl-C stops the farm."""
        started, everybody = watched
        terminal.type(b"\x03")
        wait_until(started.over, state=terminal.look)
        assert 3 == started.wait()
        assert [False] * 4 == [alive(pid) for pid in everybody]
        farm.balance(1, "toprocess")
        assert ["stop (SIGINT)"] == reasons(farm)

    def test_ends_the_farm_when_it_is_closed(
        self, farm: Farm, terminal: Terminal, watched: tuple[Started, list[int]]
    ) -> None:
        """Closing the terminal's window stops the farm, and the summary that nobody can see is no error."""
        started, everybody = watched
        terminal.close()
        assert 3 == started.wait()
        assert [False] * 4 == [alive(pid) for pid in everybody]
        farm.balance(1, "toprocess")
        assert ["stop (SIGHUP)"] == reasons(farm)

    def test_may_stop_background_output(self, farm: Farm, terminal: Terminal, wait_until: WaitUntil) -> None:
        """The farmer prints also after `stty tostop`, although its process group is in the background."""
        terminal.stop_background_output()
        farm.write(["true"])
        started = terminal.start(farm)
        wait_until(started.over, state=lambda: state(started.farmer or started.guard.pid), seconds=5)
        assert 0 == started.wait()
        assert b"1 of 1 finished" in terminal.look()


class TestNohup:
    def test_makes_a_hangup_nothing(self, farm: Farm, wait_until: WaitUntil, require: Callable[[str], str]) -> None:
        """Under nohup, a HUP to the guard, the farmer and the task changes nothing."""
        farm.write(["exec 3<> gate; echo $$ > pid; mv pid up; read -u 3"])
        os.mkfifo(farm.directory / "gate")
        command = [require("nohup"), *COMMAND, farm.list.name]
        started = Started(command, farm.directory, farm.directory / "nohup.out")
        farm.started.append(started)
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        tell(started, signal.SIGHUP, "both")
        os.kill(int((farm.directory / "up").read_text()), signal.SIGHUP)
        release(farm.directory / "gate")
        assert 0 == started.wait()
        assert [] == reasons(farm)


class TestAnyMoment:
    def test_of_the_start(self, farm: Farm, mark: Any) -> None:
        """A stop at any moment of the start-up leaves books from which the next run finishes everything."""
        farm.write(["[ -e go ] || sleep 60"] * 3)
        for delay in range(0, 360, 40):
            started = farm.start("--grace", "0.1")
            time.sleep(delay / 1000)
            started.signal(signal.SIGTERM)
            assert started.wait() in {3, -signal.SIGTERM}, f"{delay} ms: {started.output}"
            assert [] == mark.living()
            assert "Traceback" not in started.output
        (farm.directory / "go").touch()
        assert 0 == farm.run()
        farm.balance(3, "finished")

    @pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
    def test_of_the_end(self, farm: Farm, busy: Callable[..., Started], mark: Any, name: str) -> None:
        """However many signals come until the very end, the farmer leaves as one that was stopped once."""
        started = busy("--grace", "0.2")
        number = getattr(signal, f"SIG{name}")
        while not started.over():
            with contextlib.suppress(ProcessLookupError, AssertionError):
                tell(started, number, "both")
            time.sleep(0.001)
        assert_stopped(farm, started, f"stop (SIG{name})", mark)
