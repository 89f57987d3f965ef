"""What a farmer notes on a disk that fails twice in a row."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytaskfarmer.workdir import claims, identity
from pytaskfarmer.workdir.claims import OwnClaims
from pytaskfarmer.workdir.layout import disk


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnClaims]:
    own = OwnClaims(str(tmp_path / "claims"), identity.introduce("run", 1))
    yield own
    disk.before = None
    own.close()


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


def tear(own: OwnClaims, task: tuple[int, bytes], written: bytes, *, stuck: bool) -> None:
    """Let a note be written in part; if `stuck`, the file cannot be made shorter either."""

    def before(operation: str, where: object) -> None:
        if operation == "append":
            assert isinstance(where, int)
            os.write(where, written)
            raise OSError(errno.ENOSPC, "full")
        if operation == "truncate" and stuck:
            raise OSError(errno.EIO, "stuck")

    disk.before = before
    with pytest.raises(OSError, match="stuck" if stuck else "full"):
        own.hold([task])
    disk.before = None


def on_disk(tmp_path: Path) -> dict[int, str]:
    return claims.read(str(tmp_path / "claims")).texts


def test_half_a_note_that_stays_does_not_become_a_note(own: OwnClaims, tmp_path: Path) -> None:
    """What a failed write left, and nobody could cut off, is no task when the next note stands behind it."""
    tear(own, (0, b"rm -r ./build/old"), b"hold 0 rm -r .", stuck=True)
    own.hold([(1, b"one")])
    assert {1: "one"} == on_disk(tmp_path)


def test_a_later_failure_takes_no_good_note_away(own: OwnClaims, tmp_path: Path) -> None:
    """After half a note that stays, the next one that is taken back leaves all notes in between."""
    tear(own, (0, b"x" * 60), b"hold 0 " + b"x" * 30, stuck=True)
    own.hold([(1, b"one"), (2, b"two")])
    tear(own, (3, b"three"), b"hold 3 th", stuck=False)
    assert {1: "one", 2: "two"} == on_disk(tmp_path)
    own.hold([(3, b"three")])
    assert {1: "one", 2: "two", 3: "three"} == on_disk(tmp_path)


def test_a_rewritten_file_is_the_one_that_is_written(
    own: OwnClaims, tmp_path: Path, patched: pytest.MonkeyPatch
) -> None:
    """Nothing can fail once the rewritten file has the name: else the farmer would go on writing to the old one."""
    own.hold([(number, b"x" * 1000) for number in range(1000)])
    own.returned(list(range(1, 1000)))
    own.flush()
    path, open_it = str(tmp_path / "claims"), disk.open

    def refuse(name: str, flags: int) -> int:
        if name == path:
            raise OSError(errno.EIO, "passing")
        return open_it(name, flags)

    patched.setattr(disk, "open", refuse)
    size = os.stat(path).st_size
    own.compact()
    patched.undo()
    assert os.stat(path).st_size < size / 100
    own.hold([(1000, b"later")])
    assert own.is_file()
    assert {0: "x" * 1000, 1000: "later"} == on_disk(tmp_path)
