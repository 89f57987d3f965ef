"""The farm of an executor, from its first call to its end.

A thread of its own ends it, once somebody has said so by a word: `shutdown`, the exit of the interpreter, or the
executor's destructor, which may run anywhere and so must neither wait nor take a lock.
"""

import atexit
import os
import pickle
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from pytaskfarmer.api import travel
from pytaskfarmer.api.caller import Caller, Wish
from pytaskfarmer.api.turns import Turns

_Callable = Callable[..., Any]

LOOK, END, STOP = "look", "end", "stop"
"""Words to the thread that ends a farm: look whether that is due; do it when all calls have ended; do it now."""


class Farming:
    """The farm of an executor, until it is ended."""

    def __init__(self, wish: Wish) -> None:
        self.owner = os.getpid()
        self._caller = Caller(wish)
        self._words: SimpleQueue[str] = SimpleQueue()
        self.turns = Turns(self._caller.session, lambda: self.say(LOOK))
        self._references: WeakKeyDictionary[_Callable, bytes] = WeakKeyDictionary()
        self._ender = threading.Thread(target=self._wait_and_close, name="pytaskfarmer end", daemon=True)
        try:
            self._ender.start()
        except BaseException:
            self._caller.close(at_once=True)
            raise
        farms.add(self)

    def pack(self, function: _Callable) -> bytes:
        """Return a function as bytes, fast where it is one that travels by reference."""
        simple = isinstance(function, FunctionType | BuiltinFunctionType)
        packed = self._references.get(function) if simple else None
        if packed is None:
            packed = travel.pack(function, f"the function {name_of(function)}")
            if simple and packed == _reference(function):
                self._references[function] = packed
        return packed

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


def _reference(function: _Callable) -> bytes | None:
    """Return a function as pickle has it, which only knows references."""
    try:
        return pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return None


def name_of(function: _Callable) -> str:
    """Return what a function is called in messages."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"


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
