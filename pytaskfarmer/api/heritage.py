"""What a worker has from its caller, who did not fork it: arguments, flags of the interpreter, the key to its managers.

Proxies of a `multiprocessing.Manager`, such as its queues, travel without the key of the manager; a child of the
caller has it. It travels in the environment of the processes on this node, never in a file.
"""

import subprocess
import sys
from collections.abc import Iterator

KEY = "PYTASKFARMER_AUTHKEY"


def environment() -> dict[str, str]:
    """Return what is to be in the environment of workers of this node, in a caller who may have managers."""
    process = sys.modules.get("multiprocessing.process")
    return {} if process is None else {KEY: bytes(process.current_process().authkey).hex()}


def flags() -> Iterator[str]:
    """Yield the options -O, -W and -X of this interpreter: all others decide where it finds modules."""
    words = iter(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]
    for word in words:
        if word == "-X":
            yield from (word, next(words))
        elif word.startswith(("-O", "-W")):
            yield word
