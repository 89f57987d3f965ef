"""Inputs by events: each input of the list becomes as many tasks as it has pieces of so many events.

A piece is named by the input's place in the list and its own place in the input, so tasks need not know each other.
What could go wrong unseen is that two of them write the same file, or the same events: hence the checks of `output`,
and of the fields that the command must have.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist

from . import rows
from .counting import Counts
from .fields import Fields, missing
from .naming import Naming, Outputs, no_option
from .rows import Row

_KINDS = ("auto", "lines", "csv", "tsv")
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_MADE = ("input", "output", "file_index", "dir", "stem", "suffix", "first", "index")


@dataclass(frozen=True, slots=True)
class Piece:
    """`count` events of an input from the one numbered `first`, from 0; with `count` None, all that are there.

    `index` is the piece's place in the input, from 0.
    """

    index: int
    first: int
    count: int | None


def pieces(events: int, size: int) -> Iterator[Piece]:
    """Yield the pieces of `size` events that `events` make, of which the last may be smaller."""
    for index, first in enumerate(range(0, events, size)):
        yield Piece(index, first, min(size, events - first))


class Split:
    """A command for each input of the list, or for each piece of so many of its events.

    Fields of the command, and of `output`:

    - `{input}`: the input, as the list names it.
    - `{first}`, `{count}`: how many events of the input come before the piece, and how many it has.
    - `{index}`: the piece's place in the input, from 0.
    - `{file_index}`: the input's place in the list, from 0.
    - `{dir}`, `{stem}`, `{suffix}`: the parts of the input's name, `dir/stem.suffix`; the suffix has the point.
    - `{output}`: what the option `output` says; only in the command.
    - `{NAME}`: a column of the list.

    In the command, values are quoted for the shell, except as `{input:raw}`.

    Options:

    - `command`: what each task runs, such as `sim {input} {output} --skip {first} --events {count}`.
    - `output`: the name of what a task writes; by default `{stem}.{file_index}.{index}{suffix}`. A list of which two
      inputs would have the same output, or an output would be an input, is refused.
    - `events_per_task`: the largest number of events of a task; by default, each input is one task.
    - `events`: the number of events of every input.
    - `events_column`: the column of the list that has the number of events.
    - `tree`: the tree of the ROOT files, where they have several. Its entries are the events, which are counted. (That
      needs `pip install 'pytaskfarmer[hep]'`.)
    - `kind`: what the list holds: `lines`, an input a line; `csv` or `tsv`, with a first line that names the columns;
      `auto` (the default), what the ending of its name says (.csv, .tsv), else lines.
    - `input_column`: the column of the inputs.
    - `empty`: what to do about an input without events: `error` (the default), or `skip` it.

    Without `events` and `events_column`, events are counted if they need be: the entries of a tree in .root files, the
    lines but for the header in .csv and .tsv files, the events in .hepmc files. Inputs are counted when a work
    directory begins, from the directory in which the command is typed. Memory: 16 bytes an input that is counted, 70 if
    there is an `{output}`, and as many again where that has no `{file_index}`, or a task where it has a column.
    """

    ALL: ClassVar[str] = ""
    """What `{count}` is for all events of an input, however many; if it has no such value, they are counted."""
    COUNTS: ClassVar[tuple[str, ...]] = ("count",)
    """The fields that depend on how many events there are."""
    COUNTED_BY: ClassVar[str] = "events, events_column or tree"
    """The options that say how many there are, or how to count them."""

    def __init__(
        self, *, command: str, output: str = "", events_per_task: int | None = None, events: int | None = None,
        events_column: str = "", tree: str = "", kind: str = "auto", input_column: str = "input",
        empty: str = "error",
    ) -> None:  # fmt: skip
        self._fields = Fields(command)
        names = self._fields.names
        if not names:
            raise ValueError("the command has no field, so all tasks would be the same; write {input} for the input")
        if output and "output" not in names:
            raise ValueError("there is an output, but the command has no field {output} for it")
        self._size = _positive("events_per_task", events_per_task)
        self._events = _positive("events", events)
        if sum(map(bool, (events, events_column, tree))) > 1:
            raise ValueError("events, events_column and tree exclude each other; keep one")
        if (events or events_column or tree) and not (self._size or set(self.COUNTS) & set(names)):
            raise ValueError("the number of events is of no use without events_per_task or a field {count}")
        if self._size and not {"first", "index"} & set(names):
            raise ValueError("with events_per_task, the command needs {first}, else every piece has the same events")
        self._kind = _one_of("kind", kind, _KINDS)
        self._skips_empty = _one_of("empty", empty, ("error", "skip")) == "skip"
        self._input_column, self._events_column = input_column, events_column
        self._counts = Counts(tree or None, f"set the option {self.COUNTED_BY}")
        self._output = Naming(output or f"{{stem}}.{{file_index}}{'.{index}' if self._size else ''}{{suffix}}")
        if "output" in names:
            self._output.check(split=self._size is not None)

    def numbers(self, piece: Piece) -> Mapping[str, str]:
        """Return the fields that tell pieces of an input apart."""
        count = self.ALL if piece.count is None else str(piece.count)
        return {"first": str(piece.first), "count": count, "index": str(piece.index)}

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the command of each piece. Raises `TasklistError` for an input that cannot be split."""
        outputs = None
        if "output" in self._fields.names:
            columns = bool(set(self._output.names) - {*_MADE, *self.COUNTS})
            outputs = Outputs(self._output, self._paths(tasklist), columns=columns)
        for place, row in enumerate(self._inputs(tasklist)):
            path = row.values[self._input_column]
            if not path:
                raise TasklistError(tasklist.path, row.line, f"the column {self._input_column!r} is empty here.")
            try:
                found = self._pieces(place, row, path)
            except ValueError as error:
                raise TasklistError(tasklist.path, row.line, f"{path}: {error}.") from None
            values = {**row.values, **_parts(place, path)}
            for piece in found:
                values.update(self.numbers(piece))
                if outputs:
                    try:
                        values["output"] = outputs.next(piece.index, values)
                    except ValueError as error:
                        raise TasklistError(tasklist.path, row.line, f"{path}: {error}.") from None
                yield rows.text_of(self._fields, Row(row.line, values), tasklist.path)

    def _paths(self, tasklist: Tasklist) -> Iterator[str]:
        return (row.values[self._input_column] for row in self._inputs(tasklist))

    def _inputs(self, tasklist: Tasklist) -> Iterator[Row]:
        """Yield a row for each input; in a list of plain lines, the line without the blanks around it."""
        path = tasklist.path
        kind = self._kind
        if kind == "auto":
            kind = next((kind for kind in _DELIMITERS if path.lower().endswith(f".{kind}")), "lines")
        if kind != "lines":
            return rows.separated(tasklist, _DELIMITERS[kind], lambda line, names: self._check(path, line, names))
        self._check(path, None, [self._input_column])
        return (Row(number, {self._input_column: line.strip()}) for number, line in rows.lines(tasklist))

    def _check(self, path: str, line: int | None, columns: Sequence[str]) -> None:
        """Raise `TasklistError` for columns that do not fit the command and the options."""
        there = f"(there are: {', '.join(columns)})" if line else "in a list of plain lines"
        for option, column in (("input_column", self._input_column), ("events_column", self._events_column)):
            if column and column not in columns:
                raise TasklistError(path, line, f"the column {column!r} of the option {option} is not here {there}.")
        made = (*_MADE, *self.COUNTS)
        wanted = (*self._fields.names, *(self._output.names if "output" in self._fields.names else ()))
        for name in wanted:
            if name not in made and name not in columns:
                raise TasklistError(path, line, f"{missing(name, f'no column {there}')}.")
        for name in columns:
            if name in made and name not in {self._input_column, self._events_column}:
                raise TasklistError(path, line, f"the column {name!r} has the name of a field; rename it.")

    def _pieces(self, place: int, row: Row, path: str) -> Iterator[Piece]:
        events = self._number(place, row, path)
        if events is None:
            return iter((Piece(0, 0, None),))
        if events == 0 and not self._skips_empty:
            raise ValueError("has no events; leave it out, or set the option empty=skip")
        return pieces(events, self._size or max(events, 1))

    def _number(self, place: int, row: Row, path: str) -> int | None:
        """Return how many events an input has, or None where nobody needs to know."""
        if self._events:
            return self._events
        if self._events_column:
            text = row.values[self._events_column]
            if not (text.isascii() and text.isdigit()):
                raise ValueError(f"its number of events is {text!r} here, which is no whole number")
            return int(text)
        needed = self._size or (not self.ALL and set(self.COUNTS) & set(self._fields.names))
        return self._counts.of(place, path) if needed else None


def _parts(place: int, path: str) -> dict[str, str]:
    directory, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    return {
        "input": no_option(path),
        "file_index": str(place),
        "dir": no_option(directory or "."),
        "stem": stem,
        "suffix": suffix,
    }


def _positive(option: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{option} is {value}; it must be 1 or more")
    return value


def _one_of(option: str, value: str, values: Sequence[str]) -> str:
    if value not in values:
        raise ValueError(f"{option} is {value!r}; it can be {' or '.join(values)}")
    return value
