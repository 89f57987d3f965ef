"""Pages that lie elsewhere in the repository: READMEs of examples are pages of the manual, and links lead there.

A page that consists of `<!-- the page is PATH -->` is that file. Links are written for who reads files, so one that
leaves the manual is turned here: to the README, it leads to the front page; to an example, to its page.
"""

import os
import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

_ELSEWHERE = re.compile(r"<!-- the page is (\S+) -->\s*")
_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(#[^)\s]*)?(?=\))")
_EXAMPLE = re.compile(r"examples/(\w+)/(?:README\.md)?")


def turned(link: str, anchor: str, folder: PurePosixPath, page: PurePosixPath) -> str:
    """Return a link of a file in `folder` as the page `page` must have it; paths are relative to the repository."""
    target = os.path.normpath(folder / link) + "/" * link.endswith("/")
    if target == "README.md":
        return os.path.relpath("docs/index.md", page.parent)
    if example := _EXAMPLE.fullmatch(target):
        return os.path.relpath(f"docs/examples/{example[1]}.md", page.parent)
    return os.path.relpath(target, page.parent) + anchor if folder != page.parent else link + anchor


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = PurePosixPath("docs") / f"{name}.md"
    folder = page.parent
    if elsewhere := _ELSEWHERE.fullmatch(source[0]):
        file = Path(app.srcdir, name).parent / elsewhere[1]
        app.env.note_dependency(file)
        source[0] = file.read_text()
        folder = PurePosixPath(os.path.normpath(folder / elsewhere[1])).parent
    source[0] = _LINK.sub(lambda link: turned(link[1], link[2] or "", folder, page), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", _read, priority=400)
    return {"parallel_read_safe": True}
