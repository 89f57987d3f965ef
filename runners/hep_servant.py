"""What a worker of the `hep` runner does with a task: read its line, have the data set open, ask it, write the answer.

What is kept for a data set depends on what is asked of it. A cut scan keeps no events but the bits it counts; a
function over ranges of events needs an open file; one over settings needs all events in memory.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from pytaskfarmer.errors import FarmError
from pytaskfarmer.task import decode, printable
from pytaskfarmer.worker.servant import TaskFacts

from . import cut_scan
from .calls import find, parse_value, set_up, write
from .datasets import Dataset, Shelf, is_root, open_dataset, split_name
from .tables import DatasetError, read_csv

_FORM = "expected FILE[:TREE] FIRST COUNT and key=value words, with a path that has blanks in quotes"
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one task is about: `count` events or settings from `first` on, counted from 0.

    `tree` is None where the line names none; `options` are the keys and values of the line; `id` counts from 0,
    `attempt` from 1.
    """

    file: str
    tree: str | None
    first: int
    count: int
    id: int
    attempt: int
    options: Mapping[str, object]


Process = Callable[[Any, Chunk], object]


def parse(line: str, task: TaskFacts) -> Chunk:
    """Return what `line` asks for. Raises `FarmError` if it cannot be read."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise FarmError(f"the line cannot be split into words ({str(error).lower()}); {_FORM}") from None
    if len(words) < 3:
        raise FarmError(f"the line is {printable(line)!r}; {_FORM}")
    file, tree = split_name(words[0])
    first, count = (_counted(word) for word in words[1:3])
    if count == 0:
        raise FarmError("COUNT is 0; it must be 1 or more")
    options: dict[str, object] = {}
    for word in words[3:]:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise FarmError(f"the line has the word {printable(word)!r}; {_FORM}")
        if key in options:
            raise FarmError(f"the line gives {printable(key)!r} twice; leave one of them out")
        options[key] = parse_value(value)
    return Chunk(file, tree, first, count, task.id, task.attempt, options)


def _counted(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= _LONGEST_NUMBER):
        raise FarmError(f"the line has {printable(word)!r} where a number from 0 on should stand; {_FORM}")
    return int(word)


class Asked(Protocol):
    """A data set, made ready for the questions of tasks."""

    def answer(self, chunk: Chunk) -> object:
        """Return the result of one task. Raises `FarmError`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class AskedForCuts:
    """The built-in scan. The first answer bears the time that it took to make ready."""

    def __init__(self, path: str, tree: str | None, n_cuts: int) -> None:
        columns = (*cut_scan.VARIABLES, cut_scan.TRUTH)
        if tree is None and not is_root(path):
            events: Any = read_csv(path, columns, finite=True)
        else:
            with closing(open_dataset(path, tree, columns)) as dataset:
                events = dataset.read(0, len(dataset))
        start = time.perf_counter_ns()
        self._scan = cut_scan.prepare(events, n_cuts, path)
        self._microseconds = (time.perf_counter_ns() - start) // 1000

    def answer(self, chunk: Chunk) -> object:
        """Return the best of these settings, for `cut_scan.merge`."""
        if chunk.options:
            raise FarmError(f"the cut scan knows no option {printable(next(iter(chunk.options)))!r}; leave it out")
        _check(chunk, "settings", self._scan.n_settings)
        preparing, self._microseconds = self._microseconds, 0
        return cut_scan.result(self._scan, chunk.first, chunk.count, preparing)

    def close(self) -> None:
        """Do nothing: the file is closed."""


class AskedForEvents:
    """A user's function over ranges of events."""

    def __init__(self, dataset: Dataset, process: Process) -> None:
        self._dataset, self._process = dataset, process

    def answer(self, chunk: Chunk) -> object:
        """Call the function with the events of the chunk."""
        _check(chunk, "events", len(self._dataset))
        return self._process(self._dataset.read(chunk.first, chunk.count), chunk)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


class AskedForSettings:
    """A user's function over chunks of settings, all of which need all events."""

    def __init__(self, dataset: Dataset, process: Process) -> None:
        with closing(dataset):
            self._events = dataset.read(0, len(dataset))
        self._process = process

    def answer(self, chunk: Chunk) -> object:
        """Call the function with all events."""
        return self._process(self._events, chunk)

    def close(self) -> None:
        """Do nothing: the file is closed."""


class HepServant:
    """Answers tasks about data sets; the options are those of `Hep`.

    Raises `FarmError` if there is no such function, or `setup` fails.
    """

    def __init__(
        self,
        function: str | None,
        setup: str | None,
        over: str,
        cuts: int,
        branches: Sequence[str],
        keep: int,
        path: Sequence[str],
    ) -> None:
        sys.path[:0] = [os.getcwd(), *path]
        if setup is not None:
            set_up(setup)
        self._function = "the cut scan" if function is None else function
        self._shelf: Shelf[Asked] = Shelf(keep, _opener(function, over, cuts, branches))

    def perform(self, request: bytes, task: TaskFacts) -> bytes | None:
        """Answer one task, as JSON; None for None. Raises `FarmError`, and whatever the function raises."""
        chunk = parse(decode(request), task)
        return write(self._function, self._shelf.take(chunk.file, chunk.tree).answer(chunk))


def _opener(function: str | None, over: str, cuts: int, branches: Sequence[str]) -> Callable[[str, str | None], Asked]:
    if function is None:
        return lambda path, tree: AskedForCuts(path, tree, cuts)
    process = find(function)
    if over == "events":
        return lambda path, tree: AskedForEvents(open_dataset(path, tree, branches), process)
    return lambda path, tree: AskedForSettings(open_dataset(path, tree, branches), process)


def _check(chunk: Chunk, what: str, there_are: int) -> None:
    last = chunk.first + chunk.count - 1
    if last >= there_are:
        asked = f"the task asks for {what} {chunk.first} to {last}"
        raise DatasetError(chunk.file, None, f"{asked}, and there are {there_are}; correct FIRST and COUNT")
