"""What every test can rely on: a clean environment, a mark on its processes, and none of them left at its end."""

import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Mark:
    """An environment variable that every process started by one test inherits, unless it cleans its environment."""

    name: str

    def living(self) -> list[int]:
        """Return the pids of all processes that carry the mark and are no zombies."""
        return [pid for pid in _pids() if self._is_on(pid)]

    def kill_all(self) -> None:
        """KILL them, those excepted that are gone by then."""
        for pid in self.living():
            _kill(pid)

    def _is_on(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as environment:
                return b"\0" + self.name.encode() + b"=" in b"\0" + environment.read()
        except OSError:  # gone, or another user's
            return False


@pytest.fixture(scope="session", autouse=True)
def heeded_signals() -> None:
    """Let what the tests start heed INT and QUIT, which a shell lets its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the batch allocation or the farm in which the tests themselves may run."""
    for name in tuple(os.environ):
        if name.startswith(("SLURM_", "SGE_", "PYTASKFARMER_", "PROC_NUMBER")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def mark(no_allocation: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mark]:
    """Mark every process that the test starts; one that is alive a second after its end is killed, and a failure."""
    mark = Mark(f"PYTEST_MARK_{secrets.token_hex(8)}")
    children = _children()
    monkeypatch.setenv(mark.name, "1")

    def left() -> set[int]:
        return {*mark.living(), *_children() - children}

    yield mark
    end = time.monotonic() + 1
    while left() and time.monotonic() < end:
        time.sleep(0.01)
    if alive := left():
        commands = [_command(pid) for pid in sorted(alive)]
        while alive := left():
            for pid in alive:
                _kill(pid)
        pytest.fail("left alive: " + "; ".join(commands))


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Return `wait_until(condition, state=..., hopeless=..., seconds=...)`."""
    return _wait_until


@pytest.fixture
def require() -> Callable[[str], str]:
    """Return `require(program)`: its path. Without it the test is skipped, but in CI fails: see `CI`."""
    return _require


def _wait_until(
    condition: Callable[[], object],
    *,
    state: Callable[[], object] = lambda: "unknown",
    hopeless: Callable[[], object] = lambda: False,
    seconds: float = 20,
) -> None:
    """Return once `condition()` holds; fail with `state()` after `seconds`, or when it is `hopeless()`."""
    end = time.monotonic() + seconds
    while not condition():
        if hopeless() and not condition():
            pytest.fail(f"can no longer happen; the last state was {state()}")
        if time.monotonic() > end:
            pytest.fail(f"did not happen in {seconds} s; the last state was {state()}")
        time.sleep(0.005)


def _require(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _children() -> set[int]:
    """Return the living children of this process, which a fork without exec leaves unmarked."""
    me, found = str(os.getpid()), set()
    for pid in _pids():
        state, parent = _state_and_parent(pid)
        if parent == me and state not in "ZX":
            found.add(pid)
    return found


def _state_and_parent(pid: int) -> tuple[str, str]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            state, parent = stat.read().rpartition(b")")[2].decode().split()[:2]
    except OSError:
        return "X", ""
    return state, parent


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            return f"{pid} {words.read().replace(bytes(1), b' ').decode(errors='replace').strip()!r}"
    except OSError:
        return f"{pid}, gone meanwhile"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
