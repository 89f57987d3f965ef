"""The warm workers of one farmer: which process holds which calls, and who is to blame when it dies.

Worker n serves the slots n*K to n*K + K-1, where K is its concurrency. It is started with the first call for one of
them and replaced when it is gone, or has had as many calls as it may. Its servant is made while calls already wait for
it; a call begins when it is sent, so that start-up counts against nobody's time limit.

When a worker dies, the call that was executing is to blame (`wire.Mark`); the others it held are innocent, and start
anew. Where calls are beyond their time and their worker has heard that they are cancelled, they are to blame. A worker
that cannot make its servant is no task's fault: its calls go back, and if there never was a good one, or it happens
again and again, the farmer must end, since letting every task of the list fail would be worse.

A worker that says what makes no sense is killed; one that has closed its line can answer no call any more, and is
killed if it does not end by itself.
"""

import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytaskfarmer.errors import FarmError
from pytaskfarmer.farm import process
from pytaskfarmer.farm.children import Child, Children, End
from pytaskfarmer.farm.place import BATCH_SIGNALS, Place
from pytaskfarmer.farm.resources import Share
from pytaskfarmer.farm.warm import Begun, Call, HungUp, Worker
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import printable, signal_name
from pytaskfarmer.worker import wire
from pytaskfarmer.worker.wire import Kind, Message

_STRIKES = 3
_MESSAGES_AT_A_TIME = 64
_MOST_UNREAD = 1000
_SEND_AGAIN = 0.05


class Unfit(Exception):
    """No worker can be had."""


class Done(NamedTuple):
    """A call was answered."""

    slot: int
    message: Message
    pid: int
    result: bytes | None


class Lost(NamedTuple):
    """A call's worker has died; `why` is in words, for the log of a call that is to blame.

    `result` is what it had handed over, and its pad.
    """

    slot: int
    innocent: bool
    pid: int
    end: End
    why: str
    result: bytes
    out_of_memory: bool


