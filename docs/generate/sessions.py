"""How sessions are coloured: what follows `$ ` is typed, and all else is output, also where it begins with `#`."""

import re

from pygments.lexers.shell import BashSessionLexer
from sphinx.application import Sphinx


class _Session(BashSessionLexer):
    _ps1rgx = re.compile(r"(\$ )(.*\n?)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_lexer("console", _Session)
    return {"parallel_read_safe": True}
