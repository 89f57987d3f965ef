"""What works in a worker of a farm of calls.

The values of calls are handed over every millisecond, or after each call that took longer: a worker that dies then
costs the call that was executing, whose number stands on the pad, and at most one millisecond of others. When many
megabytes have been handed over, the rest of the slice is left for another time, since the farmer has to hold it all.
"""

import functools
import hashlib
import os
import random
import sys
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from pytaskfarmer.api import heritage, kinship, request, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.faults import CannotTravel
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.api.variables import Kept, Variables
from pytaskfarmer.errors import FarmError
from pytaskfarmer.worker import TaskFacts

_HAND_OVER = 0.001
_MOST_AT_A_TIME = 1 << 26
_MOST_FUNCTIONS = 100
_MOST_WITH_FUNCTIONS = 1 << 26  # bytes

Pieces = Generator[bytes, None, bytes | None]


class Callee:
    """Performs slices of the farm of calls in `root`.

    `path` is the caller's `sys.path`; where `argv`, its `sys.argv`, and the initializer lie is offset and size.
    """

    def __init__(
        self,
        root: str,
        path: Sequence[str],
        argv: Sequence[int],
        initializer: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        kinship.prepare(int(os.environ.get("PYTASKFARMER_SLOT", "0")) + 1, os.environ.pop(heritage.KEY, None))
        sys.path[:] = path
        desk = Desk(root)
        self._calls = os.open(desk.calls, os.O_RDONLY | os.O_CLOEXEC)
        sys.argv[:] = travel.unpack(self._bytes(Place(*argv)))
        self._jobs = open(desk.jobs, "rb")
        self._job = functools.lru_cache(_MOST_FUNCTIONS)(self._find_job)
        self._functions: dict[tuple[Place, str], tuple[Callable[[], Callable[[Any], object]], list[Kept]]] = {}
        self._offsets = array("q")
        self._learned = 0
        self._done = _begun(desk.done)
        self._variables = Variables()
        self._seed = seed
        if initializer is not None:
            data = self._bytes(Place(*initializer))
            try:
                self._variables.initialize(data)
            except BaseException as error:
                raise FarmError(f"the initializer failed: {type(error).__name__}: {error}") from error

    def perform(self, data: bytes, task: TaskFacts) -> Pieces:
        """Yield what the calls of a slice returned and raised, in pieces; return the last of them."""
        asked = request.parse(data.decode())
        if task.id in self._done:
            asked = asked.part(self._done[task.id], asked.stop)
        assert task.pad is not None
        pad = task.pad.cast("q")
        pad[0], pad[1] = 1, asked.start
        try:
            call, kept = self._function(asked.job)
            first = asked.first + asked.start
            what = f"one of the arguments of the calls {first} to {first + asked.count - 1}"
            chunk = self._read(asked.chunk, what, kept or None)[asked.start : asked.stop]
        except BaseException as error:
            return travel.fault_piece(error, asked.start, asked.count)
        if self._seed is not None:
            call = _planted(call, self._seed, asked.first, pad)
        return (yield from _outcomes(call, chunk, asked, pad))

    def _function(self, number: int) -> tuple[Callable[[Any], object], list[Kept]]:
        """Return the function of a job, and its variables; a copy of its own for each slice if calls may change it."""
        job = self._job(number)
        key = (job.function, job.how)
        if key in self._functions:
            make, kept = self._functions[key]
            return make(), kept
        self._make_room(job.function.size)
        kept = []
        function = self._read(job.function, "the function", kept)
        call = _caller(function, job.how)
        if travel.is_stateless(function):
            self._functions[key] = (lambda: call), kept
        else:
            self._functions[key] = (lambda: _caller(self._read(job.function, "the function", kept), job.how)), kept
        return call, kept

    def _make_room(self, size: int) -> None:
        """Let all functions go, if they are many, or if it was much that came with them."""
        sizes = [place.size for place, _ in self._functions]
        if len(sizes) >= _MOST_FUNCTIONS or sum(sizes) + size > _MOST_WITH_FUNCTIONS:
            self._functions.clear()

    def _find_job(self, number: int) -> JobLine:
        if number >= len(self._offsets) or self._offsets[number] < 0:
            self._learn()
        self._jobs.seek(self._offsets[number])
        return request.parse_job(self._jobs.readline())

    def _learn(self) -> None:
        """Take note of where the lines of jobs begin that have come; there may be a million."""
        self._jobs.seek(self._learned)
        while (line := self._jobs.readline()).endswith(b"\n"):  # else it is just being written, for another worker
            number = request.parse_job(line).job
            self._offsets.extend([-1] * (number + 1 - len(self._offsets)))
            self._offsets[number] = self._learned
            self._learned += len(line)

    def _read(self, place: Place, what: str, kept: list[Kept] | None = None) -> Any:
        data = self._bytes(place)
        try:
            return self._variables.unpack(data, kept)
        except Exception as error:
            raise CannotTravel(f"{what} cannot be unpacked in a worker: {type(error).__name__}: {error}") from error

    def _bytes(self, place: Place) -> bytes:
        data = os.pread(self._calls, place.size, place.offset)
        while len(data) < place.size:  # one read gives no more than 2 GB
            more = os.pread(self._calls, place.size - len(data), place.offset + len(data))
            if not more:
                raise FarmError("the file of calls is shorter than it was")
            data += more
        return data


def _begun(path: str) -> dict[int, int]:
    """Return at which places of their chunks tasks are to begin that were stopped before."""
    try:
        with open(path, encoding="ascii") as lines:
            return {int(task_id): int(place) for task_id, place in map(str.split, lines)}
    except FileNotFoundError:
        return {}


def _outcomes(call: Callable[[Any], object], chunk: Iterable[Any], asked: Slice, pad: "memoryview[int]") -> Pieces:
    clock = time.perf_counter
    calls = enumerate(chunk, asked.start)
    place, size = asked.start - 1, 0
    while place + 1 < asked.stop and size < _MOST_AT_A_TIME:
        values: list[object] = []
        first, fault = place + 1, None
        due = clock() + _HAND_OVER
        try:
            for place, item in calls:
                pad[1] = place
                values.append(call(item))
                if clock() > due:
                    break
        except BaseException as error:
            fault = travel.fault_piece(error, place)
        pieces = travel.values_pieces(values, first, asked.first + first)
        if fault is not None:
            pieces.append(fault)
        size += sum(map(len, pieces))
        yield from pieces[:-1]
        if place + 1 == asked.stop:
            return pieces[-1]
        yield pieces[-1]
    return None


def _caller(function: Callable[..., Any], how: str) -> Callable[[Any], Any]:
    if how == request.ONE:
        return function
    if how == request.STAR:
        return lambda arguments: function(*arguments)
    return lambda both: function(*both[0], **both[1])


def _planted(call: Callable[[Any], object], seed: int, first: int, pad: "memoryview[int]") -> Callable[[Any], object]:
    """Return what plants the seed of each call before it."""

    def plant_and_call(item: Any) -> object:
        _plant(seed, first + pad[1])
        return call(item)

    return plant_and_call


def _plant(seed: int, index: int) -> None:
    number = int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:8])
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number & 0xFFFFFFFF)
