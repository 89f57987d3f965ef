"""What a caller can catch, beside what the called functions raise themselves."""

from concurrent.futures import BrokenExecutor

from pytaskfarmer.errors import FarmError


class WorkerDied(FarmError, RuntimeError):
    """The process in which a call ran died, or was killed. The text says how, and ends with what it had printed."""


class CannotTravel(FarmError, TypeError):
    """A function, an argument or a result that cannot be sent to or from a worker; the text names it."""


class RemoteError(FarmError, RuntimeError):
    """An exception of the called function that cannot travel; the text has its type and message."""


class BrokenPool(FarmError, BrokenExecutor):
    """No worker can be had, or the farm has ended, before the call was done."""


class RemoteTraceback(Exception):
    """Where the exception came from, in the words of the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"
