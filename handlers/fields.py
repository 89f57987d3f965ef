"""Commands with fields: `gzip {file}` and the values of one task give the text of that task.

People write these commands for a shell, and braces belong to the shell and to awk. So only `{name}` and `{name:raw}`
are fields, where `name` is an identifier, and nothing else in a command is touched: `{print $1}`, `{a,b}`, `{}` and
`{{.ID}}` need no escape. `${name}` is the shell's. `{{name}}` is how to write `{name}`; this is the only escape, and a
`}}` elsewhere means nothing, so `{"n": {n}}` has one field.

A value must arrive as it is, whatever is in it. Quoting it alike everywhere does not work: in `sed 's/X/{v}/'` the
quotes around a value end those of the command, and the value is run. So we follow the shell's quotes through the
command. A value outside quotes is quoted. Inside quotes, those are ended before a value that needs its own, and begin
again after it. Where quotes mean something else (in backquotes, `${...}` or arithmetic, or after a backslash), only
values that need none are taken. `{name:raw}` is put in as it is, and may be as many words as it likes.

Where it still fails: a text inside the quotes that is a program again (`bash -c 'gzip {file}'`) sees the value without
quotes, and must not: `bash -c 'gzip "$1"' - {file}`. A `)` that ends no parenthesis (`case`) inside `$(...)` is
taken for its end.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

_FIELD = re.compile(r"\{\{([^\W\d]\w*(?::raw)?)\}\}|(?<!\$)\{([^\W\d]\w*)(:raw)?\}")
_UNQUOTABLE = frozenset({"`", "${", "((", "\\"})
_PLAIN_OPENERS = ("$((", "((", "$(", "(", "${", "$'", "'", '"', "`")
_QUOTED_OPENERS = ("$((", "$(", "${", "`")
_CLOSERS = {"'": "'", "$'": "'", '"': '"', "`": "`", "${": "}", "$(": ")", "(": ")", "((": ")"}


@dataclass(frozen=True, slots=True)
class Fields:
    """A command with fields.

    `names` are those of its fields, in the order in which they first appear. Raises `ValueError` for a command that no
    task can have.
    """

    text: str
    names: tuple[str, ...] = field(init=False, compare=False)
    _pieces: "tuple[str | _Field, ...]" = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("the command is empty; write one such as gzip {file}")
        if "\n" in self.text or "\0" in self.text:
            raise ValueError("the command has a newline or NUL byte; a task is one line, so separate commands by ;")
        pieces = tuple(_parse(self.text))
        names = dict.fromkeys(piece.name for piece in pieces if isinstance(piece, _Field))
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "_pieces", pieces)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the command with each field replaced by its value, quoted unless it is raw.

        Values without a field are ignored. Raises `ValueError` for a field without a value, and for a value that
        cannot be quoted where its field is.
        """
        try:
            return "".join([piece if isinstance(piece, str) else piece.fill(values) for piece in self._pieces])
        except KeyError as error:
            there = ", ".join(values) or "none"
            raise ValueError(missing(error.args[0], f"no value (there are: {there})")) from None


def missing(name: str, what: str) -> str:
    """Say that the field `name` has `what`, and what to do about it."""
    return f"the field {{{name}}} has {what}; correct its name, or write {{{{{name}}}}} if it is no field"


@dataclass(frozen=True, slots=True)
class _Field:
    """A field; `close` and `open` end and begin again the quotes around it. Unless `quotable`, no quotes may go in."""

    name: str
    raw: bool
    quotable: bool
    close: str = ""
    open: str = ""

    def fill(self, values: Mapping[str, str]) -> str:
        value = values[self.name]
        if self.raw:
            return value
        quoted = shlex.quote(value)
        if quoted == value:
            return value
        if self.quotable:
            return f"{self.close}{quoted}{self.open}"
        where = "is (in `...`, ${...} or $((...)), or after a backslash)"
        raise ValueError(
            f"the value {value!r} of the field {{{self.name}}} needs quotes, which mean something else where the field "
            f'{where}; put v={{{self.name}}}; before the command, and "$v" there'
        )


def _parse(text: str) -> "list[str | _Field]":
    pieces: list[str | _Field] = []
    around = _Around()
    end = 0
    for match in _FIELD.finditer(text):
        escaped, name, raw = match.groups()
        literal = text[end : match.start()] + (f"{{{escaped}}}" if escaped else "")
        end = match.end()
        around.read(literal)
        pieces.append(literal)
        if name:
            pieces.append(around.field(name, raw is not None))
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


class _Around:
    """What is open around a place in a command: quotes, parentheses and the like, the innermost last."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def field(self, name: str, raw: bool) -> _Field:
        """Return a field at this place."""
        quotable = _UNQUOTABLE.isdisjoint(self._open)
        if self._inside == "\\":
            self._open.pop()
        if self._inside in {"'", "$'", '"'}:
            return _Field(name, raw, quotable, _CLOSERS[self._inside], self._inside)
        return _Field(name, raw, quotable)

    def read(self, text: str) -> None:
        """Go on to behind `text`."""
        at = 0
        while at < len(text):
            at += self._step(text, at)

    @property
    def _inside(self) -> str:
        return self._open[-1] if self._open else ""

    def _step(self, text: str, at: int) -> int:
        """Go on by a token, and return its length."""
        character, inside = text[at], self._inside
        if inside == "\\" or character == _CLOSERS.get(inside):
            self._open.pop()
        elif character == "\\" and inside != "'":
            self._open.append(character)
        elif inside not in {"'", "$'"}:
            for token in _QUOTED_OPENERS if inside == '"' else _PLAIN_OPENERS:
                if text.startswith(token, at):
                    self._open += ["((", "("] if token.endswith("((") else [token]
                    return len(token)
        return 1
