"""All runners or handlers as lines for a person: names, classes, options, and where they come from."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from pytaskfarmer.errors import DefinitionError
from pytaskfarmer.plugins import trust
from pytaskfarmer.plugins.definitions import Definition, Entry, Refusal
from pytaskfarmer.plugins.installed import ITSELF
from pytaskfarmer.plugins.options import REQUIRED, Option, OptionError, text_of
from pytaskfarmer.plugins.registry import Description, Registry, describe
from pytaskfarmer.task import printable

_INDENT = "    "
_NARROWEST, _WIDEST = 60, 100
_LONGEST_VALUE = 2000
_ITEM = "- "


def show(kind: str, name: str | None, *, trust_ini: bool) -> None:
    """Print one runner or handler, or all. Raises `UnknownName`, and `DefinitionError` for one that cannot be used."""
    names = Registry.read(distrust=trust.rule(trust_all=trust_ini))
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    for line in lines(names, kind, width) if name is None else lines_of(names.definition(kind, name), width):
        print(printable(line, len(line)))
    if name is None:
        print(f"More about one of them: pytaskfarmer {kind}s NAME")


def lines(names: Registry, kind: str, width: int) -> Iterator[str]:
    """Yield what there is to say of every name of that kind; lines are at most `width` long where words allow.

    Imports what is installed, to tell what it is and whether it works, but no class that a file names.
    """
    found = names.known(kind)
    for title, entry in _titles(found.entries):
        yield title
        yield from _body(entry, width)
        yield ""
    notes = [note for entry in found.entries for note in names.notes(kind, entry.name)]
    notes += [f"{blind.where}: {blind.message}" for blind in found.unreadable]
    for note in notes:
        yield from _wrapped(f"note: {note}", width, "")


def lines_of(definition: Definition, width: int) -> Iterator[str]:
    """Yield all there is to say of one name. Raises `DefinitionError` if its class cannot be imported."""
    description = describe(definition)
    yield definition.name
    yield from _wrapped(_origin(definition), width)
    yield ""
    if description.text:
        yield from _reflowed(description.text, width)
    yield from _options(description, width)


def _titles(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """Yield each entry under its name; an installed class that has several, once under all of them."""
    titles: dict[tuple[str, str], tuple[list[str], Entry]] = {}
    for entry in entries:
        installed = isinstance(entry, Definition) and entry.installed
        key = (entry.where, entry.target) if isinstance(entry, Definition) and installed else ("", entry.name)
        titles.setdefault(key, ([], entry))[0].append(entry.name)
    for title, entry in titles.values():
        yield ", ".join(title), entry


def _body(entry: Entry, width: int) -> Iterator[str]:
    if isinstance(entry, Definition) and entry.installed:
        try:
            description = describe(entry)
        except DefinitionError as error:
            entry = Refusal(entry.kind, entry.name, error.where, error.message)
        else:
            if description.text:
                yield from _wrapped(description.text.partition("\n")[0], width)
            yield from _wrapped(_origin(entry), width)
            yield from _options(description, width)
            return
    if isinstance(entry, Refusal):
        yield from _wrapped(f"cannot be used: {entry.where}: {entry.message}", width)
        return
    yield from _wrapped(_origin(entry), width)
    yield from _table([(name, "", f"= {value}") for name, value in entry.written.items()], width)


def _origin(definition: Definition) -> str:
    origin = "built in" if definition.file == ITSELF else f"from {definition.where}"
    return f"{definition.target} ({origin})"


def _options(description: Description, width: int) -> Iterator[str]:
    written, known = description.definition.written, description.options.known
    rows = [(option.name, option.kind.word, _value(option, written)) for option in known]
    names = {option.name for option in known}
    others = description.options.others
    wrong = "" if others else " (cannot be used: there is no such option)"
    rows += [(name, "text", f"= {value}{wrong}") for name, value in written.items() if name not in names]
    if others:
        rows.append(("...", "text", "any other key"))
    yield from _table(rows, width)


def _value(option: Option, written: Mapping[str, str]) -> str:
    if option.name in written:
        return f"= {written[option.name]}{_wrong(option, written[option.name])}"
    if option.default is REQUIRED:
        return "required"
    default = text_of(option.default)
    return f"default {default}" if default else ""


def _wrong(option: Option, text: str) -> str:
    try:
        option.read(text)
    except OptionError:
        return f" (cannot be used: must be {option.kind.demand})"
    return ""


def _table(rows: list[tuple[str, str, str]], width: int) -> Iterator[str]:
    """Yield aligned rows; a last cell that is too long goes on below itself."""
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    for name, kind, value in rows:
        equals, text = ("= ", value[2:]) if value.startswith("= ") else ("", value)
        start = f"{_INDENT}  {name:{first}}  {kind:{second}}{'  ' if second else ''}{equals}"
        yield from _wrapped(printable(" ".join(text.split()), _LONGEST_VALUE), width, start)


def _reflowed(text: str, width: int) -> Iterator[str]:
    """Yield a docstring, its paragraphs and items wrapped; an example, which is indented, stays as it is."""
    for part in text.split("\n\n"):
        block: list[str] = []
        for line in part.splitlines():
            if block and (line.startswith(_ITEM) or block[0].startswith(" ")):
                yield from _block(block, width)
                block = []
            block.append(line)
        yield from _block(block, width)
        yield ""


def _block(block: list[str], width: int) -> list[str]:
    if block[0].startswith(" "):
        return [f"{_INDENT}{line}".rstrip() for line in block]
    hanging = "  " if block[0].startswith(_ITEM) else ""
    return _wrapped(" ".join(line.strip() for line in block), width, hanging=hanging)


def _wrapped(text: str, width: int, start: str = _INDENT, hanging: str = "") -> list[str]:
    """Return `text` as lines; the first begins with `start`, and the others stand below what follows it."""
    lines = textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=" " * len(start) + hanging, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [line.rstrip() for line in lines] or [start.rstrip()]
