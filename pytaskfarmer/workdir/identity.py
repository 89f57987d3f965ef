"""Who a farmer is, so that others can tell whether it lives, and which processes are its own."""

import os
import socket
import time
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Farmer:
    """Who a farmer is: enough to tell whether it can still be alive, and which of its processes are left."""

    name: str
    run: str
    host: str
    boot: str
    namespace: str
    pid: int
    ticks: int
    slots: int
    allocation: str = ""
    began: float = 0.0

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this boot of this host, so that the kernel's word about its lock is final."""
        return self.boot == boot_id() and self.host == host_name()

    @property
    def same_pids(self) -> bool:
        """Whether its process ids mean the same processes to us."""
        return self.here and self.namespace == pid_namespace()


@cache
def host_name() -> str:
    """Return this node's name, fit for a file name."""
    return socket.gethostname().split(".")[0].replace("/", "_") or "localhost"


def _line(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


@cache
def boot_id() -> str:
    """Return what changes when this node boots; empty where the kernel does not say."""
    return _line("/proc/sys/kernel/random/boot_id")


@cache
def pid_namespace() -> str:
    """Return which processes the ids of this process's /proc mean."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_ticks(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 if it has ended. With the pid it names one process."""
    stat = _line(f"/proc/{pid}/stat")
    if ")" not in stat:
        return 0
    state, *numbers = stat[stat.rindex(")") + 1 :].split()
    return 0 if state in "ZX" else int(numbers[18])


def introduce(run: str, slots: int, allocation: str = "") -> Farmer:
    """Return this process as a farmer of `run`."""
    pid, host = os.getpid(), host_name()
    name = f"{host}-{pid}-s{slots}-{os.urandom(4).hex()}"
    return Farmer(name, run, host, boot_id(), pid_namespace(), pid, start_ticks(pid), slots, allocation, time.time())


def slots_in(name: str) -> int:
    """Return the number of slots that a farmer's name tells; 1 if it does not."""
    for part in reversed(name.split("-")):
        if part.startswith("s") and part[1:].isdigit():
            return max(1, int(part[1:]))
    return 1
