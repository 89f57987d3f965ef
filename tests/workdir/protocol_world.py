"""A world in one process: farmers whose tasks only pretend to run, on a disk that fails where it is told to.

Farmers open, claim, note, commit, give back and leave through the real code; kernel locks exclude descriptors of one
process as they exclude processes. A death is an exception before a change of a shared file, and in the end the
descriptors of the dead are closed, as the kernel would.
"""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from failing_disk import Died, Fault, struck_by

from pytaskfarmer.errors import FarmError, IllegalMove
from pytaskfarmer.farm.deadline import Pace
from pytaskfarmer.farm.visits import Need, Visits
from pytaskfarmer.farm.watching import Tally
from pytaskfarmer.handlers.lines import Lines
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import claims, records, register, revision, roster
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import Opening, Wish
from pytaskfarmer.workdir.registration import visit
from pytaskfarmer.workdir.source import Source

SLOTS = 2
SUCCESS, FAILURE, AGAIN = 1, 2, 3
QUIETLY = 1 << 2 * SLOTS
_ENDS = {
    SUCCESS: (Outcome.SUCCESS, True),
    FAILURE: (Outcome.NONZERO_EXIT, True),
    AGAIN: (Outcome.NONZERO_EXIT, False),
}


class Silent:
    """An observer that looks away."""

    def tick(self, tally: Tally) -> None:
        """See nothing."""

    def ended(self, attempt: Attempt) -> None:
        """See nothing."""

    def warn(self, line: str) -> None:
        """Hear nothing."""

    def say(self, line: str) -> None:
        """Hear nothing."""


