"""Which part of the work one command is given: a list of its own in an array job, or every n-th task of a list."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Handler, Tasklist


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` shards: the tasks whose place in the list leaves `remainder` when divided by `of`."""

    remainder: int
    of: int

    def __str__(self) -> str:
        return f"{self.remainder or self.of}/{self.of}"

    @property
    def suffix(self) -> str:
        """What tells its work directory from those of the others."""
        return f"_{self.remainder or self.of}of{self.of}"


class ShardParam(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """A shard, from `I/N`."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Return the shard; `0/N` and `N/N` are the same one, so that arrays may count from 0 or from 1."""
        if isinstance(value, Shard):
            return value
        first, _, second = str(value).partition("/")
        if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in (first, second)):
            self.fail(f"{value!r} is not a shard; write I/N, such as 1/4.", param, ctx)
        number, of = int(first), int(second)
        if not 0 <= number <= of or not of:
            self.fail(f"there is no shard {number} of {of}; count from 1 to N, or from 0 to N-1.", param, ctx)
        return Shard(number % of, of)


class Sharded:
    """A handler that yields the tasks of one shard of what another handler yields."""

    def __init__(self, handler: Handler, shard: Shard) -> None:
        self._handler = handler
        self._shard = shard
        self.reads_other_files = bool(getattr(handler, "reads_other_files", False))

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield every n-th task."""
        return islice(self._handler.tasks(tasklist), self._shard.remainder, None, self._shard.of)

    def prepare(self, tasklist: Tasklist) -> None:
        """Let the handler prepare what all shards need."""
        getattr(self._handler, "prepare", lambda tasklist: None)(tasklist)


def paths(
    tasklist: str, workdir: str | None, allocation: Allocation, *, array: bool, shard: Shard | None
) -> tuple[str, str | None]:
    """Return task list and work directory (None: the usual one) of this share. Raises `UsageError`."""
    if array and shard is not None:
        raise UsageError("--array and --shard: use one of them; the first takes a list of its own for each element.")
    if array:
        if allocation.array_task is None:
            raise UsageError("--array: this is no element of an array job. Submit the script with: sbatch --array=1-10")
        number = f"{allocation.array_task:03}"
        return tasklist + number, None if workdir is None else workdir + number
    if shard is not None:
        return tasklist, (workdir or os.path.normpath(tasklist) + "_workdir") + shard.suffix
    return tasklist, workdir
