"""`pytaskfarmer handlers [NAME]`."""

import click

from pytaskfarmer.cli.values import TRUST_INI
from pytaskfarmer.views import catalogue


@click.command("handlers", short_help="List the handlers, with their options.")
@click.argument("name", required=False)
@TRUST_INI
def command(name: str | None, trust_ini: bool) -> None:
    """List the handlers that are known here: the class, the options with their defaults, and where it comes from.

    With a NAME, print all that its class says about it. Without, a class that an INI file names is not imported.
    """
    catalogue.show("handler", name, trust_ini=trust_ini)
