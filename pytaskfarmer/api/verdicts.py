"""Jobs whose calls are under way, and what became of the calls of a slice, told to its job."""

from collections.abc import Iterable
from typing import Protocol

from pytaskfarmer.api import travel
from pytaskfarmer.api.faults import CannotTravel
from pytaskfarmer.api.request import Slice
from pytaskfarmer.api.travel import Piece
from pytaskfarmer.worker.wire import PAD


class Job(Protocol):
    """Some calls that belong together, and who waits for them; called from the thread that reads results."""

    number: int

    def deliver(self, first: int, values: list[object]) -> None:
        """Take the values of the calls from number `first` on, and the list itself."""
        ...

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        ...

    def try_again(self, index: int) -> bool:
        """Whether a call whose worker died is to run again."""
        ...


class Jobs:
    """The jobs of which something is under way, and how many slices of each. For one thread at a time.

    A job is forgotten when nothing of it is, or whoever makes many calls would run out of memory.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._slices: dict[int, int] = {}

    def expect(self, job: Job, slices: int) -> None:
        """Take note of more slices."""
        if slices:
            self._jobs[job.number] = job
            self._slices[job.number] = self._slices.get(job.number, 0) + slices

    def of(self, asked: Slice) -> Job:
        """Return the job of a slice that is under way."""
        return self._jobs[asked.job]

    def told(self, number: int) -> bool:
        """Take note that a slice of a job has ended; return whether it was the last."""
        self._slices[number] -= 1
        if self._slices[number]:
            return False
        del self._slices[number], self._jobs[number]
        return True

    def outstanding(self) -> int:
        """Return how many slices are under way, whatever any other thread does."""
        return sum(tuple(self._slices.values()))


def deliver(job: Job, asked: Slice, pieces: Iterable[Piece]) -> int:
    """Give a job what is new in these pieces of a slice; return the place of the first call that is not done."""
    place = asked.start
    for piece in pieces:
        new = piece.calls - max(0, place - piece.first)
        if new <= 0:
            continue
        place = piece.first + piece.calls
        first = asked.first + place - new
        try:
            if piece.kind == travel.VALUES:
                job.deliver(first, travel.values_from(piece)[-new:])
            else:
                for index in range(first, first + new):
                    job.fail(index, travel.fault_from(piece))
        except CannotTravel as error:
            for index in range(first, first + new):
                job.fail(index, error)
    return place


def guilty(pad: bytes, done: int) -> int:
    """Return the place of the call that was executing, as its worker has noted it, else the first that is not done."""
    if len(pad) >= PAD:
        marked, place = memoryview(pad)[-PAD:].cast("q")[:2]
        if marked:
            return max(place, done)
    return done


def fail(job: Job, asked: Slice, error: BaseException) -> None:
    """Let all calls of a slice fail."""
    for place in range(asked.start, asked.stop):
        job.fail(asked.first + place, error)
