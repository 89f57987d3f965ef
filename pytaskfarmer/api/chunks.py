"""Chunks of calls on their way to the session, and the calls of an earlier caller that are made again.

Those are recognised by their number, their function's name, and the digest of each chunk. The digest is that of plain
pickles, in which `__main__` is a name: what cloudpickle makes of a class that is defined there differs in each process.
So does the order in which a set has its elements: sets are digested as sorted lists. A function that has changed is no
reason to refuse, since a change may not matter; but it is told.
"""

import hashlib
import logging
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

from pytaskfarmer.api import travel
from pytaskfarmer.api.likeness import differ, likeness
from pytaskfarmer.api.request import APPLY, STAR, JobLine, Slice
from pytaskfarmer.api.session import Session
from pytaskfarmer.api.verdicts import Job
from pytaskfarmer.errors import UsageError

_logger = logging.getLogger("pytaskfarmer")
_METHODS = {STAR: "starmap", APPLY: "apply"}


class Chunk(NamedTuple):
    """Calls that travel together: the number of the first, how many, their arguments packed, and their digest."""

    first: int
    calls: int
    data: bytes
    digest: str


class Chunks:
    """Hands chunks to a session; `root` is its work directory, where they can be recognised if it is `named`.

    `alone` lets each call travel alone.
    """

    def __init__(self, session: Session, root: str, *, named: bool, alone: bool) -> None:
        self._session = session
        self._root = root
        self._named = named
        self._alone = alone

    def size(self, number: int, wished: int) -> int:
        """Return how many calls a chunk of job `number` is to have."""
        known = self._session.known(number)
        return known.chunk if known else 1 if self._alone else wished

    def pack_function(self, func: Callable[..., Any]) -> bytes:
        """Return a function as bytes. Raises `CannotTravel`."""
        return travel.pack(func, f"the function {travel.name_of(func)}")

    def pack(self, func: Callable[..., Any], first: int, items: Sequence[Any]) -> Chunk:
        """Return the chunk of these items. Raises `CannotTravel`."""
        data = travel.pack_each(items, partial(_argument, func, first))
        return Chunk(first, len(items), data, _digest(items) if self._named else "-")

    def announce(
        self, number: int, func: Callable[..., Any], packed: bytes, how: str, size: int, calls: int | None = None
    ) -> None:
        """Begin a job of so many calls, or of any number. Raises `UsageError` if an earlier caller's was another.

        Warns if the function has changed, each time: what stays on record is the first one's likeness.
        """
        name = f"{travel.name_of(func)} {how} {calls}"
        known = self._session.known(number)
        if known is not None and known.name != name:
            raise self._others(number, f"was {_told(known.name, name)}, and is now {_told(name, known.name)}")
        like = likeness(func) if self._named else ""
        if known is not None and self._session.listed(number, 0):
            if differ(known.likeness, like):
                self._warn(func)
            like = known.likeness
        self._session.outbox.announce(JobLine(number, self._session.outbox.pack_once(packed), how, size, name, like))

    def submit(self, job: Job, chunks: Sequence[Chunk]) -> None:
        """Let chunks be called, as far as that was not done before. Raises `UsageError` as `announce` does."""
        session, number = self._session, job.number
        known = [session.listed(number, chunk.first) for chunk in chunks]
        for old, chunk in zip(known, chunks, strict=True):
            if old is not None and (old.count, old.digest) != (chunk.calls, chunk.digest):
                last = chunk.first + max(old.count, chunk.calls) - 1
                which = f"call {chunk.first}" if last == chunk.first else f"one of the calls {chunk.first} to {last}"
                raise self._others(number, f"had other arguments than now in {which}")
        new = [
            Slice(number, session.outbox.pack(chunk.data), chunk.first, 0, chunk.calls, chunk.digest)
            for old, chunk in zip(known, chunks, strict=True)
            if old is None
        ]
        for old in known:
            if old is not None:
                session.resume(job, old.first)
        session.submit(job, new)

    def _others(self, number: int, how: str) -> UsageError:
        return UsageError(
            f"{self._root}: map {number + 1} of this directory {how}. Make the same calls in the same order as before, "
            "name another workdir, or remove this one."
        )

    def _warn(self, func: Callable[..., Any]) -> None:
        _logger.warning(
            "pytaskfarmer: the function %s, or what it uses, has changed since its calls in %s were made; results of "
            "before are used. Remove the directory to make them anew.",
            _short(travel.name_of(func)),
            self._root,
        )


def _told(name: str, other: str) -> str:
    """Return in words what the calls of a job are, and by which method they were made if that is another."""
    (function, how, calls), others = name.rsplit(" ", 2), other.rsplit(" ", 2)
    what = "calls" if calls == "None" else "1 call" if calls == "1" else f"{int(calls):,} calls"
    method = "imap" if calls == "None" else _METHODS.get(how, "map")
    by = "" if how == others[1] and (calls == "None") == (others[2] == "None") else f" by {method}"
    return f"{what} of {_short(function)}{by}"


def _short(function: str) -> str:
    return function.removeprefix("__main__.")


def _digest(items: Sequence[Any]) -> str:
    try:
        data = _plainly(list(items))
    except Exception:
        data = b"\n".join(map(_perhaps, items))
    return hashlib.sha256(data).hexdigest()


def _plainly(thing: object) -> bytes:
    """Return the same bytes in each process. Raises whatever pickling it raises."""
    data = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    if pickle.EMPTY_SET not in data and pickle.FROZENSET not in data:
        return data
    with BytesIO() as file:
        _Sorting(file, pickle.HIGHEST_PROTOCOL).dump(thing)
        return file.getvalue()


class _Sorting(pickle.Pickler):
    def persistent_id(self, thing: object) -> list[bytes] | None:
        """Return what stands in the place of a set."""
        return sorted(map(_plainly, thing)) if isinstance(thing, set | frozenset) else None


def _perhaps(item: object) -> bytes:
    """Return what can be said of an item, perhaps only its type."""
    try:
        return _plainly(item).hex().encode()
    except Exception:
        return type(item).__qualname__.encode()


def _argument(func: Callable[..., Any], first: int, place: int) -> str:
    return f"the argument of call {first + place} of {travel.name_of(func)}"
