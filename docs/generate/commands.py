"""The directive `commands`: every command with its arguments and options, from the commands themselves."""

import inspect
import re
from collections.abc import Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pytaskfarmer.cli.main import group

_ALSO = {"run": "pytaskfarmer.py"}
"""Commands that have a name of their own."""


class Commands(SphinxDirective):
    """Puts a section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return self.parse_text_to_nodes("\n".join(_all()), allow_section_headings=True)


def _all() -> Iterator[str]:
    with click.Context(group, info_name="pytaskfarmer") as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from _section(name, command, context)


def _section(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, parent, info_name=name)
    yield from (f"## pytaskfarmer {name}", "", f"```{{program}} pytaskfarmer {name}", "```", "")
    usages = [f"pytaskfarmer {name}", *([_ALSO[name]] if name in _ALSO else [])]
    words = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", *(f"{usage} {words}" for usage in usages), "```", "")
    yield from (inspect.cleandoc(command.help or ""), "")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield from _option(parameter, context)
    if command.epilog:
        yield from (command.epilog, "")


def _option(option: click.Option, context: click.Context) -> Iterator[str]:
    record = option.get_help_record(context)
    assert record is not None
    spelling, text = record
    yield from (f"````{{option}} {spelling}", _markdown(text), "````", "")


def _markdown(text: str) -> str:
    """Return the text of an option, with its default, which stands in brackets at its end, as a sentence."""
    body, *notes = re.split(r"\s+\[(?=default: |x[<>])", " ".join(text.split()))
    facts = [fact.removeprefix("default: ") for note in notes for fact in note.removesuffix("]").split("; ")]
    default = "; ".join(fact for fact in facts if not re.match("x[<>]", fact))
    return f"{body} Default: {default}." if default else body


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
