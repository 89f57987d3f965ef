"""Changes that fail half-way, and what a farmer leaves behind that was taken for dead."""

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from protocol_world import FAILURE, QUIETLY, SUCCESS, World

from pytaskfarmer.farm.leaving import Decision, Leaving
from pytaskfarmer.workdir import recovery, timeline
from pytaskfarmer.workdir.books import Books, Evicted
from pytaskfarmer.workdir.layout import disk
from pytaskfarmer.workdir.registration import withdraw


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with two farmers, of whom the first has claimed both tasks."""
    world = World(tmp_path, ["true"] * 2)
    world.turn(0, 0)
    world.turn(0, 0)
    world.open(1, False)
    yield world
    disk.before = None
    for who in range(3):
        world.die(who)


def locked(books: Books) -> Books:
    assert books.try_lock()
    return books


def full(operation: str, where: object) -> None:
    if operation == "append":
        raise OSError(errno.ENOSPC, "full")


def test_others_are_noticed(tmp_path: Path) -> None:
    """A farmer knows that it was alone as long as nobody else changed the list, and not longer."""
    world = World(tmp_path, ["true"] * 60)
    for _ in range(4):
        world.turn(0, SUCCESS | SUCCESS << 2)
    alone = world.farmers[0].books
    with locked(alone).section():
        disk.before = full
        with pytest.raises(OSError, match="full"):
            alone.claim(1)
        disk.before = None
    for _ in range(2):
        world.turn(0, SUCCESS | SUCCESS << 2)
    assert not alone.others_came, "what could not be claimed is there still"
    world.turn(1, 0)
    world.turn(1, 0)
    for _ in range(2):
        world.turn(0, SUCCESS | SUCCESS << 2)
    assert alone.others_came
    for who in range(2):
        world.die(who)


def test_an_instant_is_plotted_once(world: World) -> None:
    """A commit of which only the last note fails has plotted its instants, and the next one does not again."""
    world.turn(0, QUIETLY)
    farmer = world.farmers[0]
    farmer._take_in(SUCCESS | SUCCESS << 2, False)
    instants = [timeline.instant_event("drain", 1.0, 1)]

    def before(operation: str, where: object) -> None:
        if operation == "append" and where == farmer.own._fd:
            raise OSError(errno.ENOSPC, "full")

    farmer.own.flush()
    disk.before = before
    with locked(farmer.books).section(), pytest.raises(OSError, match="full"):
        farmer.books.commit(instants)
    disk.before = None
    with locked(farmer.books).section():
        farmer.books.commit(instants)
    farmer.own.flush()
    events = json.loads(Path(world.layout.timeline).read_bytes())
    names = [event["name"] for event in events]
    assert 1 == sum("drain" in name for name in names), names
    lanes = [event for event in events if event.get("ph") == "M" and event["pid"] == farmer.own.lane]
    assert len(lanes) == len({json.dumps(event) for event in lanes}), "and the lane is told once"
    assert 0 == farmer.own.count
    world.check()


def test_a_commit_that_fails_twice_is_taken_back_whole(world: World) -> None:
    """Where one book is full, and the other one's file server then complains, neither keeps a line."""
    world.turn(0, QUIETLY)
    farmer = world.farmers[0]
    farmer._take_in(SUCCESS | FAILURE << 2, False)

    def before(operation: str, where: object) -> None:
        path = _target(str(where))
        if isinstance(where, int) and (operation, path) == ("append", world.layout.failed):
            os.write(where, b"1 true\n1")
            raise OSError(errno.ENOSPC, "full")
        if isinstance(where, int) and (operation, path) == ("close", world.layout.finished):
            os.close(where)
            raise OSError(errno.EIO, "complains")

    disk.before = before
    with locked(farmer.books).section(), pytest.raises(OSError, match="full"):
        farmer.books.commit([])
    disk.before = None
    assert [b"", b""] == [Path(path).read_bytes() for path in (world.layout.finished, world.layout.failed)]
    with locked(farmer.books).section():
        farmer.books.commit([])
    world.check()


def test_unsettled_books_want_an_audit_of_ones_own(world: World) -> None:
    """A farmer of whose tasks some are nowhere does not leave because another one has audited, but finds them."""
    mine, other = world.farmers[1].books, world.farmers[0].books
    leaving = Leaving(mine, wait=False)
    leaving.found_empty()
    with locked(other).section():
        recovery.sweep(other, other.roster.attendance())
    mine.unsettled = True
    decided = None
    while decided in {None, Decision.STAY}:
        time.sleep(0.01)  # sweeps keep a distance
        with locked(mine).section():
            decided = leaving.decide(time.monotonic())
    assert (Decision.LEAVE, False) == (decided, mine.unsettled)
    assert leaving.census is not None


def test_the_locks_of_the_dead_go_with_an_evicted_farmer(world: World) -> None:
    """Whose lock an auditor took that was then evicted, is dead to the next farmer of the same process, too."""
    dead, evicted = world.farmers[0].name, world.farmers[1].books
    world.die(0)
    with locked(evicted).section():
        assert (dead,) == evicted.roster.attendance().dead
    os.unlink(world.layout.claim(evicted.own.farmer.name))
    os.unlink(world.layout.claim_lock(evicted.own.farmer.name))
    with pytest.raises(Evicted), locked(evicted).section():
        pass
    withdraw(evicted)
    assert not [link for link in map(_target, os.listdir("/proc/self/fd")) if link.startswith(world.layout.root)]
    world.open(2, False)
    assert not os.path.exists(world.layout.claim(dead))


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""
