"""The default handler: one task a line."""

from collections.abc import Iterator

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import decode, defect

_BOM = b"\xef\xbb\xbf"


class Lines:
    """Each line is a task; blank lines and lines that start with `#` are not.

    Accepts CRLF line ends, a byte order mark and a missing last newline. Nothing else of a line is changed.
    """

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the lines of `tasklist.path` that are tasks. Raises `TasklistError` for one that cannot run."""
        for number, line in raw_lines(tasklist):
            wrong = defect(line)
            if wrong:
                raise TasklistError(tasklist.path, number, f"this task {wrong}.")
            yield decode(line)


def raw_lines(tasklist: Tasklist) -> Iterator[tuple[int, bytes]]:
    """Yield number and text of each line that is not left out. The last one of a growing list must have its line end.

    Blank lines and lines that start with `#` are left out. CRLF line ends, a byte order mark and a missing last newline
    are accepted.
    """
    with open(tasklist.path, "rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        for number, line in enumerate(file, start=1):
            if tasklist.growing and not line.endswith(b"\n"):
                return
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if line.strip() and not line.startswith(b"#"):
                yield number, line
