"""Lists that grow while they are farmed, with farmers that are killed at every single change of a file."""

import contextlib
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from failing_disk import KINDS, Fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_world import AGAIN, FAILURE, QUIETLY, SUCCESS, Farmer, Silent, World

from pytaskfarmer.farm.feeding import Feed
from pytaskfarmer.farm.visits import Visits
from pytaskfarmer.workdir import growth, records, roster

Event = tuple[Any, ...]
"""The name of a method of `GrowingWorld`, and what it is given."""

LINGER = 25.0  # of the world's seconds, of which ten pass a turn
OPEN = CLAIM = 0
START = QUIETLY
BOTH = SUCCESS | SUCCESS << 2


class LingeringFarmer(Farmer):
    """A farmer that looks whether its list has grown, and stays for a while when there is nothing left."""

    def open(self, *, retry_failed: bool = False) -> None:
        """Create or join."""
        super().open(retry_failed=retry_failed)
        self._feed = Feed(self._world.source.path, linger=LINGER)
        self._visits = Visits(self.books, 2, self._pace, Silent(), wait=False, feed=self._feed)

    def turn(self, endings: int, *, closing: bool = False) -> None:
        """One turn of the loop."""
        self._feed.look(self._world.now, idle=not (self._running or self._visits.queue))
        super().turn(endings, closing=closing)


class GrowingWorld(World):
    """A world of such farmers, whose list is only ever appended to, be it by half a line."""

    def __init__(self, root: Path, texts: list[str]) -> None:
        super().__init__(root, [])
        self.source = replace(self.source, tasklist=replace(self.source.tasklist, growing=True))
        self.farmers = [LingeringFarmer(self) for _ in range(3)]
        self._half = ""
        self.grow(texts)

    def grow(self, texts: list[str]) -> None:
        """Somebody appends lines, the first of which ends what was left unfinished."""
        if hasattr(self, "_half") and texts:
            self.texts += [self._half + texts[0], *texts[1:]]
            self._append("".join(text + "\n" for text in texts))
            self._half = ""

    def tear(self, text: str) -> None:
        """Somebody is killed while appending a line."""
        self._half += text
        self._append(text)

    def stop(self, who: int, fault: Fault | None = None) -> None:
        """A farmer is stopped; one that cannot leave is killed, since a real one would not take up its work again."""
        super().stop(who, fault)
        self.die(who)

    def _append(self, text: str) -> None:
        with open(self.source.path, "a") as file:
            file.write(text)

    def finish(self, *, patient: bool) -> None:
        """As in any world, when the last line is whole."""
        if self._half:
            self.grow([""])
        super().finish(patient=patient)


@contextlib.contextmanager
def world(texts: list[str]) -> Iterator[GrowingWorld]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        made = GrowingWorld(Path(directory), texts)
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
        recorded = sorted([*records.scan(it.layout.finished), *records.scan(it.layout.failed)])
        assert [(number, text.encode()) for number, text in enumerate(it.texts)] == recorded
        assert ([], []) == (list(records.ids(it.layout.toprocess)), roster.names(it.layout))


STORIES: dict[str, list[Event]] = {
    "alone": [
        *[("turn", 0, what) for what in (OPEN, CLAIM, START)],
        ("grow", ["c", "d", "e"]),
        ("turn", 0, SUCCESS),
        ("grow", ["f"]),
        *[("turn", 0, BOTH)] * 4,
    ],
    "in turn": [
        *[("turn", who, what) for who in (0, 1) for what in (OPEN, CLAIM, START)],
        ("grow", ["c"]),
        ("turn", 0, SUCCESS),
        ("grow", ["d", "e", "f", "g", "h"]),
        ("turn", 1, SUCCESS | FAILURE << 2),
        ("grow", ["i"]),
        ("turn", 0, BOTH),
        ("turn", 2, OPEN),
        ("grow", ["j", "k"]),
        *[("turn", who, BOTH) for who in (2, 1, 0, 2)],
    ],
    "half a line": [
        *[("turn", 0, what) for what in (OPEN, CLAIM, START)],
        ("tear", "1 ha"),
        ("turn", 0, SUCCESS),
        ("turn", 1, OPEN),
        ("grow", ["lf", "whole"]),
        ("turn", 1, CLAIM),
        ("tear", "an"),
        ("turn", 0, BOTH),
        ("tear", "oth"),
        ("grow", ["er"]),
        *[("turn", who, BOTH) for who in (0, 1, 0)],
    ],
}
SHARES = [
    pytest.param(5, id="a fifth"),
    pytest.param(1, id="all", marks=[pytest.mark.proof, pytest.mark.timeout(600)]),
]


def changes(name: str) -> list[int]:
    """Return how many changes of files each event of a story makes when all goes well."""
    counts: list[int] = []
    with world(["a", "b"]) as it:
        for what, *facts in STORIES[name]:
            it.changes = 0
            getattr(it, what)(*facts)
            counts.append(it.changes)
    return counts


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("few", [4096, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STORIES)
def test_each_line_is_one_task(name: str, kind: str, few: int, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fault meets whoever takes in new lines, at each change of a file: every line is recorded once."""
    monkeypatch.setattr(growth, "_FEW", few)
    story = STORIES[name]
    places = [(at, after) for at, count in enumerate(changes(name)) for after in range(count)]
    for number, (at, after) in enumerate(places[random.randrange(share) :: share]):
        fault = Fault(kind, after, size=7 * after % 60)
        told = [*story[:at], (*story[at], fault), *story[at + 1 :]]
        try:
            tell(["a", "b"], told, patient=number % 2 == 0, unchecked=at)
        except BaseException as error:
            error.add_note(f"event {at}, {story[at]}, {fault}")
            raise


who = st.integers(0, 2)
texts = st.sampled_from(["a", "b  c", "x" * 90])
faults = st.none() | st.none() | st.builds(
    Fault, st.sampled_from(KINDS), st.integers(0, 8) | st.integers(0, 40), st.integers(0, 120)
)  # fmt: skip
turns = st.tuples(st.just("turn"), who, st.integers(0, QUIETLY | AGAIN << 2 | AGAIN), faults)
events: list[st.SearchStrategy[Event]] = [
    *[turns] * 4,
    *[st.tuples(st.just("grow"), st.lists(texts, min_size=1, max_size=6))] * 2,
    st.tuples(st.just("tear"), texts),
    st.tuples(st.just("stop"), who, faults),
    st.tuples(st.just("die"), who),
]
stories = st.lists(st.one_of(events), min_size=5, max_size=30)


@given(stories, st.booleans())
@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)
def test_lists_grow_whatever_happens(story: list[Event], patient: bool) -> None:
    """Whoever dies, tears or finds the disk full: each line of a list that grows is recorded once."""
    tell(["a", "b"], story, patient=patient)


def test_a_farmer_does_not_wait_for_half_a_line() -> None:
    """A farmer whose list ends in half a line, since its writer was killed, leaves when it has waited long enough."""
    with world(["a", "b"]) as it:
        it.turn(0, OPEN)
        it.tear("1 ha")
        for _ in range(20):
            if it.farmers[0].alive:
                it.turn(0, BOTH)
        assert not it.farmers[0].alive
