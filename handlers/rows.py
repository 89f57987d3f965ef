"""Task lists of rows, streamed: plain lines, CSV and TSV, JSON lines.

Which lines count is the same for all of them as for a list of plain tasks. No row is longer than its line, since a task
is one line.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import decode, defect, encode, printable

from .fields import Fields
from .lines import raw_lines

_BLANKS = re.compile(r'((?:^|,) *+"(?:[^"]|"")*")|(?<! ) ++(?=,|$)')
"""A quoted value, with what is before it (a quote elsewhere is a sign like any other), or blanks before a comma."""
_SPOKEN = {",": "comma", "\t": "tab"}

Check = Callable[[int, Sequence[str]], None]
"""Is told a line and the columns it names; raises `TasklistError` for columns that will not do."""


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one task; `line` counts from 1, and is None for values that come from several lines."""

    line: int | None
    values: Mapping[str, str]


def text_of(fields: Fields, row: Row, path: str) -> str:
    """Return the text of the task that `row`, from the list at `path`, makes of `fields`. Raises `TasklistError`."""
    try:
        text = fields.fill(row.values)
    except ValueError as error:
        raise TasklistError(path, row.line, f"{error}.") from None
    try:
        wrong = defect(encode(text))
    except UnicodeEncodeError:
        wrong = "has half of a surrogate pair, which is no character"
    if wrong:
        raise TasklistError(path, row.line, f"this task {wrong}.")
    return text


def lines(tasklist: Tasklist) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that may be a row."""
    return ((number, decode(line)) for number, line in raw_lines(tasklist))


def plain(tasklist: Tasklist, name: str) -> Iterator[Row]:
    """Yield a row for each line; the whole line is the value of the column `name`."""
    for number, line in lines(tasklist):
        yield Row(number, {name: line})


def separated(tasklist: Tasklist, delimiter: str, check: Check) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file, whose first line names the columns.

    Values may be quoted as in CSV. Blanks around a value of a CSV file are dropped unless they are quoted.
    """
    columns: Sequence[str] = ()
    header = 0
    for number, line in lines(tasklist):
        if delimiter == ",":
            line = _BLANKS.sub(r"\1", line)
        try:
            (values,) = csv.reader((line,), delimiter=delimiter, skipinitialspace=delimiter == ",", strict=True)
        except csv.Error as error:
            raise TasklistError(tasklist.path, number, _unreadable(error)) from None
        if not header:
            header, columns = number, _columns(tasklist.path, number, values)
            check(number, columns)
        elif len(values) == len(columns):
            yield Row(number, dict(zip(columns, values, strict=True)))
        else:
            told = f"this row has {_count(len(values), 'value')}, line {header} names {_count(len(columns), 'column')}"
            if len(values) > len(columns):
                remedy = f"quote a value that has a {_SPOKEN[delimiter]} in it"
            else:
                remedy = f"add what is missing, with a {_SPOKEN[delimiter]} also beside an empty value"
            raise TasklistError(tasklist.path, number, f"{told}; {remedy}.")
    if not header and not tasklist.growing:
        raise TasklistError(tasklist.path, None, "is empty; its first line must name the columns.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _columns(path: str, number: int, names: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in names)
    for name, times in Counter(columns).items():
        if times > 1:
            raise TasklistError(path, number, f"{times} columns are named {name!r}; rename all but one.")
    return columns


def _unreadable(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "there is a carriage return within this line; end lines as Unix or Windows does."
    if "unexpected end" in str(error):
        return "a quoted value does not end in its line; close the quote, or remove the newline: a task is one line."
    return f"cannot be read as CSV ({error}); inside a quoted value, write two quotes for one."


def json_lines(tasklist: Tasklist, names: Sequence[str], check: Check) -> Iterator[Row]:
    """Yield the values that `names` have in the objects of a JSON-lines file.

    Numbers are as they are written, true and false are words; null, lists and objects are no values.
    """
    for number, line in lines(tasklist):
        try:
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            problem = printable(str(error), 100)
            raise TasklistError(tasklist.path, number, f"cannot be read as JSON ({problem}).") from None
        if not isinstance(found, dict):
            raise TasklistError(tasklist.path, number, 'is no JSON object; write one such as {"file": "a.root"}.')
        check(number, tuple(found))
        yield Row(number, {name: _scalar(tasklist.path, number, name, found[name]) for name in names})


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _scalar(path: str, number: int, name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    what = {type(None): "null", list: "a list"}.get(type(value), "an object")
    raise TasklistError(path, number, f"{name!r} is {what}; a field needs a text, a number, true or false.")