class Workers:
    """The workers of one farmer, with a share each; `unfit` says why none can be had, once that is clear.

    A worker that is told to end by itself has `grace` seconds for it.
    """

    def __init__(
        self,
        children: Children,
        poll: select.epoll,
        concurrency: int,
        max_tasks: int | None,
        grace: float,
        shares: Sequence[Share] = (),
    ) -> None:
        self._children = children
        self._poll = poll
        self._concurrency = concurrency
        self._max_tasks = max_tasks
        self._grace = grace
        self._shares = shares
        self._current: dict[int, Worker] = {}
        self._of_line: dict[int, Worker] = {}
        self._of_child: dict[Child, Worker] = {}
        self._tended: set[Worker] = set()  # few, where looking at all of them would cost each turn of the loop
        self._tidying: set[Child] = set()
        self._begun: list[Begun] = []
        self._ever_ready = self._dismissed = False
        self._strikes = 0
        self.unfit: str | None = None

    def hand(
        self, place: Place, request: bytes, new: Callable[[], Command], environment: Mapping[str, str], output: int
    ) -> None:
        """Hand a call to the worker of its slot, started by `new` if need be; close `output` when it is sent.

        Raises, after closing it: OSError if the node has no room for a worker; `Unfit` if the worker cannot be started;
        ValueError or TypeError for a request that is too long, or no bytes.
        """
        call = Call(place, request, output)
        try:
            if not isinstance(request, bytes):
                raise TypeError(f"the runner's request is {type(request).__name__}, and must be bytes")
            if len(request) > wire.LONGEST_REQUEST:
                raise ValueError(f"the request is {len(request):,} bytes long; at most {wire.LONGEST_REQUEST:,} can be")
            number = place.slot // self._concurrency
            worker = self._current.get(number)
            if worker is None or worker.leaving or not self._sent(worker, call):
                worker = self._current[number] = self._start(number, new, environment, output)
        except BaseException:
            os.close(output)
            raise
        worker.calls[place.slot] = call
        worker.had += 1
        if worker.had == self._max_tasks:
            worker.leaving = True

    def _start(self, number: int, new: Callable[[], Command], environment: Mapping[str, str], output: int) -> Worker:
        cpus = self._shares[number].cpus if self._shares else None
        try:
            return self._started(new(), environment, output, cpus)
        except (OSError, FarmError, ValueError, TypeError, AttributeError, LookupError) as error:
            if isinstance(error, OSError) and error.errno in process.NODE_IS_FULL:
                raise
            self.unfit = f"it cannot be started: {error}"
            raise Unfit(self.unfit) from error

    def _started(
        self, command: Command, environment: Mapping[str, str], output: int, cpus: Collection[int] | None
    ) -> Worker:
        line, theirs = wire.pair()
        descriptor = wire.Mark.make()
        passed = (theirs.fileno(), descriptor)
        says = ",".join(map(str, (*passed, self._concurrency)))
        try:
            child = self._children.start(command, {**environment, wire.ENVIRONMENT: says}, output, passed, cpus)
            mark = wire.Mark(descriptor)
        except BaseException:
            line.close()
            raise
        finally:
            theirs.close()
            os.close(descriptor)
        worker = Worker(child, line, mark, command.finish, environment, cpus)
        self._poll.register(line.fileno(), select.EPOLLIN)
        self._of_line[line.fileno()] = self._of_child[child] = worker
        return worker

    def _sent(self, worker: Worker, call: Call) -> bool:
        """Send a call if its worker is ready and has room for it; return False if the worker has died."""
        if not worker.ready:
            return True
        try:
            begun = worker.send(call)
        except HungUp:
            return False
        if begun is None:
            self._tended.add(worker)  # it is tried again
        else:
            self._begun.append(begun)
        return True

    # -- what they say

    def heard(self, signalled: Iterable[int]) -> Iterator[Begun | Done]:
        """Yield what the workers have said, in order; `signalled` are the descriptors that are readable."""
        for descriptor in signalled:
            worker = self._of_line.get(descriptor)
            if worker is not None:
                yield from self._listen(worker)
        yield from self._take_begun()

    def _take_begun(self) -> list[Begun]:
        begun, self._begun = self._begun, []
        return begun

    def _listen(self, worker: Worker, most: int = _MESSAGES_AT_A_TIME) -> Iterator[Begun | Done]:
        for _ in range(most):  # other slots, and signals, have their turn while one talks without end
            try:
                message = worker.receive()
            except HungUp:
                self._hang_up(worker)
                worker.patience_ends = time.monotonic() + self._grace
                self._tended.add(worker)
                return
            except ValueError:
                self._give_up_on(worker)
                return
            if message is None:
                return
            if message.kind in wire.ENDS:
                yield from self._take_begun()
                yield self._answered(worker, message)
                if worker.leaving and not worker.calls:
                    self._let_go(worker, self._grace)
                    return
            elif message.kind is Kind.PART:
                worker.calls[message.slot].parts.append(message.payload)
            elif message.kind is Kind.UNFIT:
                worker.unfit = printable(message.payload.decode(errors="replace"), limit=1000)
            elif message.kind is Kind.READY and not worker.ready:
                worker.ready = self._ever_ready = True
                self._send_again(worker)

    def _answered(self, worker: Worker, message: Message) -> Done:
        call = worker.calls.pop(message.slot)
        worker.cancelled.pop(message.slot, None)
        self._strikes = 0
        result = b"".join((*call.parts, message.payload)) if call.parts or message.kind is Kind.RETURNED else None
        return Done(message.slot, message, worker.child.pid, result)

    def _send_again(self, worker: Worker) -> None:
        for call in worker.calls.values():
            if not call.sent and not self._sent(worker, call):
                return  # its child will tell

    def _give_up_on(self, worker: Worker) -> None:
        """Kill a worker whose words make no sense; if none of its calls is executing now, any may be to blame."""
        if worker.mark.read() == wire.IDLE:
            worker.overdue = frozenset(worker.calls)
        self._hang_up(worker)
        self._children.sentence(worker.child, None, 0.0)

    def _hang_up(self, worker: Worker) -> None:
        """Let a worker end by itself: it reads the end of the line."""
        worker.leaving = True
        if worker.connected:
            self._poll.unregister(worker.line.fileno())
            del self._of_line[worker.line.fileno()]
            worker.line.close()

    # -- their ends

    def gone(self, child: Child) -> Iterator[Begun | Done | Lost]:
        """Yield what the end of a worker means for its calls."""
        self._tidying.discard(child)
        worker = self._of_child.pop(child, None)
        if worker is None:
            return
        if worker.connected:
            yield from self._listen(worker, _MOST_UNREAD)
        yield from self._take_begun()
        self._hang_up(worker)
        self._tended.discard(worker)
        assert child.end is not None
        mark, pad = worker.mark.read(), bytes(worker.mark.pad)
        worker.mark.close()
        if mark == wire.IDLE and (child.fault or not child.sentenced) and (worker.calls or not worker.ready):
            self._strike(worker, child.end)
        why = child.fault or f"the worker {_words(child.end.status)} during this task"
        end = child.end._replace(status=child.end.status or 1)  # status 0 was no success: the call was not answered
        for slot, call in worker.calls.items():
            if not call.sent:
                os.close(call.output)
            guilty = slot in worker.overdue if worker.overdue else mark in {slot + 1, wire.BETWEEN}
            innocent = not (call.sent and guilty)
            result = b"".join((*call.parts, pad))
            yield Lost(slot, innocent, child.pid, end, why, result, child.fault is not None)
        self._tidy_up(worker, child.end.status)

    def _strike(self, worker: Worker, end: End) -> None:
        self._strikes += 1
        by_itself = worker.child.fault or -end.status not in BATCH_SIGNALS
        if (by_itself and not self._ever_ready) or self._strikes >= _STRIKES:
            self.unfit = self.unfit or worker.unfit or worker.child.fault or _never_ready(worker, end)

    def _tidy_up(self, worker: Worker, status: int) -> None:
        try:
            command = worker.finish(status) if worker.finish else None
            if command is None:
                return
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                child = self._children.start(command, worker.environment, nowhere, cpus=worker.cpus)
            finally:
                os.close(nowhere)
        except (Exception, SystemExit):
            return  # nobody to tell; the farmer's last look at its descendants is left
        self._tidying.add(child)
        if self._dismissed:
            self._children.sentence(child, None, self._grace)

    # -- the ladder

    def sentence(self, slot: int, number: int, grace: float) -> bool:
        """End one call: by cancelling it where its worker holds others, else with its worker. False: it has ended."""
        worker = next(each for each in self._of_child.values() if slot in each.calls)
        if self._concurrency > 1 and worker.cancel(slot, time.monotonic() + grace):
            self._tended.add(worker)
            return True
        worker.leaving = True
        return worker.child.sentenced or self._children.sentence(worker.child, number, grace)

    def sentence_all(self, number: int, grace: float) -> list[int]:
        """End every call with its worker; return the slots of those that have not ended by themselves."""
        slots: list[int] = []
        for worker in list(self._of_child.values()):
            if not worker.calls:
                self._let_go(worker, grace)
            elif self._children.sentence(worker.child, number, grace):
                worker.leaving = True
                slots += worker.calls
        return slots

    def tend(self, now: float) -> None:
        """KILL workers that have not obeyed in time, and try again to send what there was no room for.

        If such a worker has not even read that a call is cancelled, the one that is executing is to blame.
        """
        for worker in list(self._tended):
            if worker.cancelled and min(worker.cancelled.values()) <= now:
                if worker.has_read_all():
                    worker.overdue = frozenset(slot for slot, until in worker.cancelled.items() if until <= now)
                worker.cancelled.clear()
                worker.leaving = True
                self._children.sentence(worker.child, None, 0.0)
            if worker.patience_ends is not None and now >= worker.patience_ends:
                worker.patience_ends = None
                self._children.sentence(worker.child, None, 0.0)
            if worker.listens:
                self._send_again(worker)
            if not worker.needs_tending:
                self._tended.discard(worker)

    def next_event(self) -> float | None:
        """Return when (monotonic clock) `tend` has something to do."""
        moments: list[float] = []
        for worker in self._tended:
            moments += worker.cancelled.values()
            if worker.patience_ends is not None:
                moments.append(worker.patience_ends)
            if worker.listens and not worker.all_sent:
                moments.append(time.monotonic() + _SEND_AGAIN)
        return min(moments, default=None)

    @property
    def leaders(self) -> list[int]:
        """The pids of all workers that have not ended."""
        return [child.pid for child in self._of_child if child.end is None]

    def condemned(self, child: Child) -> None:
        """Take note that a worker is being killed: it gets no more calls."""
        self._of_child[child].leaving = True

    # -- the end of the farmer

    @property
    def busy(self) -> bool:
        """Whether a worker has not ended, or something is being tidied up after one."""
        return bool(self._of_child or self._tidying)

    def dismiss(self, grace: float) -> None:
        """Let all workers end by themselves, and KILL those that have not after the grace."""
        self._dismissed = True
        for worker in list(self._of_child.values()):
            self._let_go(worker, grace)
        for child in self._tidying:
            self._children.sentence(child, None, grace)

    def close(self) -> None:
        """Let go of the workers that have not ended."""
        for worker in self._of_child.values():
            for call in worker.calls.values():
                if not call.sent:
                    os.close(call.output)
            worker.line.close()
            worker.mark.close()

    def _let_go(self, worker: Worker, grace: float) -> None:
        self._hang_up(worker)
        self._children.sentence(worker.child, None, grace)


def _never_ready(worker: Worker, end: End) -> str:
    first = next(iter(worker.calls.values()), None)
    log = f"; the log of task {first.place.task.id} may say why" if first else ""
    return f"it {_words(end.status)} before it was ready{log}"


def _words(status: int) -> str:
    return f"exited with status {status}" if status >= 0 else f"was killed by {signal_name(-status)}"
