"""Who lives, who is dead, and of whom nobody can tell."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from protocol_world import World

from pytaskfarmer.errors import FarmError
from pytaskfarmer.workdir import identity, records, register, roster
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.roster import Attendance


def claim(
    layout: Layout,
    number: int = 0,
    *,
    host: str | None = None,
    boot: str | None = None,
    beat: float = 0.0,
    holding: tuple[int, ...] = (),
) -> str:
    """Write the claims of a farmer of this or another host and boot, whose lock nobody has; return its name."""
    known = register.read(layout)
    assert known is not None
    me = identity.introduce(known.run, 1)
    host, boot = host or me.host, boot or me.boot
    name = f"{host}-{number}-s1-{number:08x}"
    farmer = replace(me, name=name, host=host, boot=boot, namespace="another")
    notes = "".join(f"hold {task_id} true\n" for task_id in holding)
    Path(layout.claim(name)).write_text(f"farmer {json.dumps(asdict(farmer))}\n{notes}")
    lock = Path(layout.claim_lock(name))
    lock.touch()
    os.utime(lock, (time.time() + beat,) * 2)
    return name


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which farmer 0 has opened a list of six tasks."""
    world = World(tmp_path, ["true"] * 6)
    world.open(0, False)
    yield world
    for who in range(3):
        world.die(who)


@pytest.fixture
def books(world: World) -> Books:
    return world.farmers[0].books


def attendance(books: Books) -> Attendance:
    assert books.try_lock()
    with books.section():
        return books.roster.attendance()


def test_what_a_file_system_leaves_is_no_farmer(world: World, books: Books) -> None:
    """A lock file removed while it was open, which NFS keeps under another name, has no farmer."""
    for name in (".nfs00000000deadbeef00000001", ".nfs0000000000000042.lock"):
        (Path(world.layout.claims) / name).touch()
    assert [] == books.roster.others()
    assert [books.own.farmer.name] == roster.names(world.layout)


elsewhere = pytest.mark.parametrize(("host", "boot"), [("elsewhere", None), (None, "another")])


class TestAFreeLock:
    def test_of_this_boot_means_death(self, world: World, books: Books) -> None:
        """Of a farmer of this boot of this host the kernel knows, however fresh its heartbeat is."""
        name = claim(world.layout)
        assert Attendance(dead=(name,)) == attendance(books)

    @elsewhere
    def test_of_another_one_does_not(self, world: World, books: Books, host: str | None, boot: str | None) -> None:
        """A farmer of elsewhere with a fresh heartbeat counts as living, by its name, until more is known."""
        name = claim(world.layout, host=host, boot=boot)
        assert Attendance(undecided=(name,)) == attendance(books) == attendance(books)
        assert (name,) == attendance(books).others

    @elsewhere
    def test_and_a_heart_that_stood_still_mean_death(
        self, world: World, books: Books, host: str | None, boot: str | None
    ) -> None:
        """A heartbeat that is old by the clock of the file system is believed at once."""
        name = claim(world.layout, beat=-6 * roster.HEARTBEAT, host=host, boot=boot)
        assert Attendance(dead=(name,)) == attendance(books)

    def test_without_a_name_means_death(self, world: World, books: Books) -> None:
        """Claims that do not say whose they are belong to one that died before it could write them."""
        Path(world.layout.claim_lock("elsewhere-1-s1-00000000")).touch()
        assert Attendance(dead=("elsewhere-1-s1-00000000",)) == attendance(books)

    def test_and_silence_mean_death(self, world: World, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
        """A heartbeat that does not advance for long enough is that of the dead, whatever its time says."""
        monkeypatch.setattr(roster, "_SILENCE_THAT_PROVES", 0.3)
        name = claim(world.layout, beat=+600.0, host="elsewhere")
        assert Attendance(undecided=(name,)) == attendance(books)
        time.sleep(0.2)
        os.utime(world.layout.claim_lock(name), (time.time() + 700,) * 2)
        assert Attendance(undecided=(name,)) == attendance(books)
        time.sleep(0.2)
        assert Attendance(undecided=(name,)) == attendance(books), "silent for 0.2 s only"
        time.sleep(0.2)
        assert Attendance(dead=(name,)) == attendance(books)

    def test_and_a_heart_that_beats_end_the_run(self, world: World, books: Books) -> None:
        """A heartbeat that advances twice is that of the living: locks do not reach it, and a line says what to do."""
        name = claim(world.layout, beat=-3.0, host="elsewhere")
        path = world.layout.claim_lock(name)
        for beat in (2.0, 1.0):
            os.utime(path, (time.time() - beat,) * 2)
            assert Attendance(undecided=(name,)) == attendance(books)
        os.utime(path)
        with pytest.raises(FarmError, match=f"^{world.layout.root}: farmer {name} .*--lock lease[^\n]*$"):
            attendance(books)

    def test_is_let_go(self, world: World, books: Books) -> None:
        """An undecided farmer may come back and find its lock free; that of a dead one stays taken until its audit."""
        undecided, dead = claim(world.layout, 1, host="elsewhere"), claim(world.layout, 2)
        assert Attendance(dead=(dead,), undecided=(undecided,)) == attendance(books)
        free = [subprocess.call(["flock", "-n", world.layout.claim_lock(name), "true"]) for name in (undecided, dead)]
        assert [0, 1] == free


class TestAnAudit:
    def test_leaves_the_undecided_what_they_hold(self, world: World, books: Books) -> None:
        """A farmer that opens the directory does not take the tasks of one of whom it cannot tell."""
        Path(world.layout.toprocess).write_text("".join(f"{i} true\n" for i in (5, 4, 3, 2)))
        name = claim(world.layout, host="~elsewhere", holding=(0, 1))
        claim(world.layout, 1)  # dead, and found first: makes an audit
        world.open(1, False)
        assert {name, *(farmer.name for farmer in world.farmers[:2])} == set(roster.names(world.layout))
        assert [2, 3, 4, 5] == sorted(records.ids(world.layout.toprocess))
        os.utime(world.layout.claim_lock(name), (0, 0))
        world.die(0)
        world.die(1)
        world.open(2, False)
        assert [world.farmers[2].name] == roster.names(world.layout)
        assert list(range(6)) == sorted(records.ids(world.layout.toprocess))

    def test_of_more_dead_than_descriptors(self, tmp_path: Path) -> None:
        """A run of which 1,100 farmers died at once can be opened by one that may open 256 files."""
        (tmp_path / "list").write_text("true\n" * 3)
        layout = Layout(str(tmp_path / "w"))
        run = ["prlimit", "--nofile=256", sys.executable, "-m", "pytaskfarmer", "run", "list", "-w", "w"]
        subprocess.run([*run, "--timeout", "0.000001"], cwd=tmp_path, check=False, capture_output=True, timeout=20)
        for number in range(1100):
            claim(layout, number, boot="another", beat=-1e6)
        done = subprocess.run(run, cwd=tmp_path, check=False, capture_output=True, timeout=40)
        assert (0, b"") == (done.returncode, done.stderr), done.stdout
        assert ([], [0, 1, 2]) == (roster.names(layout), sorted(records.ids(layout.finished)))
