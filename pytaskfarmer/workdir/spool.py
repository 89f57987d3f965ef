"""Task lists that can be read only once: standard input, and pipes such as the shell's `<(...)`."""

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from pytaskfarmer.errors import TasklistError, WorkdirError
from pytaskfarmer.workdir import register
from pytaskfarmer.workdir.layout import TMP_SUFFIX, Layout, disk

_BLOCK = 1 << 20


def is_needed(tasklist: str) -> bool:
    """Whether the list cannot be read again by the next farmer."""
    if tasklist == "-":
        return True
    try:
        mode = os.stat(tasklist).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def kept(tasklist: str, layout: Layout, *, keep: bool) -> Iterator[str]:
    """Give the path from which the list can be read, more than once.

    A list that cannot is copied into the work directory, under a name that its contents determine, so that the same
    input is the same list; or, unless `keep`, into a temporary file. A copy of which nothing came is removed again.
    """
    if not is_needed(tasklist):
        yield os.path.abspath(tasklist)
        return
    try:
        stream = sys.stdin.buffer if tasklist == "-" else open(tasklist, "rb")
    except OSError as error:
        raise TasklistError(tasklist, None, f"cannot read the task list: {error.strerror}.") from None
    with _copied(stream, layout) if keep else _copied_for_now(stream) as path:
        try:
            yield path
        except TasklistError as error:
            if error.path != path:
                raise
            name = "standard input" if tasklist == "-" else tasklist
            raise TasklistError(name, error.line, error.message) from None


@contextlib.contextmanager
def _copied_for_now(stream: BinaryIO) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="pytaskfarmer-") as copy:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            copy.write(block)
        copy.flush()
        yield copy.name


@contextlib.contextmanager
def _copied(stream: BinaryIO, layout: Layout) -> Iterator[str]:
    """Give a copy in the work directory; if nothing has come of it by the end, take it away again."""
    made = not os.path.isdir(layout.root)
    before = set() if made else set(os.listdir(layout.root))
    try:
        path = _copy(stream, layout)
    except OSError as error:
        problem = f"cannot keep the task list: {error.strerror}."
        raise WorkdirError(f"{error.filename or layout.root}: {problem}") from None
    try:
        yield path
    finally:
        known = register.read(layout)
        if os.path.basename(path) not in before and (known is None or known.source != path):
            disk.unlink(path)
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(layout.root)


def _copy(stream: BinaryIO, layout: Layout) -> str:
    os.makedirs(layout.root, exist_ok=True)
    digest = hashlib.sha256()
    fd, private = tempfile.mkstemp(suffix=TMP_SUFFIX, dir=layout.root)

    def blocks() -> Iterator[bytes]:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
            yield block

    try:
        os.close(fd)
        disk.write_file(private, blocks())
        path = layout.spooled_list(digest.hexdigest()[:16])
        disk.rename(private, path)
    except BaseException:
        disk.unlink(private)
        raise
    return path
