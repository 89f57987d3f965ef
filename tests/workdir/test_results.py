"""What tasks returned: kept in a file a farmer, and read back."""

import os
from pathlib import Path

import pytest

from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import results
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.results import Results


def attempt(task_id: int, number: int = 1, start: float = 100.0) -> Attempt:
    return Attempt(Task(task_id, "f"), number, 0, Outcome.SUCCESS, 0, start, 1.0)


def read(layout: Layout) -> dict[int, bytes | None]:
    return {task_id: result.read() for task_id, result in results.latest(layout).items()}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def test_come_back_as_they_were(layout: Layout) -> None:
    """Any bytes come back, by id in ascending order, from one file a farmer."""
    data = {2: b"", 0: b"1 1 success 0 1.0 3 00000000\nabc\n", 1: bytes(range(256)) * 1000}
    kept = Results(layout, "one")
    for task_id, value in data.items():
        kept.keep(attempt(task_id), value)
    kept.close()
    other = Results(layout, "two")
    other.keep(attempt(3), b"x")
    other.close()
    assert [(0, data[0]), (1, data[1]), (2, b""), (3, b"x")] == list(read(layout).items())
    assert ["one", "two"] == sorted(os.listdir(layout.results))


def test_the_latest_counts(layout: Layout) -> None:
    """Of two results of a task the later one counts, whichever file comes first."""
    for farmer, start, value in (("a", 200.0, b"new"), ("b", 100.0, b"old")):
        kept = Results(layout, farmer)
        kept.keep(attempt(7, start=start), value)
        kept.close()
    assert {7: b"new"} == read(layout)


@pytest.mark.parametrize("cut", [1, 3, 20, 30])
def test_a_torn_record_does_not_count(layout: Layout, cut: int) -> None:
    """A result of which a crash left only the beginning is not there; those before it are."""
    kept = Results(layout, "one")
    kept.keep(attempt(0), b"whole")
    kept.keep(attempt(1), b"torn here")
    kept.close()
    os.truncate(layout.results_of("one"), os.path.getsize(layout.results_of("one")) - cut)
    assert {0: b"whole"} == read(layout)


def test_a_full_disk_leaves_no_trace(layout: Layout, tmp_path: Path) -> None:
    """A result that does not fit is refused and leaves the file as it was; the next one is read back."""
    kept = Results(layout, "one")
    kept.keep(attempt(0), b"first")
    size = os.path.getsize(layout.results_of("one"))
    full = os.open(layout.results_of("one"), os.O_WRONLY | os.O_APPEND)

    def fill(operation: str, where: object) -> None:
        if operation == "append":
            os.write(full, b"half of")
            raise OSError(28, "No space left on device")

    disk.before = fill
    try:
        with pytest.raises(OSError, match="No space"):
            kept.keep(attempt(1), b"second")
    finally:
        disk.before = None
        os.close(full)
    assert size == os.path.getsize(layout.results_of("one"))
    kept.keep(attempt(1), b"third")
    kept.close()
    assert {0: b"first", 1: b"third"} == read(layout)


def test_no_results_is_no_error(layout: Layout) -> None:
    """A work directory whose tasks returned nothing has no file for it."""
    kept = Results(layout, "one")
    kept.sync()
    kept.close()
    assert {} == read(layout)
    assert not os.path.exists(layout.results)


def test_follow_any_length(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are followed in blocks, one that is longer than a block too, and one that is not whole yet later."""
    monkeypatch.setattr(results, "_AT_A_TIME", 64)
    data = [bytes([number]) * size for number, size in enumerate((5, 1000, 0, 63, 64, 65, 10))]
    kept = Results(layout, "one")
    for number, value in enumerate(data):
        kept.keep(attempt(number), value)
    kept.close()
    path = layout.results_of("one")
    with open(path, "rb") as file:
        whole = file.read()
    os.truncate(path, len(whole) - 3)
    following = results.Following(layout)
    assert data[:-1] == [value for _, value in following.new()]
    assert [] == list(following.new())
    with open(path, "ab") as file:
        file.write(whole[-3:])
    assert data[-1:] == [value for _, value in following.new()]
    following.close()


def test_an_unfinished_record_is_not_read_again_and_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a long record is not whole, one block of it is read a time; when it is, the record is read once."""
    monkeypatch.setattr(results, "_AT_A_TIME", 64)
    kept = Results(layout, "one")
    kept.keep(attempt(0), bytes(100_000))
    kept.close()
    path = layout.results_of("one")
    with open(path, "rb") as file:
        whole = file.read()
    os.truncate(path, 90_000)
    read, pread = [0], os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    following = results.Following(layout)
    assert [] == list(following.new())
    assert read[0] <= 64
    with open(path, "ab") as file:
        file.write(whole[90_000:])
    assert [100_000] == [len(data) for _, data in following.new()]
    assert read[0] <= len(whole) + 3 * 64
    following.close()


def test_many_farmers_are_followed_with_few_descriptors(layout: Layout) -> None:
    """Results of 200 farmers are followed, in two rounds, and only a few dozen of their files are kept open."""
    before = len(os.listdir("/proc/self/fd"))
    following = results.Following(layout)
    for visit in range(2):
        for number in range(200):
            kept = Results(layout, f"farmer{number:03}")
            kept.keep(attempt(number), b"%d %d" % (visit, number))
            kept.close()
        assert [b"%d %d" % (visit, number) for number in range(200)] == [data for _, data in following.new()]
        assert len(os.listdir("/proc/self/fd")) - before <= 64
    assert [] == list(following.new())
    following.close()
    assert before == len(os.listdir("/proc/self/fd"))


def test_a_torn_record_that_stays_hides_nothing_behind_it(layout: Layout) -> None:
    """Where a write fails half-way and cannot be taken back, what is kept later is read, and all of it is followed."""
    kept = Results(layout, "one")
    kept.keep(attempt(0), b"first")
    following = results.Following(layout)
    assert [b"first"] == [data for _, data in following.new()]

    def fail(operation: str, where: object) -> None:
        if operation == "append":
            assert isinstance(where, int)
            os.write(where, b"1 1 success 0 101.000000 1000 00000000\nhalf")
        if operation in {"append", "truncate"}:
            raise OSError(28, "No space left on device")

    for number in (1, 2):
        disk.before = fail
        try:
            with pytest.raises(OSError, match="No space"):
                kept.keep(attempt(number), b"lost")
        finally:
            disk.before = None
        kept.keep(attempt(number), b"kept %d" % number)
        assert [b"kept %d" % number] == [data for _, data in following.new()]
    kept.close()
    following.close()
    assert {0: b"first", 1: b"kept 1", 2: b"kept 2"} == read(layout)
    assert ["one", "one.1", "one.2"] == sorted(os.listdir(layout.results))
