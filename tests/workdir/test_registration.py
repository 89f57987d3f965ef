"""Who enters and who leaves, while others do the same: creators, growing lists, visitors, and deaths at that moment."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from protocol_world import World

from pytaskfarmer.errors import FarmError, WorkdirError
from pytaskfarmer.handlers.lines import Lines
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.workdir import identity, locking, records, register, roster
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.opening import Opened, Opening, Wish
from pytaskfarmer.workdir.registration import visit
from pytaskfarmer.workdir.source import Source


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with a list of six tasks that nobody has opened."""
    world = World(tmp_path, ["true"] * 6)
    yield world
    for who in range(3):
        world.die(who)


@dataclass
class ReadSlowly:
    """The default handler, but things may happen after it has read the list for the first time."""

    then: Callable[[], None] | None

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the tasks, and let it happen."""
        yield from Lines().tasks(tasklist)
        then, self.then = self.then, None
        if then is not None:
            then()


def opened(
    world: World,
    *,
    meanwhile: Callable[[], None] | None = None,
    kill: Callable[[identity.Farmer], None] = lambda farmer: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Opened:
    """Open the directory as one more farmer, which stays registered until its files are closed."""
    source = Source(Tasklist(world.source.path, world.layout.root), ReadSlowly(meanwhile), "default")
    opening = Opening(world.layout, source, Wish(1, lock="flock"), lambda line: None, interrupted, kill)
    return opening.run()


def close(one: Opened) -> None:
    """Let go of everything, as a death does."""
    one.books.own.close()
    one.books.life.drop()


class TestACreatorThatFails:
    def test_leaves_the_lock_that_others_hold(self, world: World) -> None:
        """A farmer that meets a full disk while another one creates the run takes nothing away from that one."""
        inside: list[bool] = []

        def before(operation: str, where: object) -> None:
            if operation == "create" and str(where).startswith(world.layout.register):
                disk.before = None
                world.open(0, False)
                inside.append(world.farmers[0].books.try_lock())
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)

        disk.before = before
        try:
            with pytest.raises(WorkdirError, match="No space left"):
                opened(world)
        finally:
            disk.before = None
        assert [True] == inside
        assert not locking.choose(world.layout, "flock").main().try_acquire()
        assert list(range(6)) == sorted(records.ids(world.layout.toprocess))

    def test_leaves_nothing(self, world: World) -> None:
        """Where nobody else was, no trace remains."""

        def before(operation: str, where: object) -> None:
            if operation == "link":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)

        disk.before = before
        try:
            with pytest.raises(WorkdirError, match="No space left"):
                opened(world)
        finally:
            disk.before = None
        assert not os.path.exists(world.layout.root)

    def test_among_more_dead_than_are_looked_at_is_replaced(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that died while it set up the directory is not waited for, however many farmers died with it."""
        monkeypatch.setattr(roster, "MOST_DEAD", 1)
        world.open(0, False)
        world.die(0)
        known, creator = register.read(world.layout), world.farmers[0].name
        assert known is not None
        register.update(world.layout, known, state=register.EXPANDING, expander=creator)
        for number in range(2):
            Path(world.layout.claim_lock(f"!dead-{number}")).touch()
        asked = iter([False] * 5)
        one = opened(world, interrupted=lambda: next(asked, True))
        assert one.books.register.complete
        assert [one.books.own.farmer.name] == roster.names(world.layout)
        close(one)


