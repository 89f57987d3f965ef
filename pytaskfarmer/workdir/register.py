"""`tasklist.json`: what list a work directory belongs to, how it is locked, and how far it has been set up.

The stub is published by `link`, so that exactly one creator wins before any lock exists; later versions replace it by
rename, under the main lock.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.workdir.layout import TMP_SUFFIX, Layout, disk

FORMAT = 1
CREATING, EXPANDING, COMPLETE = "creating", "expanding", "complete"


@dataclass(frozen=True, slots=True)
class Register:
    """The contents of `tasklist.json`.

    `run` is random and tells one run's files from another's. `source` is the list's absolute path, `size` (bytes) and
    `mtime_ns` its state when it was last read, `tasks` and `digest` what the handler made of it. `generation` grows
    whenever the list does. `lanes` holds the host of timeline lane 1, 2, ... `directory` is where the first farmer,
    and so its tasks, ran.
    """

    run: str
    lock: str
    source: str
    handler: str
    options: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    lease_seconds: float = 60.0
    state: str = CREATING
    expander: str = ""
    size: int = -1
    mtime_ns: int = -1
    tasks: int = 0
    digest: str = ""
    generation: int = 0
    lanes: tuple[str, ...] = ()
    directory: str = ""

    @property
    def complete(self) -> bool:
        """Whether `toprocess` has been made from the list."""
        return self.state == COMPLETE

    def seen(self, source: os.stat_result) -> bool:
        """Whether the list looks as it did when it was last read."""
        return (self.size, self.mtime_ns) == (source.st_size, source.st_mtime_ns)

    def made_from(self, source: str, handler: str, options: Mapping[str, str]) -> bool:
        """Whether these are the list and the handler by which the tasks were read last."""
        return (self.source, self.handler, self.options) == (source, handler, dict(options))


def new_run() -> str:
    """Return a random run id."""
    return secrets.token_hex(8)


def read(layout: Layout) -> Register | None:
    """Return the register, or None where there is none yet.

    Raises `WorkdirError` for one that this version does not understand, and OSError.
    """
    path = layout.register
    try:
        with open(path, "rb") as file:
            facts: dict[str, Any] = json.loads(file.read())
        version = facts["format"]
        if version > FORMAT:
            raise WorkdirError(
                f"{path}: written by a newer pytaskfarmer (format {version}; this one reads up to {FORMAT}). "
                f"Use that version, or another work directory."
            )
        known = {f.name for f in fields(Register)}
        facts["lanes"] = tuple(facts.get("lanes", ()))
        return Register(**{name: value for name, value in facts.items() if name in known})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise WorkdirError(
            f"{path}: not a register of a work directory ({error}). Use another work directory."
        ) from None


def _render(register: Register) -> bytes:
    return json.dumps(asdict(register), indent=1).encode() + b"\n"


def publish(layout: Layout, stub: Register) -> Register:
    """Publish `stub` unless somebody was first, and return what now stands there."""
    private = f"{layout.register}.{stub.run}{TMP_SUFFIX}"
    try:
        disk.write_file(private, [_render(stub)])
        disk.link(private, layout.register)
    except FileExistsError:
        pass
    finally:
        disk.unlink(private)
    disk.sync_directory(layout.root)
    register = read(layout)
    if register is None:
        raise WorkdirError(f"{layout.register}: vanished while the work directory was set up.")
    return register


def update(layout: Layout, register: Register, **changes: Any) -> Register:
    """Replace the register, under the main lock, and return the new one."""
    changed = replace(register, **changes)
    disk.replace(layout.register, [_render(changed)])
    return changed
