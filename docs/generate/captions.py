"""A block with a file's name after its language gets that name as its caption."""

import re

from sphinx.application import Sphinx

_FILE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)


def _with_captions(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = _FILE.sub(r"```{code-block} \1\n:caption: \2", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", _with_captions)
    return {"parallel_read_safe": True}
