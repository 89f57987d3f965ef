"""Several calls in one worker: coroutines, of which one executes at a time.

Each step of a call, and of every asyncio task that it makes, enters and leaves the stage. So what is printed goes to
the right log, and if the process dies or hangs, the mark says in whose step.
"""

import asyncio
import socket
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import ContextVar
from functools import partial
from typing import Any

from pytaskfarmer.worker.servant import Servant
from pytaskfarmer.worker.serving import FAILED, answer, checked, receive, told
from pytaskfarmer.worker.stage import Call, Stage
from pytaskfarmer.worker.wire import Kind

_current: ContextVar[Call] = ContextVar("call")


def serve(servant: Servant, line: socket.socket, stage: Stage) -> None:
    """Perform calls as they come, until the line ends."""
    with asyncio.Runner() as runner:
        runner.run(_Calls(servant, line, stage).serve())


class _Calls:
    def __init__(self, servant: Servant, line: socket.socket, stage: Stage) -> None:
        self._servant, self._line, self._stage = servant, line, stage
        self._tasks: dict[int, asyncio.Task[tuple[int, bytes | None]]] = {}
        self._ended = asyncio.Event()
        self._leaving = False

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._on_stage)  # type: ignore[arg-type]
        loop.add_reader(self._line.fileno(), self._listen)
        await self._ended.wait()
        loop.remove_reader(self._line.fileno())

    def _leave(self) -> None:
        """Take no more calls, and end with the last of those that are held."""
        self._leaving = True
        asyncio.get_running_loop().remove_reader(self._line.fileno())
        if not self._tasks:
            self._ended.set()

    def _on_stage(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> "asyncio.Task[Any]":
        call = _current.get(None)
        if call is not None:
            coroutine = _Steps(coroutine, call, self._stage)
        return asyncio.Task(coroutine, loop=loop, **options)

    def _listen(self) -> None:
        try:
            message = receive(self._line)
        except OSError:  # to whom this was said starts anew in another worker
            self._leave()
            return
        if isinstance(message, Call):
            self._stage.received()
            token = _current.set(message)
            task = self._tasks[message.facts.slot] = asyncio.create_task(self._perform(message))
            _current.reset(token)
            task.add_done_callback(partial(self._answer, message))
        elif message is None:
            self._ended.set()
        elif message.kind is Kind.CANCEL and message.slot in self._tasks:
            self._tasks[message.slot].cancel()

    async def _perform(self, call: Call) -> tuple[int, bytes | None]:
        try:
            returned = self._servant.perform(call.request, call.facts)
            if isinstance(returned, Awaitable):
                returned = await returned
            return 0, checked(returned)
        except BaseException as error:
            return told(error), None

    def _answer(self, call: Call, task: "asyncio.Task[tuple[int, bytes | None]]") -> None:
        """Called between steps, when nothing of this process has the call's log open any more."""
        del self._tasks[call.facts.slot]
        status, result = (FAILED, None) if task.cancelled() else task.result()
        answer(self._line, self._stage, call, status, result)
        if not self._tasks:
            self._stage.nothing_in_flight()
            if self._leaving:
                self._ended.set()


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose every step is on stage."""

    def __init__(self, inner: Coroutine[Any, Any, Any], call: Call, stage: Stage) -> None:
        self._inner, self._call, self._stage = inner, call, stage

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def _step(self, method: Any, *arguments: Any) -> Any:
        self._stage.enter(self._call)
        try:
            return method(*arguments)
        except SystemExit as error:  # of an asyncio task that a call has made: it would end the loop, and all calls
            raise RuntimeError(f"sys.exit({error.code!r}) in an asyncio task") from error
        finally:
            self._stage.end_if_forked(FAILED)
            self._stage.leave(self._call)
