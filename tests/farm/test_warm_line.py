"""What a farmer believes of a worker, and what it does about one that does not hear: no farm, a process at most."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pytaskfarmer.farm.children import Child, Children
from pytaskfarmer.farm.place import Place
from pytaskfarmer.farm.warm import Call, Worker
from pytaskfarmer.farm.workers import Workers
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import Task
from pytaskfarmer.worker import serving, wire
from pytaskfarmer.worker.wire import Kind, Message

NEVER_READY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {} time.sleep(60)"
WaitUntil = Callable[..., None]


def place(slot: int) -> Place:
    return Place(Task(7 + slot, "x"), 1, slot)


@pytest.fixture
def line() -> Iterator[tuple[Worker, socket.socket]]:
    """A worker that holds a call that was sent, in slot 0, and one that was not, in slot 1; and its end of the line."""
    ours, theirs = wire.pair()
    descriptor = wire.Mark.make()
    mark = wire.Mark(descriptor)
    os.close(descriptor)
    worker = Worker(Child(0, -1, 0.0, 0.0), ours, mark, None, {}, None, ready=True)
    worker.calls = {slot: Call(place(slot), b"", -1, sent=slot == 0) for slot in range(2)}
    yield worker, theirs
    theirs.close()
    ours.close()
    mark.close()


@pytest.mark.parametrize(
    "message",
    [
        Message(Kind.DONE, slot=0, id=7, cpu=float("nan")),
        Message(Kind.RETURNED, slot=0, id=7, cpu=float("inf")),
        Message(Kind.DONE, slot=0, id=8),
        Message(Kind.DONE, slot=1, id=8),
        Message(Kind.PART, slot=1, payload=b"x"),
        Message(Kind.RETURNED, slot=2, id=9),
    ],
    ids=["not a number", "infinity", "of another task", "not sent", "a part of one not sent", "no call"],
)
def test_the_end_of_a_call_must_make_sense(line: tuple[Worker, socket.socket], message: Message) -> None:
    """An end, or a part of a result, that cannot be is refused, whoever has written it on the line."""
    worker, theirs = line
    theirs.send(wire.encode(message))
    with pytest.raises(ValueError, match="slot"):
        worker.receive()
    theirs.send(wire.encode(fine := Message(Kind.RETURNED, slot=0, id=7, cpu=0.5, payload=b"x")))
    assert fine == worker.receive()


def test_a_message_brings_one_descriptor() -> None:
    """Of several descriptors that come with a call a worker takes one, and the kernel closes the others."""
    ours, theirs = wire.pair()
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))
        call = wire.encode(Message(Kind.CALL, slot=0, attempt=1, id=7))
        socket.send_fds(ours, [call], [ours.fileno()] * 3)
        theirs.setblocking(True)
        received = serving.receive(theirs)
        assert isinstance(received, serving.Call)
        assert before + 1 == len(os.listdir("/proc/self/fd"))
        os.close(received.log)


@dataclass
class Bench:
    """Workers with room for two calls each, and what they are watched with."""

    poll: select.epoll
    children: Children
    workers: Workers

    def hand(self, slot: int, script: str) -> int:
        """Hand over a call, whose worker runs a script, and return the descriptor of its log."""
        output = os.open(os.devnull, os.O_WRONLY)
        new = Command((sys.executable, "-c", script))
        self.workers.hand(place(slot), b"", lambda: new, {}, output)
        return output

    def end(self) -> None:
        """Kill everything, then let go of it."""
        self.children.signal_all(signal.SIGKILL)
        while self.children.leaders or self.children.lingering:
            list(self.children.gone([descriptor for descriptor, _ in self.poll.poll(0.1)]))
        self.workers.close()
        self.children.close()
        self.poll.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    poll = select.epoll()
    children = Children(poll)
    bench = Bench(poll, children, Workers(children, poll, 2, None, 0.5))
    yield bench
    if not bench.poll.closed:
        bench.end()


def test_a_call_ends_with_its_worker_that_is_being_ended_already(bench: Bench) -> None:
    """Where one call of a deaf worker has begun the ladder, ending the other one is under way, too, and says so."""
    for slot in range(2):
        bench.hand(slot, NEVER_READY.format("import os; os.closerange(3, 4096);"))
    assert bench.poll.poll(20), "it hangs up"
    assert [True, True] == [bench.workers.sentence(slot, signal.SIGTERM, 60.0) for slot in range(2)]


def test_logs_of_calls_that_were_never_sent_are_closed(bench: Bench) -> None:
    """A farmer that lets go of its workers, since it was evicted, keeps no log open."""
    outputs = [bench.hand(slot, NEVER_READY.format("")) for slot in range(2)]
    bench.end()
    for output in outputs:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(output)


def test_workers_that_need_nothing_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the loop looks at none of a hundred workers that are at work."""
    looked = []
    monkeypatch.setattr(Worker, "all_sent", property(lambda worker: looked.append(worker) or True))
    monkeypatch.setattr(Worker, "listens", property(lambda worker: looked.append(worker) or True))
    poll = select.epoll()
    children = Children(poll)
    workers = Workers(children, poll, 1, None, 1.0)
    mark = wire.Mark.make()
    for number in range(100):
        child = Child(number, -1, 0.0, 0.0)
        ours, theirs = wire.pair()
        theirs.close()
        workers._of_child[child] = Worker(child, ours, wire.Mark(mark), None, {}, None, ready=True)
    os.close(mark)
    workers.tend(time.monotonic())
    assert workers.next_event() is None
    assert [] == looked
    workers.close()
    children.close()
    poll.close()
