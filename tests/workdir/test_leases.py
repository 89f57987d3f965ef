"""Leases, for file systems without kernel locks: the same books, with files that expire instead of locks."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytaskfarmer.errors import LockError
from pytaskfarmer.workdir import locking, records, roster
from pytaskfarmer.workdir.layout import Layout

HOLDER = """
import sys, time
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.locking import Leases
locks = Leases(Layout(sys.argv[1]), 60.0)
life = locks.live(sys.argv[2])
main = locks.main()
assert main.try_acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    os.makedirs(layout.claims)
    return layout


def farm(place: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pytaskfarmer", "run", "list", "--lock", "lease", *options]
    return subprocess.Popen(command, cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_node_full_of_processes_is_no_fault_of_the_lease(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be had to refresh it, the lease is not taken, and the error is one that passes."""
    main = locking.Leases(layout, 60.0).main()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(BlockingIOError):
            main.try_acquire()
    assert main.try_acquire()
    main.release()


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, 524])
def test_a_file_system_that_refuses_kernel_locks(layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whatever name it gives to that, leases are chosen, or asked for; 524 is what DVS says."""

    def refuse(fd: int, *, blocking: bool) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking, "lock_descriptor", refuse)
    assert os.strerror(number) == locking.refusal(layout.root)
    main = locking.KernelLocks(layout).main()
    with pytest.raises(LockError, match="Use --lock lease"):
        main.try_acquire()
    main.close()


def test_a_lease_excludes_until_its_holder_dies(layout: Layout) -> None:
    """While its holder lives nobody else gets a lease; when it is dead, its main lock and its life can be taken."""
    claim = layout.claim_lock("holder")
    locks = locking.Leases(layout, 60.0)
    main = locks.main()
    with subprocess.Popen([sys.executable, "-c", HOLDER, layout.root, claim], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        assert not main.try_acquire()
        assert not locks.take_over(claim)
        assert str(holder.pid) in main.holder()
        holder.kill()
    assert locks.take_over(claim)
    assert main.try_acquire() or main.try_acquire()
    assert not main.overdue()
    main.release()
    locks.forget(claim)
    assert not os.path.exists(claim)


def test_a_life_notices_that_it_was_taken(layout: Layout) -> None:
    """A farmer whose lease file was replaced holds nothing any more."""
    path = layout.claim_lock("farmer")
    life = locking.Leases(layout, 60.0).live(path)
    assert life.held()
    os.unlink(path)
    assert not life.held()
    life.drop()


def test_a_section_that_lasts_too_long_is_overdue(layout: Layout) -> None:
    """After a third of its lease a holder must write no more."""
    main = locking.Leases(layout, 0.6).main()
    assert main.try_acquire()
    assert not main.overdue()
    time.sleep(0.21)
    assert main.overdue()
    main.release()


def test_farmers_share_a_list_by_leases(tmp_path: Path) -> None:
    """Three farmers at once run every task once, and leave no lease behind."""
    (tmp_path / "list").write_text("".join(f"echo {n} >> ran\n" for n in range(60)))
    farmers = [farm(tmp_path, "-n", "2") for _ in range(3)]
    assert [0, 0, 0] == [farmer.wait(30) for farmer in farmers], [farmer.communicate()[0] for farmer in farmers]
    for farmer in farmers:
        farmer.communicate()
    layout = Layout(str(tmp_path / "list_workdir"))
    assert list(range(60)) == sorted(records.ids(layout.finished))
    assert sorted(map(str, range(60))) == sorted((tmp_path / "ran").read_text().split())
    assert [] == roster.names(layout)
    assert not os.path.exists(layout.lease)


def test_a_farmer_killed_under_leases_is_replaced(tmp_path: Path) -> None:
    """After farmer and guard were killed, the next command runs what is left, at once."""
    (tmp_path / "list").write_text("touch up; sleep 20\n" + "true\n" * 5)
    first = farm(tmp_path, "-n", "1")
    while not (tmp_path / "up").exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.01)
    layout = Layout(str(tmp_path / "list_workdir"))
    (name,) = roster.names(layout)
    os.kill(int(name.split("-")[-3]), signal.SIGKILL)
    first.wait(10)
    first.communicate()
    second = farm(tmp_path, "-n", "2", "--timeout", "1.5", "--grace", "0.1")
    assert 3 == second.wait(30), second.communicate()[0]
    second.communicate()
    assert [1, 2, 3, 4, 5] == sorted(records.ids(layout.finished))
    assert [0] == sorted(records.ids(layout.toprocess))
    ended = {event["args"]["id"] for event in json.loads(Path(layout.timeline).read_text()) if event["ph"] == "X"}
    assert {0, 1, 2, 3, 4, 5} == ended
