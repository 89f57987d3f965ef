"""Grids: a few lines `name = values`, and the tasks that come of combining them.

Values are words, quoted as for a shell, or ranges of integers, `1..1000` or `0..100..5`, both ends included. As in a
shell, a range may go down (`3..1`), and `001..100` keeps its zeros. A range is never a list in memory, so that a grid
of ten million tasks needs no more memory than one of ten.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import printable

from .rows import Row, lines

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""")
_RANGE = re.compile(r"([-+]?\d{1,18})\.\.([-+]?\d{1,18})(?:\.\.(\d{1,18}))?", re.ASCII)
_MEANT_AS_RANGE = re.compile(r"[-+.eE\d]*\d\.\.[-+.\d][-+.eE\d]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """The integers from one to another in steps, written with at least `width` characters."""

    integers: range
    width: int = 0

    def __iter__(self) -> Iterator[str]:
        return (f"{integer:0{self.width}}" for integer in self.integers)

    def __len__(self) -> int:
        return len(self.integers)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A name with its values, as line `line` gives them."""

    line: int
    name: str
    parts: tuple[Span | tuple[str, ...], ...]

    def __iter__(self) -> Iterator[str]:
        return (value for part in self.parts for value in part)

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def read(tasklist: Tasklist) -> tuple[Parameter, ...]:
    """Return the parameters of a grid, at least one, each with at least one value. Raises `TasklistError`.

    A grid is read to its end even where the list is growing: half a grid has other tasks, not fewer.
    """
    path = tasklist.path
    found: dict[str, Parameter] = {}
    for number, line in lines(Tasklist(path, tasklist.workdir)):
        name, equals, text = line.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            told = f"{printable(line, 60)!r} is not of the form `name = values`"
            raise TasklistError(path, number, f"{told}; a name is one of letters, digits and _.")
        if name in found:
            raise TasklistError(path, number, f"{name!r} has values already, in line {found[name].line}; join the two.")
        try:
            found[name] = Parameter(number, name, tuple(parts(text)))
        except ValueError as error:
            raise TasklistError(path, number, f"{error}.") from None
    if not found:
        raise TasklistError(path, None, "the grid is empty; write a line such as `energy = 10 20 50` for each field.")
    return tuple(found.values())


def product(parameters: Sequence[Parameter]) -> Iterator[Row]:
    """Yield a row for every combination of values; the last parameter changes fastest."""
    return _combined(parameters, {})


def _combined(parameters: Sequence[Parameter], chosen: dict[str, str]) -> Iterator[Row]:
    first, *rest = parameters
    for value in first:
        chosen[first.name] = value
        if rest:
            yield from _combined(rest, chosen)
        else:
            yield Row(None, dict(chosen))


def side_by_side(parameters: Sequence[Parameter], path: str) -> Iterator[Row]:
    """Yield a row of the first values, one of the second values, and so on. Raises `TasklistError` if some are left."""
    first = parameters[0]
    for other in parameters[1:]:
        if len(first) != len(other):
            told = (
                f"{other.name!r} has {len(other):,} values, and {first.name!r} in line {first.line} has {len(first):,}"
            )
            raise TasklistError(path, other.line, f"{told}; side by side, all must have as many.")
    names = [parameter.name for parameter in parameters]
    for values in zip(*parameters, strict=True):
        yield Row(None, dict(zip(names, values, strict=True)))


def parts(text: str) -> Iterator[Span | tuple[str, ...]]:
    """Yield the ranges in `text`, and the words between them. Raises `ValueError`."""
    words: list[str] = []
    for word in _words(text):
        span = _span(word)
        if span is None:
            words += shlex.split(word)
            continue
        if words:
            yield tuple(words)
        words = []
        yield span
    if words:
        yield tuple(words)


def _words(text: str) -> Sequence[str]:
    """Return the words of `text` with their quotes. Raises `ValueError` if there are none, or a quote does not end."""
    if _WORD.sub("", text).strip():
        raise ValueError(
            "a quote or backslash has no end; a value with a quote in it goes inside the other kind of quotes"
        )
    words = _WORD.findall(text)
    if not words:
        raise ValueError("there are no values, so the grid is empty; write them after the `=`")
    return words


def _span(word: str) -> Span | None:
    match = _RANGE.fullmatch(word)
    if not match:
        if _MEANT_AS_RANGE.fullmatch(word):
            problem = "is no range of integers such as 1..9 or 0..100..5; list the values"
            raise ValueError(f"{word} {problem}, or quote it if it is a value")
        return None
    low, high, step = match.groups()
    first, last, by = int(low), int(high), int(step or 1)
    if by == 0:
        raise ValueError(f"the step of the range {word} is 0; it must be 1 or more")
    padded = any(len(digits := end.lstrip("+-")) > 1 and digits.startswith("0") for end in (low, high))
    integers = range(first, last + 1, by) if first <= last else range(first, last - 1, -by)
    return Span(integers, max(len(low), len(high)) if padded else 0)
