"""What a worker has from its caller, who did not fork it: the key to the caller's managers.

Proxies of a `multiprocessing.Manager`, such as its queues, travel without the key of the manager; a child of the
caller has it.
"""

import sys
from collections.abc import Callable
from typing import Any

_Call = tuple[Callable[..., object], tuple[Any, ...]]


def accept(key: bytes, then: _Call | None) -> None:
    """Take over the key, in a worker, and call what else is to be called first."""
    from multiprocessing import current_process

    current_process().authkey = key
    if then is not None:
        function, arguments = then
        function(*arguments)


def bequeath(first: _Call | None) -> _Call | None:
    """Return what a worker is to call first, if it is also to have the key, in a caller who may have managers."""
    process = sys.modules.get("multiprocessing.process")
    return first if process is None else (accept, (bytes(process.current_process().authkey), first))
