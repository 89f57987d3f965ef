"""Where calls can run."""

from collections.abc import Callable
from typing import Protocol

from pytaskfarmer.api.host import Options


class Farm(Protocol):
    """Where the tasks run: farmers on this node, or in jobs of a batch system.

    `outstanding` is set by the session: how many slices have no result yet. About `ahead` slices are to be listed at a
    time, which may grow.
    """

    ahead: int
    outstanding: Callable[[], int]

    def poke(self) -> None:
        """Say that the list has grown."""
        ...

    def wait(self) -> bool:
        """Return when there may be new results; False when no more will come, since the farm has ended."""
        ...

    def finish(self) -> None:
        """Say that the list will grow no more, and wait until the farm has ended."""
        ...

    def stop(self) -> None:
        """End the farm now, and wait until it has ended."""
        ...

    def close(self) -> None:
        """Let go of what it was heard with."""
        ...

    def complaint(self) -> str:
        """Return why it ended, in a line."""
        ...


class Cluster(Protocol):
    """Where farmers can be started other than on this node."""

    def expected(self, wished: int | None) -> int:
        """Return how many calls will run at a time when all farmers run, or about the most that may.

        `wished` is how many the caller wants, None for as many as there can be.
        """
        ...

    def start(self, options: Options) -> Farm:
        """Start farmers of the work directory `options.root`, `options.slots` workers each if that is above 0."""
        ...
