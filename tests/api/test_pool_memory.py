"""A stream of calls takes no more memory the longer it is: not here, not in the farm, and not in its workers."""

import os
from collections.abc import Callable
from pathlib import Path

import called
import psutil
import pytest

from pytaskfarmer import Pool

pytestmark = pytest.mark.usefixtures("no_leftovers")

MEGABYTE = 1 << 20


def resident() -> list[int]:
    """Return how many bytes this process and each of its farm have in memory."""
    guards = [each for each in psutil.Process().children() if "pytaskfarmer.api.host" in each.cmdline()]
    family = [psutil.Process(), *guards, *(child for guard in guards for child in guard.children(recursive=True))]
    return [process.memory_info().rss for process in family]


def adding(data: bytes) -> Callable[[int], int]:
    """Return a function that brings these data along."""
    return lambda x: x + len(data)


@pytest.mark.parametrize(
    ("calls", "chunksize"),
    [
        (200_000, 50),
        (12_000, 1),
        pytest.param(1_000_000, 1, marks=[pytest.mark.proof, pytest.mark.timeout(1200)]),
    ],
)
def test_a_long_stream(calls: int, chunksize: int) -> None:
    """Ten times as many calls cost less than 8 MB in any process."""
    with Pool(2) as pool:
        stream = pool.imap(called.square, iter(range(calls)), chunksize)
        total = sum(next(stream) for _ in range(calls // 10))
        before = resident()
        total += sum(stream)
        after = resident()
    assert sum(number * number for number in range(calls)) == total
    assert len(before) == len(after) == 5
    assert all(late - early < 8 * MEGABYTE for early, late in zip(before, after, strict=True)), (before, after)


def test_large_results_of_a_stream(tmp_path: Path) -> None:
    """Nor do results that were read stay anywhere: 160 MB of them, one after the other."""
    with Pool(1) as pool:
        stream = pool.imap(bytes, iter([4 * MEGABYTE] * 40))
        sizes = {len(next(stream)) for _ in range(10)}
        before = resident()
        sizes |= {len(value) for value in stream}
        after = resident()
    assert {4 * MEGABYTE} == sizes
    assert all(late - early < 60 * MEGABYTE for early, late in zip(before, after, strict=True)), (before, after)


def test_functions_with_much_data(tmp_path: Path) -> None:
    """A function that is mapped again and again brings its data once, and of others only the last ones stay."""
    data = os.urandom(4 * MEGABYTE)
    with Pool(1, workdir=tmp_path / "named") as pool:
        lengths = {pool.map(adding(data), [1])[0] for _ in range(3)}
        before = resident()
        lengths |= {pool.map(adding(data), [1])[0] for _ in range(40)}
        after = resident()
        packed = sum(path.stat().st_size for path in (tmp_path / "named").rglob("*") if path.is_file())
        lengths |= {pool.map(adding(os.urandom(4 * MEGABYTE)), [1])[0] for _ in range(40)}
        others = resident()
    assert {4 * MEGABYTE + 1} == lengths
    assert packed < 5 * MEGABYTE
    assert all(late - early < 8 * MEGABYTE for early, late in zip(before, after, strict=True)), (before, after)
    assert all(late - early < 100 * MEGABYTE for early, late in zip(after, others, strict=True)), (after, others)
