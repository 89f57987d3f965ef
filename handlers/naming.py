"""What tasks write: file names with fields, of which no two may become the same name, nor that of an input."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_FIELD = re.compile(r"\{([^\W\d]\w*)\}")
_NUMBER = r"\{(?:file_index|index|first)\}"
_MERGING = re.compile(rf"[}}\d]{_NUMBER}|{_NUMBER}(?!\{{suffix\}})[{{\d]")


@dataclass(frozen=True, slots=True)
class Naming:
    """A file name with fields, whose values are put in as they are; `names` are those of its fields."""

    text: str
    names: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(_FIELD.findall(self.text)))

    def check(self, *, split: bool) -> None:
        """Raise `ValueError` where pieces of an input, or of several, could have the same name."""
        if "{" in (rest := _FIELD.sub("", self.text)) or "}" in rest:
            raise ValueError(f"output has a brace that makes no field: {self.text}; write a field as {{stem}}")
        if split and not {"index", "first"} & set(self.names):
            raise ValueError("output needs {index}, else every piece of an input has the same output")
        if "output" in self.names:
            raise ValueError("output cannot have the field {output}, which is itself; use {stem}, or a column")
        if _MERGING.search(self.text):
            raise ValueError("output needs a sign between a number and what is beside it, as in {stem}_{index}")

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the name; every field must have a value."""
        return _FIELD.sub(lambda match: values[match[1]], self.text)


class Outputs:
    """The outputs of a list as it is read, of which no two may be the same, nor one be among the list's `inputs`.

    Inputs are told apart by the outputs of their first pieces, and remembered by those unless their place in the list
    is in the name: the pieces of two inputs are the same only where their first ones are (`Naming.check`). That is not
    true where the name has `columns` of the list, which may hold anything: then every piece is remembered.
    """

    def __init__(self, naming: Naming, inputs: Iterable[str], *, columns: bool) -> None:
        self._naming = naming
        self._inputs = {_same(path) for path in inputs}
        self._columns = columns
        self._seen: set[int] | None = set() if columns or "file_index" not in naming.names else None

    def next(self, index: int, values: Mapping[str, str]) -> str:
        """Return the output of the piece `index` of an input.

        Raises `ValueError` where it is an input, or the output of an earlier one.
        """
        output = no_option(self._naming.fill(values))
        known = _same(output)
        if known in self._inputs:
            if known == _same(values["input"]):
                raise ValueError("its output would be the file itself; set the option output to another name")
            told = f"its output {output!r} is also an input of the list"
            raise ValueError(f"{told}; set the option output to other names")
        if self._seen is not None and (index == 0 or self._columns):
            if known in self._seen:
                told = f"its output {output!r} is also that of {'a task' if self._columns else 'an input'} above"
                raise ValueError(f"{told}; put {{file_index}} into the option output{', last' * self._columns}")
            self._seen.add(known)
        return output


def no_option(path: str) -> str:
    """Return a spelling of a path that no program takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def _same(path: str) -> int:
    """Return a number that all spellings of a path share."""
    return hash(os.path.normpath(path))
