"""Values of options, as click types: one line says what is wrong with them and what is right; and shared options."""

import signal
from collections.abc import Sequence
from typing import Any

import click

from pytaskfarmer.durations import parse_duration


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """Seconds, from words such as `90s`, `10m`, `2h` or `1:30:00`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Directory(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """The name of a directory; an empty one comes from a variable that is not set."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        if not value:
            self.fail("the name is empty; is the variable set that it comes from?", param, ctx)
        return str(value)


class Count(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """A whole number above 0."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is not a whole number above 0.", param, ctx)
        return number


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """Bytes, from words such as `4G` or `500M`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        from pytaskfarmer.farm.resources import parse_size

        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SignalName(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """The number of a signal, from `TERM`, `SIGTERM` or `15`."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the signal's number."""
        word = str(value).upper().removeprefix("SIG")
        try:
            return int(signal.Signals(int(word)) if word.isdigit() else signal.Signals["SIG" + word])
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not a signal; write a name such as TERM, INT or USR1, or a number.", param, ctx)


class Slots(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """A number of slots, `auto` or `all`; the last two are returned as they are."""

    name = "slots"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return a number above 0, or the word."""
        if value in {"auto", "all"}:
            return str(value)
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of slots; write a number above 0, or auto.", param, ctx)
        if number < 1:
            self.fail(f"{number} slots cannot run anything; write a number above 0, or auto.", param, ctx)
        return number


def _pairs(context: click.Context, parameter: click.Parameter, words: Sequence[str]) -> dict[str, str]:
    if not words:
        return {}
    from pytaskfarmer.plugins.options import pairs

    return pairs(parameter.opts[0], words)


HANDLER = click.option(
    "-t", "--tasklist", "--handler", "handler", default="default", show_default=True, metavar="NAME",
    help="Read the task list with this handler; `pytaskfarmer handlers` lists them.",
)  # fmt: skip
RUNNER_OPTIONS = click.option(
    "-R", "--runner-option", "runner_options", multiple=True, metavar="KEY=VALUE", callback=_pairs,
    help="Set an option of the runner; it comes before that of an INI file. May be used several times.",
)  # fmt: skip
HANDLER_OPTIONS = click.option(
    "-T", "--handler-option", "handler_options", multiple=True, metavar="KEY=VALUE", callback=_pairs,
    help="Set an option of the handler; it comes before that of an INI file. May be used several times.",
)  # fmt: skip
TRUST_INI = click.option(
    "--trust-ini",
    is_flag=True,
    help="Obey INI files also if they belong to other users, or if others can write to them.",
)
