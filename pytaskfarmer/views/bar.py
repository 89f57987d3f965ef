"""A bar on standard error that grows with what has ended; nothing where that is no terminal."""

from collections.abc import Callable


def bar(of: str) -> Callable[[int, int], object]:
    """Return what is to be called with the numbers of ended and of all things; the bar goes when they are equal."""
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task(of)

    def show(done: int, total: int) -> None:
        progress.start()  # here, so that nothing stays on the screen if it never comes to this
        progress.update(task, completed=done, total=total)
        if done == total:
            progress.stop()

    return show
