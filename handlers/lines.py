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
        with open(tasklist.path, "rb") as lines:
            if lines.read(len(_BOM)) != _BOM:
                lines.seek(0)
            for number, line in enumerate(lines, start=1):
                if tasklist.growing and not line.endswith(b"\n"):
                    return
                line = line.removesuffix(b"\n").removesuffix(b"\r")
                if line.strip() and not line.startswith(b"#"):
                    wrong = defect(line)
                    if wrong:
                        raise TasklistError(tasklist.path, number, f"this task {wrong}.")
                    yield decode(line)
