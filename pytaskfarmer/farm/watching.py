"""What a farmer tells those who watch it."""

from dataclasses import dataclass
from typing import Protocol

from pytaskfarmer.task import Attempt


@dataclass(slots=True)
class Tally:
    """The numbers of a farmer at work.

    `tasks` is the length of the list; `before` what was done when this farmer came, None where it did not look, and
    `failed_before` what of that had failed; `in_trouble` whether nothing is started for now, since a disk is full;
    `waiting` an estimate of what is in `toprocess`; `company` the number of other farmers. The rest counts what this
    farmer did or holds.
    """

    tasks: int = 0
    before: int | None = None
    failed_before: int = 0
    waiting: int = 0
    company: int = 0
    finished: int = 0
    failed: int = 0
    stopped: int = 0
    started: int = 0
    running: int = 0
    held: int = 0
    in_trouble: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """How a farmer ended. Durations in seconds.

    `list_finished`, `list_failed` and `left` count the whole list; they are estimates if not `exact`.
    """

    tally: Tally
    seconds: float
    busy_seconds: float
    failures: tuple[Attempt, ...]
    list_finished: int
    list_failed: int
    left: int
    exact: bool
    others: int
    not_fitting: int = 0
    stopped_by: str | None = None
    claims_left: bool = False
    unfit: bool = False

    @property
    def exit_status(self) -> int:
        """0 nothing left, or the rest is held by other farmers, and none failed; 1 some failed; 3 work is left.

        2 if the runner's workers could not be had.
        """
        if self.unfit:
            return 2
        abandoned = self.left and (self.stopped_by or self.not_fitting or not self.others)
        if abandoned or self.claims_left:
            return 3
        return 1 if self.list_failed else 0


class Observer(Protocol):
    """Who watches a farmer; called from its loop, so it is quick and does not raise."""

    def tick(self, tally: Tally) -> None:
        """Look at the numbers; called at least once a second."""
        ...

    def ended(self, attempt: Attempt) -> None:
        """Learn of the end of an attempt."""
        ...

    def say(self, line: str) -> None:
        """Tell a person."""
        ...

    def warn(self, line: str) -> None:
        """Tell a person, even one who asked for quiet."""
        ...