class TestAListThatGrows:
    """One farmer has opened six tasks; three more were appended when another one comes."""

    @pytest.mark.parametrize("more", [0, 2])
    def test_under_two_farmers_at_once(self, world: World, more: int) -> None:
        """Each appended line becomes one task, although somebody else appends and grows while the list is read."""
        world.open(0, False)
        world.grow(["true"] * 3)

        def meanwhile() -> None:
            world.grow(["true"] * more)
            world.open(1, False)

        last = opened(world, meanwhile=meanwhile)
        known = register.read(world.layout)
        assert known is not None
        assert 9 + more == known.tasks
        assert list(range(9 + more)) == sorted(records.ids(world.layout.toprocess))
        again = opened(world)
        assert (9 + more, None) == (again.books.register.tasks, again.census), "healthy, and known as it is"
        for one in (last, again):
            close(one)

    def test_by_half_a_line_is_taken_over_once(self, world: World) -> None:
        """While the end of a line is missing, those who come find a healthy run, and change nothing in it."""
        world.open(0, False)
        with open(world.source.path, "a") as tasklist:
            tasklist.write("true\ntru")
        first = opened(world)
        known = register.read(world.layout)
        assert known is not None
        assert 7 == known.tasks
        second = opened(world)
        assert (known.generation, None) == (second.books.register.generation, second.census)
        for one in (first, second):
            close(one)

    def test_by_a_line_that_is_not_complete(self, tmp_path: Path) -> None:
        """An appended line without its end is left out, which is said, and taken when the end is there."""
        tasklist = tmp_path / "list"
        layout = Layout(str(tmp_path / "list_workdir"))

        def finished(text: str) -> tuple[list[str], str]:
            tasklist.write_text(text)
            run = [sys.executable, "-m", "pytaskfarmer", "run", "-n", "1", "list"]
            done = subprocess.run(run, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=20)
            assert 0 == done.returncode, done.stdout + done.stderr
            return [line.decode() for _, line in records.scan(layout.finished)], done.stdout + done.stderr

        half, whole = "echo --seed 1", "echo --seed 12"
        assert ["true 0", "true 1"] == finished("true 0\ntrue 1")[0], (
            "at first, the end of the last line may be missing"
        )
        assert ["true 0", "true 1"] == finished("true 0\ntrue 1")[0]
        lines, words = finished(f"true 0\ntrue 1\ntrue 2\n{half}")
        assert ["true 0", "true 1", "true 2"] == lines
        assert "no line end" in words
        lines, words = finished(f"true 0\ntrue 1\ntrue 2\n{half}")
        assert ["true 0", "true 1", "true 2"] == lines
        lines, words = finished(f"true 0\ntrue 1\ntrue 2\n{whole}\n")
        assert ["true 0", "true 1", "true 2", whole] == lines
        assert "no line end" not in words
        assert [*lines, "true"] == finished(f"true 0\ntrue 1\ntrue 2\n{whole}\ntrue\n")[0]


BUSY = """
import fcntl, sys, time
lock = open(sys.argv[1])
print(flush=True)
while True:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        continue
    time.sleep(0.001)
    fcntl.flock(lock, fcntl.LOCK_UN)
    time.sleep(0.0005)
"""


class TestAVisitor:
    """A command that changes a run is registered for a moment."""

    def test_leaves_nothing_while_others_are_busy(self, world: World) -> None:
        """However often others take the lock, no claims are left for an audit."""
        world.open(0, False)
        with subprocess.Popen([sys.executable, "-c", BUSY, world.layout.lock], stdout=subprocess.PIPE) as busy:
            assert busy.stdout is not None
            busy.stdout.readline()
            try:
                for _ in range(100):
                    with visit(world.layout, lambda farmer: None):
                        pass
                    assert [world.farmers[0].name] == roster.names(world.layout)
            finally:
                busy.kill()

    def test_that_fails_leaves_nothing(self, world: World) -> None:
        """Neither does one that was refused what it wanted."""
        world.open(0, False)
        with pytest.raises(FarmError, match="refused"), visit(world.layout, lambda farmer: None):
            raise FarmError("refused")
        assert [world.farmers[0].name] == roster.names(world.layout)


@pytest.mark.parametrize("who", ["farmer", "visitor"])
def test_whoever_dies_while_leftovers_are_killed_is_not_forgotten(world: World, who: str) -> None:
    """The tasks of one that dies in that moment are given to others only when its leftovers were killed too."""
    world.open(0, False)
    world.open(1, False)
    first, second = sorted(world.farmers[:2], key=lambda farmer: farmer.name)  # found in this order
    world.die(world.farmers.index(first))
    killed: set[str] = set()

    def kill(farmer: identity.Farmer) -> None:
        assert farmer.name in roster.names(world.layout), "buried before its leftovers were killed"
        killed.add(farmer.name)
        world.die(world.farmers.index(second))

    if who == "farmer":
        close(opened(world, kill=kill))
    else:
        with visit(world.layout, kill):
            pass
    buried = {first.name, second.name}.difference(roster.names(world.layout))
    assert first.name in buried
    assert buried <= killed