class Farmer:
    """One farmer of this world. It lives from a successful `open` to its death or departure."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.alive = False
        self.descriptors: set[int] = set()

    def open(self, *, retry_failed: bool = False) -> None:
        """Create or join."""
        world = self._world
        wish = Wish(slots=SLOTS, lock="flock", retry_failed=retry_failed)
        opened = Opening(
            world.layout, world.source, wish, lambda line: None, lambda: False, lambda farmer: None
        ).run()  # fmt: skip
        self.books, self.own = opened.books, opened.books.own
        self.name = self.own.farmer.name
        self._pace = Pace()
        self._visits = Visits(self.books, SLOTS, self._pace, Silent(), wait=False)
        self._running: dict[int, tuple[Task, int]] = {}
        self._again: list[tuple[Task, int]] = []
        self.alive = True

    def turn(self, endings: int, *, closing: bool = False) -> None:
        """One turn of the loop: take in ends, hand out, note; then, unless `endings` says QUIETLY, visit the books.

        Two bits of `endings` a slot say how its task ends: 0 not yet, SUCCESS, FAILURE, AGAIN.
        """
        self._take_in(endings, closing)
        if not closing:
            self._hand_out()
        with contextlib.suppress(OSError):
            self.own.flush()
        if endings & QUIETLY:
            return
        self._world.now += 10
        need = Need(
            free=SLOTS - len(self._running),
            at_rest=not self._running,
            waits=bool(self._visits.queue or self._again),
            closing=closing or self._visits.given_up,
        )
        if self._visits.visit(self._world.now, need):
            assert not self.own.count or self._visits.in_trouble, "left with tasks"
            self.alive = False

    def _take_in(self, endings: int, closing: bool) -> None:
        for slot, (task, number) in list(self._running.items()):
            how = endings >> 2 * slot & 3
            if not (how or closing):
                continue
            outcome, last = (Outcome.STOPPED, False) if closing else _ENDS[how]
            del self._running[slot]
            if not (last or closing):
                self._again.append((task, number + 1))
            self._pace.ended(0.1)
            self._world.clock += 1
            self.own.end(Attempt(task, number, slot, outcome, 0, self._world.clock, 0.1), last)
        if closing:
            self._again.clear()

    def _hand_out(self) -> None:
        if self._visits.in_trouble or self._visits.given_up:
            return
        for slot in sorted(set(range(SLOTS)) - self._running.keys()):
            if self._again:
                task, number = self._again.pop()
            elif self._visits.queue:
                task, number = self._visits.queue.popleft(), 1
            else:
                return
            assert task.id not in self._world.ended, f"task {task.id} runs again"
            self.own.start(task, number, slot)
            self._running[slot] = task, number


class World:
    """A list, a work directory, and what must be true of them; `changes` is the most that one action has made.

    Each public method up to `finish` is one thing that can happen; farmers are meant by their number.
    """

    def __init__(self, root: Path, texts: list[str]) -> None:
        self.texts: list[str] = []
        self._list = root / "list"
        self.layout = Layout(str(root / "w"))
        self.source = Source(Tasklist(str(self._list), self.layout.root), Lines(), "default")
        self.farmers = [Farmer(self) for _ in range(3)]
        self.now = time.monotonic() + 1e6  # monotonic; so late that no visit is too early
        self.clock = 1_000_000_000.0
        self.ended: set[int] = set()
        self.changes = 0
        self._blackout = self._unseen_loss = False
        self.grow(texts)

    # -- what can happen

    def turn(self, who: int, endings: int, fault: Fault | None = None) -> None:
        """One turn of a farmer's loop; one that does not live opens the directory."""
        farmer = self.farmers[who]
        if farmer.alive:
            self._act(farmer, lambda: farmer.turn(endings), fault)
        else:
            self.open(who, False, fault)

    def open(self, who: int, retry_failed: bool, fault: Fault | None = None) -> None:
        """A farmer creates or joins, unless it lives already."""
        farmer = self.farmers[who]
        if farmer.alive:
            return
        if retry_failed:
            self.ended -= self._failures()
        self._act(farmer, lambda: farmer.open(retry_failed=retry_failed), fault)
        if farmer.alive and not self._others(farmer):
            self._unseen_loss = False  # it has audited

    def stop(self, who: int, fault: Fault | None = None) -> None:
        """A farmer is stopped; it tries four times to leave."""
        farmer = self.farmers[who]
        for _ in range(4):
            if farmer.alive:
                self._act(farmer, lambda: farmer.turn(0, closing=True), fault)

    def die(self, who: int) -> None:
        """A farmer is killed between two changes."""
        farmer = self.farmers[who]
        farmer.alive = False
        for descriptor in farmer.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        farmer.descriptors = set()

    def retry(self, fault: Fault | None = None) -> None:
        """Somebody uses the command of that name."""

        def action() -> None:
            with visit(self.layout, lambda farmer: None) as books:
                self.ended -= self._failures()
                revision.retry(books, None)

        if self._is_complete():
            self.farmers.append(Farmer(self))
            self._act(self.farmers[-1], action, fault)
            self.farmers.pop()

    def grow(self, texts: list[str]) -> None:
        """Somebody appends to the list."""
        self.texts += texts
        self._list.write_text("".join(text + "\n" for text in self.texts))

    def remove(self, number: int) -> None:
        """Somebody deletes a line of `toprocess` while farmers live."""
        path = Path(self.layout.toprocess)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and any(farmer.alive for farmer in self.farmers):
            del lines[number % len(lines)]
            path.write_bytes(b"".join(lines))
            self._unseen_loss = True

    def black_out(self, torn: list[int], zeros: bool) -> None:
        """All farmers die with their node; the ends of files that were not forced to the disk are lost or zero."""
        for who in range(len(self.farmers)):
            self.die(who)
        names = roster.names(self.layout)
        if not names:
            return  # whoever leaves has synced
        paths = [self.layout.finished, self.layout.failed, self.layout.toprocess, self.layout.timeline]
        for path, lost in zip([*paths, *map(self.layout.claim, names)], torn, strict=False):
            if os.path.exists(path):
                size = os.path.getsize(path)
                os.truncate(path, max(0, size - lost))
                if zeros:
                    os.truncate(path, size)
        self.ended.clear()
        self._blackout = self._unseen_loss = True

    def finish(self, *, patient: bool) -> None:
        """Kill whoever lives, or let them finish; then a last farmer runs everything and leaves."""
        for who in range(len(self.farmers)):
            if patient:
                self._finish(who)
            else:
                self.die(who)
        self.open(0, False)
        self._finish(0)

    def _finish(self, who: int) -> None:
        farmer = self.farmers[who]
        for turn in range(20 * len(self.texts) + 100):
            if not farmer.alive:
                return
            self.turn(who, SUCCESS | SUCCESS << 2)
            if not farmer.alive and not self._others(farmer):
                self._unseen_loss = False  # whoever is the last to leave has audited
            self.check()
            time.sleep(0.001 if turn > len(self.texts) else 0)  # sweeps keep a distance
        raise AssertionError("a farmer does not come to an end")

    def _act(self, actor: Farmer, action: Callable[[], None], fault: Fault | None) -> None:
        """Let one farmer act, and see to it that it is dead afterwards if it died."""
        with struck_by(fault) as fate:
            try:
                action()
            except Died:
                actor.alive = False
            except IllegalMove:
                raise
            except (OSError, FarmError):
                actor.alive = False  # the command ends with an error
                if not fate.happened:
                    raise
        self.changes = max(self.changes, fate.changes)
        actor.alive = actor.alive and not fate.dead
        theirs = [farmer.descriptors for farmer in self.farmers if farmer is not actor]
        actor.descriptors = self._open_files().difference(*theirs)
        if not actor.alive:
            self.die(self.farmers.index(actor))
        self._learn()

    # -- what must be true

    def check(self) -> None:
        """Assert the invariants that hold between sections while no dead claims wait."""
        living = [farmer for farmer in self.farmers if farmer.alive]
        dead = set(roster.names(self.layout)) - {farmer.name for farmer in living}
        # Only an audit by a farmer, who has the list, can put back what no file names.
        if not self._is_complete() or dead or self._unseen_loss:
            return
        places = Counter[int]()
        for path in (self.layout.toprocess, self.layout.finished, self.layout.failed):
            for task_id, text in records.scan(path):
                places[task_id] += 1
                assert self.texts[task_id] == text.decode()
        for farmer in living:
            places.update(farmer.own.ids)
        known = register.read(self.layout)
        assert known is not None
        if any(farmer.books.unsettled for farmer in living):  # its claims will stay and cause an audit
            places.update(set(range(known.tasks)) - places.keys())
        assert dict.fromkeys(range(known.tasks), 1) == dict(sorted(places.items())), "each task in one place"
        if os.path.exists(self.layout.timeline):
            events = json.loads(Path(self.layout.timeline).read_bytes())
            bars = [event["args"] for event in events if event.get("cat") == "task"]
            succeeded = {bar["id"] for bar in bars if bar["outcome"] == "success"}
            assert self._blackout or succeeded >= set(records.ids(self.layout.finished)), "a bar for each success"

    def _others(self, farmer: Farmer) -> list[Farmer]:
        return [other for other in self.farmers if other.alive and other is not farmer]

    def _is_complete(self) -> bool:
        known = register.read(self.layout)
        return known is not None and known.complete

    def _noted(self) -> Iterator[Attempt]:
        for name in roster.names(self.layout):
            yield from claims.read(self.layout.claim(name)).ended.values()

    def _learn(self) -> None:
        """Remember what has ended as far as the files tell: no farmer may run it again."""
        self.ended |= {*records.ids(self.layout.finished), *records.ids(self.layout.failed)}
        self.ended |= {end.task.id for end in self._noted()}

    def _failures(self) -> set[int]:
        """Return what is recorded as failed, or will be by the next audit."""
        noted = {end.task.id for end in self._noted() if end.outcome is not Outcome.SUCCESS}
        return noted | set(records.ids(self.layout.failed))

    def _open_files(self) -> set[int]:
        return {number for number, path in _descriptors() if path.startswith(self.layout.root)}


def _descriptors() -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
