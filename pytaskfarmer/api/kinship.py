"""What `multiprocessing` is in a worker: that of a child of the caller, which has a name, a number, and its key.

Shared memory is the caller's. Whoever opens some tells it to its resource tracker, which unlinks it when those that it
serves have ended. Children share the tracker of the caller; a worker would have its own, and unlink at its end what the
caller still uses. So workers tell theirs nothing of shared memory: to unlink what they make is left to the caller.

Few calls use `multiprocessing`, whose import takes longer than a worker's other modules: so this is done when it is
imported.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_Act = Callable[[ModuleType], None]


def prepare(number: int, key: str | None) -> None:
    """Let this process be worker `number`, from 1, of a caller with this key (hexadecimal)."""
    acts: dict[str, _Act] = {
        "multiprocessing.process": partial(_introduce, number, None if key is None else bytes.fromhex(key)),
        "multiprocessing.resource_tracker": _leave_shared_memory,
    }
    for name in acts.keys() & sys.modules.keys():
        acts[name](sys.modules[name])
    sys.meta_path.insert(0, _Finder(acts))


def _introduce(number: int, key: bytes | None, process: ModuleType) -> None:
    current = process.current_process()
    current.name = f"PoolWorker-{number}"
    current._identity = (number,)
    if key is not None:
        current.authkey = key


def _leave_shared_memory(tracker: ModuleType) -> None:
    for name in ("register", "unregister"):
        setattr(tracker, name, partial(_unless_memory, getattr(tracker, name)))


def _unless_memory(tell: Callable[[str, str], None], name: str, kind: str) -> None:
    if kind != "shared_memory":
        tell(name, kind)


class _Finder:
    """Lets something be done when a module has been imported for the first time."""

    def __init__(self, acts: Mapping[str, _Act]) -> None:
        self._acts = acts

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import one of the modules that we wait for."""
        act = self._acts.get(name)
        spec = PathFinder.find_spec(name, path, target) if act is not None else None
        if act is not None and spec is not None and spec.loader is not None:
            loader = spec.loader
            loader.exec_module = partial(_execute, loader.exec_module, act)  # type: ignore[method-assign]
        return spec


def _execute(execute: _Act, act: _Act, module: ModuleType) -> None:
    execute(module)
    act(module)
