"""The farm of an executor, from its first call to its end.

A thread of its own ends it, once somebody has said so by a word: `shutdown`, the exit of the interpreter, or the
executor's destructor, which may run anywhere and so must neither wait nor take a lock.
"""

import atexit
import os
import threading
from queue import SimpleQueue

from pytaskfarmer.api.caller import Caller
from pytaskfarmer.api.packing import Packing
from pytaskfarmer.api.turns import Turns
from pytaskfarmer.api.wish import Wish

LOOK, END, STOP = "look", "end", "stop"
"""Words to the thread that ends a farm: look whether that is due; do it when all calls have ended; do it now."""


class Farming:
    """The farm of an executor, until it is ended."""

    def __init__(self, wish: Wish) -> None:
        self.owner = os.getpid()
        self._caller = Caller(wish)
        self._words: SimpleQueue[str] = SimpleQueue()
        self.turns = Turns(self._caller.session, lambda: self.say(LOOK))
        self.pack = Packing().pack
        self._ender = threading.Thread(target=self._wait_and_close, name="pytaskfarmer end", daemon=True)
        try:
            self._ender.start()
        except BaseException:
            self._caller.close(at_once=True)
            raise
        farms.add(self)

    def say(self, word: str) -> None:
        """Wake the thread that ends the farm: to look whether that is due, or by `END`, or `STOP`."""
        self._words.put(word)

    def _wait_and_close(self) -> None:
        word = LOOK
        while not (word == STOP or self.turns.over()):
            word = self._words.get()
            if word == END:
                self.turns.end()
        try:
            self._caller.close(at_once=word == STOP)
        finally:
            farms.discard(self)

    def end(self, *, cancel: bool = False) -> None:
        """End the farm when all calls have ended."""
        self.turns.end(cancel=cancel)
        self.say(LOOK)

    def stop(self) -> None:
        """End the farm now."""
        self.turns.end(cancel=True)
        self.say(STOP)

    def join(self) -> None:
        """Wait until it has ended, except in the thread that it waits for."""
        if not self._caller.session.reads:
            self._ender.join()


class Farms(set[Farming]):
    """All farms of this process, and whether the interpreter exits."""

    exiting = False


farms = Farms()


def _at_exit() -> None:
    """Let all farms end, as concurrent.futures does: when the main thread has ended, before others are waited for."""
    farms.exiting = True
    mine = [farm for farm in tuple(farms) if farm.owner == os.getpid()]
    for farm in mine:
        farm.end()
    try:
        for farm in mine:
            farm.join()
    except KeyboardInterrupt:
        for farm in mine:
            farm.stop()
        for farm in mine:
            farm.join()


getattr(threading, "_register_atexit", atexit.register)(_at_exit)
