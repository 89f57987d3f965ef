"""The life of a worker: make the servant once, then perform one call after the other until the line ends."""

import contextlib
import errno
import faulthandler
import importlib
import json
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Awaitable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from pytaskfarmer.errors import FarmError
from pytaskfarmer.worker import wire
from pytaskfarmer.worker.servant import Servant, TaskFacts
from pytaskfarmer.worker.stage import Call, Stage
from pytaskfarmer.worker.wire import Kind, Message

if TYPE_CHECKING:
    import asyncio

_DESCRIPTOR = struct.Struct("i")
_ROOM_FOR_ONE = socket.CMSG_LEN(_DESCRIPTOR.size)
_buffer = bytearray(wire.LARGEST_MESSAGE)  # a new one for each message would cost as much as a short call

FAILED = 1
"""The status of a call that raised."""


def main() -> NoReturn:
    """Serve until the farmer hangs up, then end like any program: with status 0, and what was registered `atexit`."""
    line, mark, concurrency = _inheritance()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would make an exception of it, in the middle of a task
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable(2)
    stage = Stage(mark, concurrency)
    os.register_at_fork(after_in_child=line.close)
    try:
        servant = _servant(sys.argv[1], json.loads(sys.argv[2]))
    except BaseException as error:
        words = str(error) if isinstance(error, FarmError) else traceback.format_exception_only(error)[-1].strip()
        if not isinstance(error, FarmError):
            traceback.print_exc()
        stage.flush()
        stage.end_if_forked(FAILED)
        line.send(wire.encode(Message(Kind.UNFIT, payload=words.encode(errors="replace")[: wire.LONGEST_REQUEST])))
        sys.exit(1)
    stage.flush()
    stage.end_if_forked(0)
    line.send(wire.encode(Message(Kind.READY)))
    if concurrency == 1:
        _serve(servant, line, stage)
    else:
        from pytaskfarmer.worker.interleaving import serve

        serve(servant, line, stage)
    sys.exit(0)


def _inheritance() -> tuple[socket.socket, wire.Mark, int]:
    """Return what the farmer has left us, and let nobody else inherit it."""
    line, mark, concurrency = map(int, os.environ.pop(wire.ENVIRONMENT).split(","))
    os.set_inheritable(line, False)
    shared = wire.Mark(mark)
    os.close(mark)
    return socket.socket(fileno=line), shared, concurrency


def _servant(name: str, options: dict[str, object]) -> Servant:
    module, _, attribute = name.partition(":")
    servant: Servant = getattr(importlib.import_module(module), attribute)(**options)
    return servant


def receive(line: socket.socket, pad: memoryview | None = None) -> Message | Call | None:
    """Return the next call, or another message, or None at the end of the line.

    Raises OSError where this process has no descriptor left for the call's log.
    """
    try:
        size, ancillary, _, _ = line.recvmsg_into([_buffer], _ROOM_FOR_ONE, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not size:
        return None
    descriptors = [_DESCRIPTOR.unpack(data)[0] for _, _, data in ancillary]
    message = wire.decode(bytes(memoryview(_buffer)[:size]))
    if message.kind is not Kind.CALL:
        return message
    if not descriptors:
        raise OSError(errno.EMFILE, "no descriptor is left for the log of a task")
    return Call(TaskFacts(message.id, message.attempt, message.slot, pad), message.payload, descriptors[0])


def _serve(servant: Servant, line: socket.socket, stage: Stage) -> None:
    with contextlib.ExitStack() as at_the_end:
        runner: asyncio.Runner | None = None
        pad = stage.pad
        while isinstance(call := receive(line, pad), Call):
            pad[:] = bytes(len(pad))
            stage.enter(call)
            result, fault = None, None
            try:
                returned = servant.perform(call.request, call.facts)
                if isinstance(returned, Awaitable):
                    if runner is None:
                        runner = at_the_end.enter_context(_new_runner())
                    returned = runner.run(_awaited(returned))
                elif isinstance(returned, Iterator):
                    returned = hand_over(returned, line, call)
                result = checked(returned)
            except BaseException as error:
                fault = error
            status = 0 if fault is None else told(fault)
            stage.end_if_forked(status)
            stage.leave(call)
            answer(line, stage, call, status, result)
            stage.nothing_in_flight()
            if isinstance(fault, MemoryError):
                return


def _new_runner() -> "asyncio.Runner":
    import asyncio

    return asyncio.Runner()


async def _awaited(returned: Awaitable[bytes | None]) -> bytes | None:
    try:
        return await returned
    finally:
        await _end_what_is_left()


async def _end_what_is_left() -> None:
    """Cancel what a call has begun and not awaited, which would go on during the next call."""
    import asyncio

    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def hand_over(pieces: Iterator[bytes], line: socket.socket, call: Call) -> bytes | None:
    """Send at once each piece of a result that a generator yields; return the one that it returns, if it does."""
    size = 0
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            last: bytes | None = end.value
            return last
        size += len(checked(piece) or b"")
        if size > wire.LARGEST_RESULT:
            raise FarmError(f"the result has more than {wire.LARGEST_RESULT:,} bytes; write it to a file instead")
        send(line, call, piece)


def send(line: socket.socket, call: Call, piece: bytes | None) -> None:
    """Send a part of a result."""
    for message in wire.parts(call.facts.slot, piece or b""):
        line.send(wire.encode(message))


def checked(returned: object) -> bytes | None:
    """Return what a servant returned, if it may. Raises `FarmError`."""
    if returned is not None and not isinstance(returned, bytes):
        raise FarmError(f"the servant returned {type(returned).__name__}, which is neither bytes nor None")
    if returned is not None and len(returned) > wire.LARGEST_RESULT:
        size = f"{len(returned):,} bytes, and at most {wire.LARGEST_RESULT:,} can be kept"
        raise FarmError(f"the result has {size}; write it to a file and return its path")
    return returned


def told(error: BaseException) -> int:
    """Print what went wrong and return the exit status that a process of its own would have had."""
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return (error.code or 0) & 0xFF
    with contextlib.suppress(Exception):  # stderr is closed, or its disk is full, or the words cannot be put together
        _print(error)
    return FAILED


def _print(error: BaseException) -> None:
    if isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
    elif type(error).__name__ == "CancelledError":
        print("pytaskfarmer: the task was cancelled", file=sys.stderr)
    elif isinstance(error, FarmError):
        print(f"pytaskfarmer: {error}", file=sys.stderr)
    else:
        traceback.print_exception(type(error), error, _from_outside(error.__traceback__))


def _from_outside(start: TracebackType | None) -> TracebackType | None:
    """Return the traceback without our own frames above the task's; None if no other is left."""
    frames = start
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(
        ("pytaskfarmer.", "asyncio.")
    ):
        frames = frames.tb_next
    return frames


def answer(line: socket.socket, stage: Stage, call: Call, status: int, result: bytes | None) -> None:
    """Tell the farmer how a call ended, after letting go of its log."""
    os.close(call.log)
    call.log = -1
    done = Message(Kind.DONE, call.facts.slot, status=status, id=call.facts.id, cpu=call.cpu, peak=stage.peak(call))
    try:
        if result is not None and len(result) > wire.SMALL_RESULT:
            send(line, call, result)
        elif result is not None:
            done = done._replace(kind=Kind.RETURNED, payload=result)
        line.send(wire.encode(done))
    except BrokenPipeError:
        pass  # the farmer has gone, and the next look at the line will say so
