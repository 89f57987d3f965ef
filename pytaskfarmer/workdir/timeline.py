"""The Perfetto trace of a run: `timeline.json`, an array of Chrome trace events with one event a line.

The file is `[`, the events separated by a comma and a newline, and `]` on a line of its own. Whoever holds L appends
by writing over the closing bracket with one `pwrite` of comma, events and a new bracket, so the file is valid JSON
whenever L is free, and an append costs the same however long the trace is. What a crash tears is a tail: `repair`
walks back by whole lines to the last complete event (events hold no raw newline, so a line that decodes is whole)
and closes the array there. A file of another make, such as the one-line array of PyTaskFarmer 0.1.0, is rewritten
into this form by the first repair; that alone reads a whole file.

Not noticed: a hole of NUL bytes that a dead node left more than 64 KiB before the end. `read` skips it.

One lane (`pid`) stands for one farmer on a host and one track (`tid`) for one of its slots. Events of a track must
not overlap, so starts and durations are rounded down.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytaskfarmer.task import Attempt, Outcome, printable, signal_name
from pytaskfarmer.workdir.layout import disk

TRACKS = 100_000
"""Tracks of a lane: a slot's `tid` is `lane * TRACKS + slot`, unique in the file."""

_CLOSING = b"\n]\n"
_EMPTY = b"[\n]\n"
_BLOCK = 1 << 16
_LONGEST_NAME = 1000
_COLOURS = {
    Outcome.NONZERO_EXIT: "terrible",
    Outcome.KILLED_BY_SIGNAL: "terrible",
    Outcome.FAILED_TO_START: "terrible",
    Outcome.OUT_OF_MEMORY: "bad",
    Outcome.TIMED_OUT: "bad",
    Outcome.FARMER_LOST: "bad",
    Outcome.STOPPED: "grey",
}

_decoder = json.JSONDecoder()
_quoted = json.encoder.encode_basestring_ascii
_encoder = json.JSONEncoder(separators=(",", ":"))


def _encode(event: dict[str, Any]) -> bytes:
    return _encoder.encode(event).encode("ascii")


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)


def task_event(attempt: Attempt, lane: int, host: str) -> bytes:
    """Return the bar of one attempt, in the lane of its farmer and the track of its slot."""
    status = f'"status":{attempt.status}' if attempt.status >= 0 else f'"signal":"{signal_name(-attempt.status)}"'
    colour = f',"cname":"{_COLOURS[attempt.outcome]}"' if attempt.outcome in _COLOURS else ""
    # Text, not a dictionary for the encoder: every task pays for this.
    return (
        f'{{"name":{_quoted(printable(attempt.task.text, _LONGEST_NAME))},"cat":"task","ph":"X",'
        f'"ts":{_microseconds(attempt.start)},"dur":{_microseconds(attempt.duration)},'
        f'"pid":{lane},"tid":{lane * TRACKS + attempt.slot},'
        f'"args":{{"id":{attempt.task.id},"attempt":{attempt.number},"outcome":"{attempt.outcome.value}",{status},'
        f'"cpu_seconds":{attempt.cpu:.6f},"peak_memory_bytes":{attempt.peak_memory},"host":{_quoted(host)},'
        f'"os_pid":{attempt.pid}}}{colour}}}'
    ).encode("ascii")


def lane_events(lane: int, host: str, nth: int, slots: int) -> list[bytes]:
    """Return what names and orders a lane and its tracks; `nth` counts the lanes of this host from 1."""

    def metadata(kind: str, tid: int, **args: str | int) -> bytes:
        return _encode({"name": kind, "ph": "M", "pid": lane, "tid": tid, "args": args})

    first = lane * TRACKS
    events = [
        metadata("process_name", first, name=host if nth == 1 else f"{host} #{nth}"),
        metadata("process_sort_index", first, sort_index=lane),
    ]
    for slot in range(slots):
        events.append(metadata("thread_name", first + slot, name=f"slot {slot}"))
        events.append(metadata("thread_sort_index", first + slot, sort_index=slot))
    return events


def instant_event(reason: str, at: float, lane: int) -> bytes:
    """Return a mark across a lane that says why something happened at `at` (seconds since the epoch)."""
    mark = {"name": printable(reason, _LONGEST_NAME), "cat": "farmer", "ph": "i", "s": "p"}
    return _encode(mark | {"ts": _microseconds(at), "pid": lane, "tid": lane * TRACKS, "args": {}})


