"""What works in a worker of a farm of calls.

The values of calls are handed over every millisecond, or after each call that took longer: a worker that dies then
costs the call that was executing, whose number stands on the pad, and at most one millisecond of others.
"""

import hashlib
import os
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytaskfarmer.api import request, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.faults import CannotTravel
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.errors import FarmError
from pytaskfarmer.worker import TaskFacts

_HAND_OVER = 0.001
_MOST_FUNCTIONS = 100


class Callee:
    """Performs slices of the farm of calls in `root`; `path` is the caller's `sys.path`."""

    def __init__(
        self, root: str, path: Sequence[str], initializer: Sequence[int] | None = None, seed: int | None = None
    ) -> None:
        sys.path[:] = path
        desk = Desk(root)
        self._calls = os.open(desk.calls, os.O_RDONLY | os.O_CLOEXEC)
        self._jobs = open(desk.jobs, "rb")
        self._functions: dict[int, Callable[[Any], object]] = {}
        self._offsets = array("q")
        self._learned = 0
        self._done = _begun(desk.done)
        self._seed = seed
        if initializer is not None:
            function, arguments = self._read(Place(*initializer), "the initializer, or one of its arguments,")
            try:
                function(*arguments)
            except BaseException as error:
                raise FarmError(f"the initializer failed: {type(error).__name__}: {error}") from error

    def perform(self, data: bytes, task: TaskFacts) -> Iterator[bytes]:
        """Yield what the calls of a slice returned and raised, in pieces."""
        asked = request.parse(data.decode())
        begin = self._done.get(task.id, asked.start)
        asked = asked.part(begin, asked.start + asked.count)
        assert task.pad is not None
        pad = task.pad.cast("q")
        pad[0], pad[1] = 1, asked.start
        try:
            call = self._function(asked.job)
            first = asked.first + asked.start
            what = f"one of the arguments of the calls {first} to {first + asked.count - 1}"
            chunk = self._read(asked.chunk, what)[asked.start : asked.start + asked.count]
        except BaseException as error:
            yield travel.fault_piece(error, asked.start, asked.count)
            return
        yield from _outcomes(call, chunk, asked, pad, self._seed)

    def _function(self, number: int) -> Callable[[Any], object]:
        call = self._functions.get(number)
        if call is None:
            job = self._job(number)
            call = _caller(self._read(job.function, "the function"), job.how)
            if len(self._functions) > _MOST_FUNCTIONS:
                self._functions.clear()
            self._functions[number] = call
        return call

    def _job(self, number: int) -> JobLine:
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

    def _read(self, place: Place, what: str) -> Any:
        data = bytearray()
        while len(data) < place.size:  # one read gives no more than 2 GB
            more = os.pread(self._calls, place.size - len(data), place.offset + len(data))
            if not more:
                raise FarmError("the file of calls is shorter than it was")
            data += more
        try:
            return travel.unpack(data)
        except Exception as error:
            raise CannotTravel(f"{what} cannot be unpacked in a worker: {type(error).__name__}: {error}") from error


def _begun(path: str) -> dict[int, int]:
    """Return at which places of their chunks tasks are to begin that were stopped before."""
    try:
        with open(path, encoding="ascii") as lines:
            return {int(task_id): int(place) for task_id, place in map(str.split, lines)}
    except FileNotFoundError:
        return {}


def _outcomes(
    call: Callable[[Any], object], chunk: Sequence[Any], asked: Slice, pad: "memoryview[int]", seed: int | None
) -> Iterator[bytes]:
    clock = time.perf_counter
    values: list[object] = []
    handed_over = clock()
    for place, item in enumerate(chunk, asked.start):
        pad[1] = place
        if seed is not None:
            _plant(seed, asked.first + place)
        try:
            values.append(call(item))
        except BaseException as error:
            if values:
                yield from _handed_over(values, place, asked)
            values = []
            yield travel.fault_piece(_explained(error), place)
        now = clock()
        if now - handed_over > _HAND_OVER:
            if values:
                yield from _handed_over(values, place + 1, asked)
            values = []
            handed_over = now
    if values:
        yield from _handed_over(values, asked.start + asked.count, asked)


def _handed_over(values: Sequence[object], stop: int, asked: Slice) -> Iterator[bytes]:
    first = stop - len(values)
    return travel.values_piece(values, first, asked.first + first)


def _caller(function: Callable[..., Any], how: str) -> Callable[[Any], Any]:
    if how == request.ONE:
        return function
    if how == request.STAR:
        return lambda arguments: function(*arguments)
    return lambda both: function(*both[0], **both[1])


def _plant(seed: int, index: int) -> None:
    number = int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:8])
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number & 0xFFFFFFFF)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, NameError) and type(error) is NameError:
        error.add_note(
            "Workers do not inherit the caller's variables, as they would after a fork: pass what the function needs "
            "as an argument, or set it up by `initializer`."
        )
    return error
