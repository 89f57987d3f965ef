"""Tasks from a command with fields, and a list of values."""

from collections.abc import Iterator, Sequence

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import printable

from . import grids, rows
from .fields import Fields, missing
from .rows import Row

_KINDS = ("auto", "lines", "csv", "tsv", "jsonl", "grid", "zip")
_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".grid": "grid"}


class Template:
    """A command with `{name}` fields, filled in from each row of a CSV, TSV or JSON-lines file, line, or grid point.

    Options:

    - `command`: what each task runs, such as `gzip {file}`. Values are quoted for the shell, except as `{name:raw}`.
      Braces around anything but a name are left alone, and `{{name}}` stands for `{name}`.
    - `kind`: what the list holds, as below; `auto` (the default) is what its ending says (.csv, .tsv, .jsonl, .ndjson,
      .grid), else `lines`.
    - `unused`: what to do about columns that have no field: `error` (the default), or `allow` them. A parameter of a
      grid must always have one.

    Kinds:

    - `lines`: each line is the value of the one field.
    - `csv`, `tsv`: the first line names the columns. Blanks around a value are dropped in CSV unless they are quoted.
    - `jsonl`: an object a line; numbers are as they are written, true and false are words.
    - `grid`: lines `name = values`, of which every combination is a task, the last name changing fastest. Values are
      words, quoted as in a shell, or ranges of integers as 1..1000 or 0..100..5.
    - `zip`: the same lines, whose values are taken side by side.

    Blank lines and lines that start with `#` are left out in every kind.
    """

    def __init__(self, *, command: str, kind: str = "auto", unused: str = "error") -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind is {kind!r}; it can be {', '.join(_KINDS)}")
        if unused not in {"error", "allow"}:
            raise ValueError(f"unused is {unused!r}; it can be error or allow")
        self._fields = Fields(command)
        if not self._fields.names:
            raise ValueError("the command has no field, so all tasks would be the same; write {file}, say, for a value")
        self._kind, self._allows_unused = kind, unused == "allow"

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the command of each row. Raises `TasklistError` for a list that does not fit the command."""
        for row in self._rows(tasklist):
            yield rows.text_of(self._fields, row, tasklist.path)

    def _rows(self, tasklist: Tasklist) -> Iterator[Row]:
        path, names = tasklist.path, self._fields.names
        kind = self._kind if self._kind != "auto" else kind_of(path)
        columns = _Columns(path, names, self._allows_unused)
        match kind:
            case "lines":
                return rows.plain(tasklist, _only(path, names))
            case "csv":
                return rows.separated(tasklist, ",", columns.check)
            case "tsv":
                return rows.separated(tasklist, "\t", columns.check)
            case "jsonl":
                return rows.json_lines(tasklist, names, columns.check)
            case _:
                parameters = grids.read(tasklist)
                _check_parameters(path, names, parameters, self._allows_unused and kind == "zip")
                return grids.product(parameters) if kind == "grid" else grids.side_by_side(parameters, path)


def kind_of(path: str) -> str:
    """Return what a list of this name holds."""
    return next((kind for ending, kind in _ENDINGS.items() if path.lower().endswith(ending)), "lines")


class _Columns:
    """What a command expects of the columns; columns that were accepted once are not looked at again."""

    def __init__(self, path: str, names: Sequence[str], allows_unused: bool) -> None:
        self._path, self._names, self._allows_unused = path, names, allows_unused
        self._accepted: Sequence[str] | None = None

    def check(self, line: int, columns: Sequence[str]) -> None:
        if columns == self._accepted:
            return
        for name in self._names:
            if name not in columns:
                what = f"no column here (there are: {printable(', '.join(columns))})"
                raise TasklistError(self._path, line, f"{missing(name, what)}.")
        unused = [] if self._allows_unused else [column for column in columns if column not in self._names]
        if unused:
            remedy = "use it in the command, remove it, or set the option unused=allow"
            raise TasklistError(self._path, line, f"the column {unused[0]!r} has no field in the command; {remedy}.")
        self._accepted = columns


def _only(path: str, names: Sequence[str]) -> str:
    if len(names) > 1:
        told = f"the command has {len(names)} fields ({', '.join(names)}), and a plain line is the value of one"
        remedy = "list values for all as CSV, with a first line that names the columns, and set the option kind=csv"
        raise TasklistError(path, None, f"{told}; {remedy}.")
    return names[0]


def _check_parameters(
    path: str, names: Sequence[str], parameters: Sequence[grids.Parameter], allows_unused: bool
) -> None:
    there = [parameter.name for parameter in parameters]
    for name in names:
        if name not in there:
            what = f"no values here (there are: {', '.join(there)})"
            raise TasklistError(path, None, f"{missing(name, what)}.")
    for parameter in () if allows_unused else parameters:
        if parameter.name not in names:
            told = f"{parameter.name!r} has no field in the command"
            raise TasklistError(path, parameter.line, f"{told}; use it there, or remove this line.")
