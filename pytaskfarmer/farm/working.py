"""From a work directory and a list to a summary: open the books, farm, and open them anew after an eviction."""

import contextlib
import random
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pytaskfarmer.farm import process
from pytaskfarmer.farm.farmer import Farmer
from pytaskfarmer.farm.feeding import Feed
from pytaskfarmer.farm.guard import GuardLink
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.signals import Signals
from pytaskfarmer.farm.watching import Observer, Summary
from pytaskfarmer.plugins.contracts import Runner, WorkerRunner
from pytaskfarmer.workdir import logs
from pytaskfarmer.workdir.books import Evicted
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import Opened, Opening, Wish
from pytaskfarmer.workdir.source import Source


@dataclass(frozen=True, slots=True)
class Work:
    """What a farmer is to do: which list, where, with which runner, by which rules, with which logs.

    It begins after a random part of `jitter` seconds, so that a thousand farmers do not come at once.
    """

    layout: Layout
    source: Source
    runner: Runner | WorkerRunner
    rules: Rules
    wish: Wish
    logs: str = "auto"
    feed: Feed | None = None
    jitter: float = 0.0


class Host(Observer, Protocol):
    """An observer that is also told how the work begins."""

    def begin(self, opened: Opened, rules: Rules, logs: str) -> None:
        """Look at the books before the first task starts."""
        ...


def work(wanted: Work, host: Host, environment: Mapping[str, str], guard: GuardLink) -> Summary:
    """Farm until the list is done or a signal stops it. Raises `FarmError` for what a person must mend.

    The runner is closed at the end, in any case.
    """
    with contextlib.ExitStack() as at_the_end:
        signals = at_the_end.enter_context(Signals(environment))
        at_the_end.callback(_close, wanted.runner, host)
        failed, wish = 0, wanted.wish

        def must_stop() -> bool:
            return signals.read().stop is not None or wanted.rules.deadline.reached(time.monotonic())

        if wanted.jitter:
            _wait(random.uniform(0, wanted.jitter), signals, must_stop)
        while True:
            opening = Opening(
                wanted.layout, wanted.source, wish, host.say, must_stop, process.kill_leftovers, host.warn
            )
            opened = opening.run()
            guard.keep(opened.books.life.descriptor)
            rules = wanted.rules
            if wanted.feed is None:
                rules = replace(rules, slots=max(1, min(rules.slots, opened.books.register.tasks)))
            try:
                mode = logs.choose(wanted.logs, opened.books.register.tasks)
                host.begin(opened, rules, mode)
                farmer = Farmer(opened, wanted.runner, mode, rules, host, environment, wanted.feed, failed)
                try:
                    return farmer.run(signals)
                except Evicted as eviction:
                    failed, wish = farmer.failed, replace(wish, retry_failed=False)
                    opened.books.life.end()  # its processes are gone; what it still claims is for others
                    host.warn(f"{eviction} Starting again.")
            finally:
                opened.books.close()


def _wait(seconds: float, signals: Signals, must_stop: Callable[[], bool]) -> None:
    """Wait for so long, or until it is time to stop; opening the books says the rest then."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not must_stop():
        select.select([signals], [], [], min(left, 1.0))


def _close(runner: Runner | WorkerRunner, host: Host) -> None:
    try:
        getattr(runner, "close", lambda: None)()
    except Exception as error:
        host.warn(f"the runner could not tidy up: {type(error).__name__}: {error}")
