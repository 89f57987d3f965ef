"""What the child of a fork must not touch: copies of the descriptors and buffers of its parent.

A buffer that is written by both would be twice in the file, and a lock would be held for as long as the child lives. So
in the child these descriptors lead nowhere.
"""

import os
from typing import IO, Any
from weakref import WeakSet

_files: "WeakSet[IO[Any]]" = WeakSet()


def keep_from_children(*files: IO[Any]) -> None:
    """Let these files be of this process alone."""
    _files.update(files)


def _lead_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for file in tuple(_files):
        if not file.closed:
            os.dup2(nowhere, file.fileno(), inheritable=False)
    os.close(nowhere)


os.register_at_fork(after_in_child=_lead_nowhere)
