"""The directive `plugins`: what each built-in runner or handler says of itself, and its options."""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pytaskfarmer.plugins import installed
from pytaskfarmer.plugins.definitions import Definition
from pytaskfarmer.plugins.options import REQUIRED, Option, text_of
from pytaskfarmer.plugins.registry import describe

_KEYS = {"runner": "Runner", "handler": "TaskList"}
_END = re.compile(r"\n\n(?!- )", re.MULTILINE)
"""The end of a list: a blank line, and then something else."""


class Plugins(SphinxDirective):
    """Puts a section for each class; the argument is `runner` or `handler`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return self.parse_text_to_nodes("\n".join(_all(self.arguments[0])), allow_section_headings=True)


def _all(kind: str) -> Iterator[str]:
    """Yield a section for each built-in class, and for the class of 0.1.0 that has no name of its own."""
    names: dict[str, list[str]] = {}
    for name, target in installed.BUILT_IN[kind].items():
        names.setdefault(target, []).append(name)
    for target, its in names.items():
        yield from _section(sorted(its, key="default".__eq__), Definition(kind, its[0], target, {}, "", 0))
    for old, target in installed.ALIASES.items():
        if target not in names and old.endswith(_KEYS[kind]):
            yield from _section([old], Definition(kind, old, target, {}, "", 0))


def _section(names: list[str], definition: Definition) -> Iterator[str]:
    described = describe(definition)
    options = {option.name: option for option in described.options.known}
    yield from ("## " + ", ".join(f"`{name}`" for name in names), "")
    before, after = _parts(described.text)
    yield from (before, "")
    for named, meaning in _items(described.text):
        yield from (", ".join(f"`{name}` ({_facts(options.pop(name))})" for name in named), f": {meaning}", "")
    if options:
        raise ValueError(f"{definition.target}: its docstring does not mention {', '.join(options)}")
    yield from (after, "")


def _parts(text: str) -> tuple[str, str]:
    """Return what a docstring says before and after its list of options."""
    before, heading, rest = text.partition("\nOptions:\n\n")
    end = _END.search(rest) if heading else None
    return before, rest[end.start() :].lstrip("\n") if end else ""


def _items(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the names of options that a docstring explains together, and what it says about them."""
    listed = text.partition("\nOptions:\n\n")[2]
    end = _END.search(listed)
    for item in re.split(r"^- ", listed[: end.start()] if end else listed, flags=re.MULTILINE)[1:]:
        names, _, meaning = " ".join(item.split()).partition(": ")
        yield re.findall(r"`(\w+)`", names), meaning


def _facts(option: Option) -> str:
    if option.default is REQUIRED:
        return f"{option.kind.word}, required"
    default = text_of(option.default)
    return f"{option.kind.word}, default `{default}`" if default else option.kind.word


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("plugins", Plugins)
    return {"parallel_read_safe": True}
