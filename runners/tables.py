"""Tables of numbers, as columns of doubles, and CSV files that hold one."""

import csv
import math
import os
import re
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pytaskfarmer.errors import FarmError
from pytaskfarmer.task import printable

_NAMED = 12
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")


class DatasetError(FarmError, ValueError):
    """A data set that cannot be used; `line` counts from 1, or is None where no single line is at fault."""

    def __init__(self, path: str | os.PathLike[str], line: int | None, message: str) -> None:
        super().__init__(os.fspath(path), line, message)
        self.path, self.line, self.message = os.fspath(path), line, message

    def __str__(self) -> str:
        path = printable(self.path, 1000)
        return f"{path}: {self.message}" if self.line is None else f"{path}, line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Events as columns: `events["name"]` is a column, `len(events)` their number, `events[a:b]` some of them.

    A column is an `array` of doubles; `numpy.asarray(events["name"])` is a view of it.
    """

    columns: "dict[str, array[float]]"

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return Table({name: column[which] for name, column in self.columns.items()})
        return self.columns[which]

    @property
    def fields(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)


def read_csv(path: str | os.PathLike[str], names: Collection[str] = (), *, finite: bool = False) -> Table:
    """Read a file of comma-separated numbers under one header line; blank lines are no events.

    Only the columns `names` are read, or all if none is named. NaN and infinities are numbers unless `finite`.
    Raises `DatasetError`, which names the line, if a line has not as many fields as the header, or a text that is no
    number in a column that is read.
    """
    number = _finite if finite else float
    try:
        # What is not UTF-8 may stand in the columns that nobody reads.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, strict=True)
            try:
                header = [name.strip() for name in next(_filled(rows), ())]
                columns = {header[place]: (place, array("d")) for place in _places(path, header, names)}
                for row in _filled(rows):
                    if len(row) != len(header):
                        raise DatasetError(path, rows.line_num, _ragged(len(row), len(header)))
                    for place, column in columns.values():
                        try:
                            column.append(number(row[place]))
                        except ValueError:
                            expected = "a finite number" if finite else "a number"
                            message = f"{printable(header[place])} is {printable(row[place])!r}, expected {expected}"
                            raise DatasetError(path, rows.line_num, message) from None
            except csv.Error as error:
                raise DatasetError(path, rows.line_num, f"is not comma-separated ({error}); correct it") from None
    except OSError as error:
        raise unreadable(path, error) from None
    return Table({name: column for name, (_, column) in columns.items()})


def _filled(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if len(row) > 1 or (row and row[0].strip()))


def _places(path: str | os.PathLike[str], header: list[str], names: Collection[str]) -> list[int]:
    """Return which columns are to be read."""
    if not header:
        raise DatasetError(path, None, "the file is empty; expected a header line and one event a line")
    if any(map(_NO_TEXT.search, header)):
        raise DatasetError(path, None, "is neither a ROOT file nor comma-separated text in UTF-8; unpack or convert it")
    wanted = names or header
    for name in wanted:
        if name not in header:
            raise DatasetError(path, None, f"has no column {name!r}; its columns are {listed(header)}")
        if header.count(name) > 1:
            raise DatasetError(path, None, f"has two columns {name!r}; rename one")
    return [place for place, name in enumerate(header) if name in wanted]


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _ragged(found: int, expected: int) -> str:
    fields = "1 field" if found == 1 else f"{found} fields"
    return f"{fields} where {expected} {'is' if expected == 1 else 'are'} expected"


def unreadable(path: str | os.PathLike[str], error: OSError) -> DatasetError:
    """Return what to raise for a file that the system does not let us read."""
    return DatasetError(path, None, error.strerror or str(error))


def listed(names: list[str]) -> str:
    """Return names of columns, branches or trees for a message, the first of them if they are many."""
    named = ", ".join(repr(printable(name, 60)) for name in names[:_NAMED])
    return named if len(names) <= _NAMED else f"{named} and {len(names) - _NAMED} more"
