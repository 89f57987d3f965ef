"""A bar on standard error that grows with what has ended; nothing where that is neither a terminal nor a notebook."""

import sys
from collections.abc import Callable
from importlib.util import find_spec


def bar(of: str) -> Callable[[int, int], object]:
    """Return what is to be called with the numbers of ended and of all things; the bar goes when they are equal.

    In a notebook without ipywidgets, which rich needs there, it is a line that counts, and stays.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        return _counting(of)
    progress = Progress(console=console, transient=True)
    task = progress.add_task(of)

    def show(done: int, total: int) -> None:
        progress.start()  # here, so that nothing stays on the screen if it never comes to this
        progress.update(task, completed=done, total=total)
        if done == total:
            progress.stop()

    return show


def _counting(of: str) -> Callable[[int, int], object]:
    """Return the same for a line that is written anew with each percent."""
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if percent > shown:
            shown = percent
            print(f"\r{of}: {done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
