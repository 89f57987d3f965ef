"""Commands that take the options of `run`, too: these are checked like their own, and handed on as they were typed."""

import copy
import os
from collections.abc import Collection, Iterator, Mapping, Sequence

import click

from pytaskfarmer.cli import run
from pytaskfarmer.cli.arguments import legacy

_WORDS = "pytaskfarmer.cli.words"


class HandsOn(click.Command):
    """A command that hands options on."""

    _own: frozenset[str]

    def take(self, but: Collection[str]) -> None:
        """Take the options of `run`, which the help does not show, except those of these names."""
        self._own = frozenset(name for option in self.params for name in option.opts)
        self.params += [_hidden(option) for option in run.command.params if option.name not in but]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words as they were typed."""
        ctx.meta[_WORDS] = legacy(args, run.spellings(self), os.path.isfile)
        return super().parse_args(ctx, list(ctx.meta[_WORDS]))

    def handed_on(self, ctx: click.Context) -> Iterator[tuple[str, list[str]]]:
        """Yield the words that are not this command's own options; see `split`."""
        typed: list[str] = ctx.meta[_WORDS]
        return ((name, words) for name, words in split(typed, run.spellings(self)) if name not in self._own)


def split(typed: Sequence[str], spellings: Mapping[str, bool]) -> Iterator[tuple[str, list[str]]]:
    """Yield each option with its words, value included, and arguments under the name "".

    `spellings` has every spelling of every option, and whether a value follows it.
    """
    left = iter(typed)
    for word in left:
        name, equals, _ = word.partition("=")
        if word == "--":
            yield "", [word, *left]
        elif name in spellings:
            yield name, [word, *([next(left, "")] if spellings[name] and not equals else [])]
        else:
            yield "", [word]


def _hidden(option: click.Parameter) -> click.Parameter:
    option = copy.copy(option)
    if isinstance(option, click.Option):
        option.hidden = True
    return option