def append(path: str, events: Sequence[bytes]) -> int:
    """Append events and return the file's new size in bytes. For the holder of L.

    Creates an absent file and repairs a torn one first. On an OSError, also one of `close`, the file is put back as
    it was, as far as the disk allows.
    """
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    size = os.fstat(fd).st_size
    if size and not _is_closed(fd, size):
        disk.close(fd)
        size = repair(path)
        fd = disk.open(path, os.O_RDWR)
    try:
        try:
            if size == 0:
                at, data = 0, _array(events)
            elif not events:
                at, data = size, b""
            elif size == len(_EMPTY):
                at, data = 2, b",\n".join(events) + _CLOSING
            else:
                at, data = size - len(_CLOSING), b",\n" + b",\n".join(events) + _CLOSING
            if data:
                disk.pwrite(fd, data, at)
        finally:
            disk.close(fd)
    except OSError:
        with contextlib.suppress(OSError):
            undo(path, size)
        raise
    return at + len(data)


def size(path: str) -> int:
    """Return the file's size in bytes; 0 if it is absent."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def undo(path: str, size: int) -> None:
    """Take back what was appended since the file had `size` bytes (0: it did not exist)."""
    if size == 0:
        disk.unlink(path)
        return
    fd = disk.open(path, os.O_RDWR)
    try:
        if os.fstat(fd).st_size > size:
            disk.truncate(fd, size)
    finally:
        disk.close(fd)
    repair(path)


def repair(path: str) -> int:
    """Cut a torn file behind its last complete event, close the array, and return its size. For the holder of L.

    A healthy file costs one read of four bytes; an absent one stays absent and has size 0.
    """
    try:
        fd = disk.open(path, os.O_RDWR)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(fd).st_size
        if _is_closed(fd, size):
            return size
        end = _end_of_last_event(fd, size)
        if end:
            # The bracket first: it lands in blocks that are allocated already, so a full disk cannot refuse it.
            disk.pwrite(fd, _CLOSING, end)
            disk.truncate(fd, end + len(_CLOSING))
            return end + len(_CLOSING)
    finally:
        disk.close(fd)
    whole = _array([_encode(event) for event in read(path)])
    disk.replace(path, [whole])
    return len(whole)


def read(path: str) -> Iterator[dict[str, Any]]:
    """Yield every complete event, in file order, without L: what is torn or spliced is skipped.

    Streams a file of ours; one of another make is read whole. An absent file has no events.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        ours = _is_ours(file.read(3))
        file.seek(0)
        yield from _events(file) if ours else _decode_all(file.read())


def events_after(path: str, offset: int) -> Iterator[dict[str, Any]]:
    """Yield the complete events that were appended since the file had `offset` bytes; perhaps one or more before.

    A file that has become shorter than that, because a crash tore it, is read from a little before its end.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        start = (offset if offset <= size else size - _BLOCK) - len(_EMPTY)
        if start > 0:
            file.seek(start)
            file.readline()
        yield from _events(file)


def _array(events: Sequence[bytes]) -> bytes:
    return b"[\n" + b",\n".join(events) + _CLOSING if events else _EMPTY


def _is_ours(head: bytes) -> bool:
    return head in {b"[\n{", b"[\n]"}


def _is_closed(fd: int, size: int) -> bool:
    tail = os.pread(fd, 4, max(0, size - 4))
    return tail == b"}" + _CLOSING or (tail == _EMPTY and size == len(_EMPTY))


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        event, _ = _event_of(line)
        if event is not None:
            yield event


def _event_of(line: bytes) -> tuple[dict[str, Any] | None, int]:
    """Return the event that a line starts with, and its length in bytes (our lines are ASCII)."""
    if not line.startswith(b"{"):
        return None, 0
    try:
        event, length = _decoder.raw_decode(line.decode("latin-1"))
    except ValueError:
        return None, 0
    return event, length


def _decode_all(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of an array of any layout, up to the first that is not complete."""
    text, at = data.decode("utf-8", "replace"), 0
    while (at := text.find("{", at)) >= 0:
        try:
            event, at = _decoder.raw_decode(text, at)
        except ValueError:
            return
        yield event


def _end_of_last_event(fd: int, size: int) -> int:
    """Return the offset behind the last complete event that stands on a line of its own, or 0: not a file of ours."""
    if not _is_ours(os.pread(fd, 3, 0)):
        return 0
    tail, start = b"", size
    while start > 0:
        end, start = start, max(0, start - _BLOCK)
        block = os.pread(fd, end - start, start)
        hole = block.find(b"\0")
        tail = block + tail if hole < 0 else block[:hole]
        stop = len(tail)
        while (newline := tail.rfind(b"\n", 0, stop)) >= 0:
            _, length = _event_of(tail[newline + 1 : stop])
            if length:
                return start + newline + 1 + length
            stop = newline
        tail = tail[:stop]
    return 0
