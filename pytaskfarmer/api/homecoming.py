"""How values of classes that were sent by value come home: as instances of the class that is here, left as it is.

cloudpickle packs such a class with each instance, with its attributes and methods as they were in the other process,
and sets them again wherever it is unpacked: a result would take the caller's own class back to what a worker knew of
it. Here a class is known by the number that cloudpickle gave it in this process or, where an earlier caller's results
are read, by its name in `__main__`; only one that is not known is made. `byvalue` sees to it that each has its full
name with it.
"""

import io
import pickle
import sys
from collections.abc import Sequence
from typing import Any

_BY_VALUE = "cloudpickle.cloudpickle"


def load(data: bytes | bytearray | memoryview) -> Any:
    """Return what was packed."""
    if _BY_VALUE not in sys.modules or _BY_VALUE.encode() not in bytes(data):
        return pickle.loads(data)
    return _Unpickler(io.BytesIO(data)).load()


def known_classes() -> list[type]:
    """Return the classes that were sent by value, from here or to here."""
    return list(sys.modules[_BY_VALUE]._DYNAMIC_CLASS_TRACKER_BY_CLASS) if _BY_VALUE in sys.modules else []


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._theirs = sys.modules[_BY_VALUE]
        self._known: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return what is named in a pickle, and our own makers of classes in the place of cloudpickle's."""
        ours = {
            "_make_skeleton_class": self._class,
            "_make_skeleton_enum": self._enum,
            "_class_setstate": self._set_state,
        }
        return ours[name] if module == _BY_VALUE and name in ours else super().find_class(module, name)

    def _class(
        self, kind: type, name: str, bases: Sequence[type], facts: dict[str, Any], number: str, *more: Any
    ) -> type:
        known = self._find(number, facts.get("__module__"), facts.get("__qualname__", name))
        if known is not None:
            return known
        made: type = self._theirs._make_skeleton_class(kind, name, bases, facts, number, *more)
        return made

    def _enum(
        self, bases: Sequence[type], name: str, path: str, members: dict[str, Any], module: str, number: str, *more: Any
    ) -> type:
        known = self._find(number, module, path)
        if known is not None:
            return known
        made: type = self._theirs._make_skeleton_enum(bases, name, path, members, module, number, *more)
        return made

    def _find(self, number: str, module: str | None, path: str) -> type | None:
        found: Any = self._theirs._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
        if found is None and module == "__main__":
            found = sys.modules["__main__"]
            for name in path.split("."):
                found = getattr(found, name, None)
        if not isinstance(found, type):
            return None
        self._known.append(found)
        return found

    def _set_state(self, thing: type, state: Any) -> type:
        if any(thing is known for known in self._known):
            return thing
        self._theirs._class_setstate(thing, state)
        return thing
