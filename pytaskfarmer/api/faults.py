"""What a caller can catch, beside what the called functions raise themselves."""

from concurrent.futures import BrokenExecutor
from pickle import PicklingError

from pytaskfarmer.errors import FarmError


class WorkerDied(FarmError, RuntimeError):
    """The process in which a call ran died, or was killed.

    `status` is its exit status, or minus the number of the signal; `log` is the end of what it had printed.
    """

    def __init__(self, text: str, status: int = 1, log: str = "") -> None:
        super().__init__(text)
        self.status, self.log = status, log


class CannotTravel(FarmError, TypeError, PicklingError):
    """A function, an argument or a result that cannot be sent to or from a worker; the text names it."""


class RemoteError(FarmError, RuntimeError):
    """An exception of the called function that cannot travel, or is none to end a caller with, such as `SystemExit`.

    The text has its type and message.
    """


class BrokenPool(FarmError, BrokenExecutor):
    """No worker can be had, or the farm has ended, before the call was done."""


class RemoteTraceback(Exception):
    """Where the exception came from, in the words of the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tb = text  # as concurrent.futures calls it

    def __str__(self) -> str:
        return f"\n{self.tb}"
