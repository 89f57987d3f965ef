"""Processes of tasks: start them, and find and kill what they leave behind."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence

from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import encode
from pytaskfarmer.workdir.identity import Farmer, start_ticks

FARMER_MARK = "PYTASKFARMER_FARMER"
TASK_MARK = "PYTASKFARMER_TASK_ID"
NODE_IS_FULL = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT})
"""Why a task cannot be started although nothing is wrong with it."""

_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU)


def start(command: Command, environment: Mapping[str, str], output: int, passed: Sequence[int] = ()) -> int:
    """Start a command in a session of its own, with `output` as stdout and stderr; return its pid.

    It inherits the descriptors `passed`, which are inheritable from then on. Where the kernel refuses, the command's
    fallback is started. Raises OSError where there is none.
    """
    for descriptor in passed:
        os.set_inheritable(descriptor, True)
    try:
        return _start(command, environment, output, passed)
    except OSError:
        if command.fallback is None:
            raise
        return _start(command.fallback, environment, output, passed)


def _start(command: Command, environment: Mapping[str, str], output: int, passed: Sequence[int]) -> int:
    argv = [encode(word) for word in command.argv]
    program = encode(command.program or _look_up(command.argv[0], environment))
    if command.environment:
        environment = changed(environment, command.environment)
    if command.cwd is None:
        try:
            return _spawn(program, argv, environment, output)
        except NotImplementedError:
            pass  # this Python was built for a C library that cannot start a session: subprocess can
    return _start_by_subprocess(program, argv, environment, command.cwd, output, passed)


def _spawn(program: bytes, argv: list[bytes], environment: Mapping[str, str], output: int) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    return os.posix_spawn(
        program, argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
    )


def _start_by_subprocess(
    program: bytes,
    argv: list[bytes],
    environment: Mapping[str, str],
    cwd: str | None,
    output: int,
    passed: Sequence[int],
) -> int:
    import subprocess

    before = signal.signal(signal.SIGTTOU, signal.SIG_DFL)  # subprocess resets the other two by itself
    try:
        child = subprocess.Popen(
            argv, executable=program, env=environment, cwd=cwd, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, pass_fds=passed,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGTTOU, before)
    child.returncode = 0  # the loop waits for this pid itself; the object must neither wait nor warn
    return child.pid


def changed(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return an environment with changes; None takes a variable away."""
    result = dict(environment)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _look_up(name: str, environment: Mapping[str, str]) -> str:
    if "/" in name:
        return name
    for directory in environment.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise FileNotFoundError(2, "command not found", name)


def pidfds_work() -> bool:
    """Whether this kernel can tell us through a descriptor that a process has ended."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether a child has ended and waits to be reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_process(pid: int, number: int) -> None:
    """Send a signal; a process that is gone, or has become another user's, is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; one that is gone is no error."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def reap_group(group: int) -> tuple[bool, int]:
    """Reap members of a group that became our children; return whether none is left, and how many KILL had ended."""
    killed = 0
    while True:
        try:
            pid, status = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return True, killed
        if pid == 0:
            return False, killed
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def reap_strays(leaders: Iterable[int]) -> None:
    """Reap orphans of tasks that have ended; `leaders` are waited for elsewhere."""
    known = frozenset(leaders)
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return
        os.waitpid(ended.si_pid, 0)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children that have not ended."""
    return [child for child, parent in _parents().items() if parent == pid]


def _parents() -> dict[int, int]:
    """Return the parent of every process that has not ended."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = file.read()
            except OSError:
                continue
            state, parent = stat[stat.rindex(b")") + 1 :].split()[:2]
            if state not in b"ZX":
                parents[int(name)] = int(parent)
    return parents


def no_strays(leaders: Iterable[int]) -> bool:
    """Whether this process has no children but `leaders`; False also where the kernel does not list them cheaply."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return set(map(int, file.read().split())) <= set(leaders)
    except OSError:
        return False


def end_strays(leaders: Iterable[int], task_id: int | None = None, patience: float = 5.0) -> None:
    """Kill the processes that left their task's group: our children that lead no slot, and all below them.

    With a `task_id`, only those that still carry the mark of that task. Returns when a look finds none, since one that
    forks may slip through a single pass, or after `patience` seconds.
    """
    leaders = frozenset(leaders)
    give_up = time.monotonic() + patience
    with contextlib.suppress(OSError):  # no descriptor left to look with: the guard will find them
        while (strays := _strays(leaders, task_id)) and time.monotonic() < give_up:
            for pid in strays:
                signal_process(pid, signal.SIGKILL)
            time.sleep(0.001)


def _strays(leaders: frozenset[int], task_id: int | None) -> list[int]:
    parents = _parents()
    me = os.getpid()
    found = [
        pid
        for pid, parent in parents.items()
        if parent == me and pid not in leaders and (task_id is None or _has_mark(pid, task_id))
    ]
    below = found
    while below := [pid for pid, parent in parents.items() if parent in below]:
        found += below
    return found


def _has_mark(pid: int, task_id: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0%b=%d\0" % (TASK_MARK.encode(), task_id) in b"\0" + file.read()
    except OSError:
        return False


def kill_leftovers(farmer: Farmer, patience: float = 5.0) -> None:
    """Kill what a dead farmer of this node left running: the farmer itself, and processes of its user with its mark.

    Its guard normally did that; this is for the case that both were killed at once. Returns when all are gone, or
    after `patience` seconds.
    """
    import psutil

    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        left = [p.pid for p in psutil.process_iter() if _belongs_to(p, farmer)]
        if farmer.pid != os.getpid() and farmer.ticks and start_ticks(farmer.pid) == farmer.ticks:
            left.append(farmer.pid)
        if not left:
            return
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        time.sleep(0.02)


def _belongs_to(candidate: "psutil.Process", farmer: Farmer) -> bool:  # type: ignore[name-defined]  # noqa: F821
    import psutil

    try:
        if candidate.pid == os.getpid() or candidate.status() == psutil.STATUS_ZOMBIE:
            return False
        return candidate.uids().real == os.getuid() and bool(candidate.environ().get(FARMER_MARK) == farmer.name)
    except (psutil.Error, OSError):
        return False
