"""The books under farmers that are killed, torn off and refused room at every single change of a file."""

import contextlib
import functools
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from failing_disk import KINDS, Fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_world import AGAIN, FAILURE, QUIETLY, SUCCESS, World

from pytaskfarmer.workdir import records, roster

Event = tuple[Any, ...]
"""The name of a method of `World`, and what it is given."""


@contextlib.contextmanager
def world(texts: list[str]) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        made = World(Path(directory), texts)
        try:
            yield made
        finally:
            for who in range(3):
                made.die(who)


def tell(texts: list[str], story: Sequence[Event], *, patient: bool, unchecked: int = 0) -> None:
    """Let it happen, check the invariants after all but the first events, and let a last farmer finish the list."""
    with world(texts) as it:
        for number, (what, *facts) in enumerate(story):
            getattr(it, what)(*facts)
            if number >= unchecked:
                it.check()
        it.finish(patient=patient)
        it.check()
        done = sorted([*records.ids(it.layout.finished), *records.ids(it.layout.failed)])
        assert list(range(len(it.texts))) == done
        assert ([], []) == (list(records.ids(it.layout.toprocess)), roster.names(it.layout))


# Every change, every fault

TEXTS = ["a", "y" * 70_000, "z" * 70_000, "b", "c", "d", "e", "f"]
OPEN = CLAIM = COMMIT = 0
START = QUIETLY
BOTH_SUCCEED, ONE_FAILS, LOWER_SUCCEEDS = SUCCESS | SUCCESS << 2, SUCCESS | FAILURE << 2, SUCCESS << 2
STORIES: dict[str, list[Event]] = {
    "alone": [("turn", 0, OPEN), *[("turn", 0, BOTH_SUCCEED)] * 8],
    "once more": [
        *[("turn", 0, what) for what in (OPEN, CLAIM, START, AGAIN, START)],
        ("stop", 0),  # leaves bars of stopped attempts
        *[("turn", 0, what) for what in (OPEN, CLAIM, START, SUCCESS)],
        ("turn", 0, QUIETLY | LOWER_SUCCEEDS),  # the same task, attempt and lane as one that was stopped
        ("die", 0),
        ("turn", 1, OPEN),
    ],
    "compaction": [
        *[("turn", 0, what) for what in (OPEN, CLAIM, START)],
        *[("turn", 0, SUCCESS)] * 3,  # both long lines have been held: rewrites its notes while one is running
        ("turn", 1, OPEN),
        *[("turn", 1, BOTH_SUCCEED)] * 6,  # audits on leaving
    ],
    "company": [
        *[("turn", 0, what) for what in (OPEN, CLAIM, START, ONE_FAILS, START)],
        *[("turn", 1, what) for what in (OPEN, CLAIM, START, QUIETLY | SUCCESS)],
        ("stop", 0),  # gives back, leaves
        ("die", 1),  # an end is noted and not recorded, and a task is interrupted
        ("grow", ["c", "c"]),
        ("turn", 0, OPEN),  # audits, grows
        ("retry",),
        *[("turn", 0, what) for what in (CLAIM, START, QUIETLY | ONE_FAILS, COMMIT)],
        ("die", 0),
        ("open", 2, True),  # audits, retries
        *[("turn", 2, BOTH_SUCCEED)] * 9,  # until it leaves
    ],
}
SHARES = [
    pytest.param(7, id="a seventh"),
    pytest.param(1, id="all", marks=[pytest.mark.proof, pytest.mark.timeout(600)]),
]


@functools.cache
def changes(name: str) -> list[int]:
    """Return how many changes of files each event of a story makes when all goes well."""
    counts: list[int] = []
    with world(TEXTS) as it:
        for what, *facts in STORIES[name]:
            it.changes = 0
            getattr(it, what)(*facts)
            counts.append(it.changes)
    return counts


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STORIES)
def test_every_change_may_be_the_last(name: str, kind: str, share: int) -> None:
    """A fault of each kind at each single change of a file, from the creation to the last farewell, costs nothing."""
    story = STORIES[name]
    places = [(at, after) for at, count in enumerate(changes(name)) for after in range(count)]
    for number, (at, after) in enumerate(places[random.randrange(share) :: share]):
        fault = Fault(kind, after, size=7 * after % 60)
        told = [*story[:at], (*story[at], fault), *story[at + 1 :]]
        try:
            tell(TEXTS, told, patient=name == "alone" or number % 2 == 0, unchecked=at)
        except BaseException as error:
            error.add_note(f"event {at}, {story[at]}, {fault}")
            raise


# Whatever comes

who = st.integers(0, 2)
some_texts = st.lists(st.sampled_from(["a", "b  c", "x" * 90, "y" * 40_000]), min_size=1, max_size=12)
faults = st.none() | st.none() | st.builds(
    Fault, st.sampled_from(KINDS), st.integers(0, 8) | st.integers(0, 40), st.integers(0, 120)
)  # fmt: skip
turns = st.tuples(st.just("turn"), who, st.integers(0, QUIETLY | AGAIN << 2 | AGAIN), faults)
events: list[st.SearchStrategy[Event]] = [
    *[turns] * 4,
    st.tuples(st.just("stop"), who, faults),
    st.tuples(st.just("die"), who),
    st.tuples(st.just("retry"), faults),
    st.tuples(st.just("open"), who, st.booleans(), faults),
    st.tuples(st.just("grow"), some_texts),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("black_out"), st.lists(st.integers(0, 60), max_size=7), st.booleans()),
]
stories = st.lists(st.one_of(events), min_size=5, max_size=30)
slow = settings(deadline=None, suppress_health_check=list(HealthCheck))


@given(some_texts, stories, st.booleans())
@settings(slow, max_examples=150)
def test_the_books_balance_whatever_happens(texts: list[str], story: list[Event], patient: bool) -> None:
    """Whatever dies, tears or fills up: each task is recorded once, noted ends do not run again, the trace is valid."""
    tell(texts, story, patient=patient)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@given(some_texts, stories, st.booleans())
@settings(slow, max_examples=10_000)
def test_the_books_balance_in_ten_thousand_worlds(texts: list[str], story: list[Event], patient: bool) -> None:
    """The same, for much longer."""
    tell(texts, story, patient=patient)
