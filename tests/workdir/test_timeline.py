"""The Perfetto trace: valid after every append, repaired after every crash."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import timeline
from pytaskfarmer.workdir.layout import disk

MIB = 1 << 20


def attempt(task_id: int = 7, **changes: Any) -> Attempt:
    facts: dict[str, Any] = {
        "task": Task(task_id, f"sim.sh {task_id}"),
        "number": 1,
        "slot": 3,
        "outcome": Outcome.SUCCESS,
        "status": 0,
        "start": 1_700_000_000.25,
        "duration": 1.5,
    }
    return Attempt(**(facts | changes))


def event(number: int, filler: str = "") -> bytes:
    return timeline.task_event(attempt(number, task=Task(number, f"task {number} {filler}")), 1, "node17")


def ids(events: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> list[int]:
    return [entry["args"]["id"] for entry in events if entry["ph"] == "X"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "timeline.json")


@pytest.fixture
def at_disk() -> Iterator[Callable[[Callable[[str, object], None]], None]]:
    def install(before: Callable[[str, object], None]) -> None:
        disk.before = before

    yield install
    disk.before = None


def load(path: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(Path(path).read_bytes())
    return events


# Values


def test_a_bar_keeps_the_keys_of_the_old_format_and_adds_facts() -> None:
    """A task's event has the keys of PyTaskFarmer 0.1.0, in microseconds, and says in `args` how it ended."""
    done = attempt(cpu=0.75, peak_memory=4096, pid=4711)
    expected = {
        "name": "sim.sh 7",
        "cat": "task",
        "ph": "X",
        "ts": 1_700_000_000_250_000,
        "dur": 1_500_000,
        "pid": 2,
        "tid": 200_003,
        "args": {
            "id": 7,
            "attempt": 1,
            "outcome": "success",
            "status": 0,
            "cpu_seconds": 0.75,
            "peak_memory_bytes": 4096,
            "host": "node17",
            "os_pid": 4711,
        },
    }
    assert expected == json.loads(timeline.task_event(done, 2, "node17"))


@pytest.mark.parametrize(("status", "name"), [(-15, "SIGTERM"), (-9, "SIGKILL"), (-40, "SIG40")])
def test_a_death_by_signal_is_named(status: int, name: str) -> None:
    """An attempt that a signal ended carries the signal's name instead of an exit status."""
    args = json.loads(timeline.task_event(attempt(outcome=Outcome.KILLED_BY_SIGNAL, status=status), 1, "h"))["args"]
    assert (name, False) == (args["signal"], "status" in args)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_but_success_has_a_colour(outcome: Outcome) -> None:
    """Only an attempt that succeeded is left to the viewer's own colour."""
    colour = json.loads(timeline.task_event(attempt(outcome=outcome), 1, "h")).get("cname")
    assert (outcome is Outcome.SUCCESS) == (colour is None)


def test_an_event_is_one_line_of_ascii_whatever_the_task_says() -> None:
    """Control characters, broken UTF-8 and very long texts cannot tear the file apart."""
    text = "printf 'a\tb' é \udcff \U0001f600" + "x" * 5000
    line = timeline.task_event(attempt(task=Task(1, text)), 1, "h")
    assert line.isascii()
    assert b"\n" not in line
    assert 1000 == len(json.loads(line)["name"])


def test_back_to_back_bars_do_not_overlap() -> None:
    """Rounding never lets one bar reach into the next one of its slot."""
    start, duration = 1_700_000_000.000_000_9, 0.000_001_9
    first = json.loads(timeline.task_event(attempt(start=start, duration=duration), 1, "h"))
    second = json.loads(timeline.task_event(attempt(start=start + duration), 1, "h"))
    assert first["ts"] + first["dur"] <= second["ts"]


def test_lanes_are_named_ordered_and_unique() -> None:
    """Two farmers of a host have lanes of their own, named apart, and no two slots share a track."""
    events = [json.loads(line) for n in (1, 2) for line in timeline.lane_events(n, "node17", n, 3)]
    names = [entry["args"]["name"] for entry in events if entry["name"] == "process_name"]
    tracks = [entry["tid"] for entry in events if entry["name"] == "thread_name"]
    slots = [entry["args"]["name"] for entry in events if entry["name"] == "thread_name"]
    assert ["node17", "node17 #2"] == names
    assert ["slot 0", "slot 1", "slot 2"] * 2 == slots
    assert 6 == len(set(tracks))


def test_a_stop_is_marked_and_says_why() -> None:
    """A stop is an instant across its lane, named after its reason."""
    mark = json.loads(timeline.instant_event("stopped by SIGUSR1", 12.5, 4))
    assert ("i", "p", 12_500_000, 4, "stopped by SIGUSR1") == tuple(mark[k] for k in ("ph", "s", "ts", "pid", "name"))


# Appending


def test_the_file_is_valid_after_every_append(path: str) -> None:
    """Each append leaves a JSON array with all events so far, in order, one a line, and returns its size."""
    assert len(b"[\n]\n") == timeline.append(path, [])
    assert [] == load(path)
    written: list[int] = []
    for group in ([0], [1, 2], [], [3, 4, 5]):
        size = timeline.append(path, [event(number) for number in group])
        written += group
        assert os.path.getsize(path) == size
        assert written == ids(load(path))
    assert len(written) + 2 == len(Path(path).read_bytes().splitlines())
    assert written == ids(timeline.read(path))


def test_an_append_does_not_read_the_file(path: str, at_disk: Any) -> None:
    """Appending to a long trace is one write, of the new events only."""
    timeline.append(path, [event(n, "x" * 900) for n in range(2000)])
    calls: list[str] = []
    at_disk(lambda operation, _where: calls.append(operation))
    read_before = int(Path("/proc/self/io").read_text().split()[1])
    timeline.append(path, [event(2000)])
    read = int(Path("/proc/self/io").read_text().split()[1]) - read_before
    assert ["create", "pwrite", "close"] == calls
    assert read < 4096


def test_every_cut_of_a_small_file_is_repaired_to_a_prefix(path: str) -> None:
    """Wherever a crash cuts the file, the repaired one holds exactly the events that were complete, and grows on."""
    timeline.append(path, [event(n) for n in range(3)])
    whole = Path(path).read_bytes()
    ends = [whole.index(event(n)) + len(event(n)) for n in range(3)]
    for cut in range(len(whole)):
        Path(path).write_bytes(whole[:cut])
        size = timeline.repair(path)
        complete = [n for n in range(3) if ends[n] <= cut]
        assert os.path.getsize(path) == size
        assert complete == ids(load(path)), f"cut at {cut}"
        timeline.append(path, [event(9)])
        assert [*complete, 9] == ids(load(path)), f"appended after a cut at {cut}"


def test_every_cut_inside_an_append_keeps_what_was_there(path: str) -> None:
    """An append of which only the first bytes reached the disk costs no earlier event."""
    old = timeline.append(path, [event(0), event(1)])
    before = Path(path).read_bytes()
    timeline.append(path, [event(2), event(3)])
    after = Path(path).read_bytes()
    at = old - len(b"\n]\n")
    for written in range(len(after) - at):
        torn = after[: at + written]
        Path(path).write_bytes(torn + before[len(torn) :])
        timeline.append(path, [event(9)])
        found = ids(load(path))
        assert found in ([0, 1, 9], [0, 1, 2, 9], [0, 1, 2, 3, 9]), f"{written} bytes written"
        assert found == ids(timeline.read(path))


@pytest.mark.parametrize("zeros", [1, 100, 3 * 65536])
def test_a_tail_of_nul_bytes_is_cut(path: str, zeros: int) -> None:
    """The NUL bytes that a dead node leaves in place of its last writes are cut off."""
    size = timeline.append(path, [event(n) for n in range(5)])
    os.truncate(path, size - 20)
    os.truncate(path, size + zeros)
    timeline.append(path, [event(9)])
    assert [0, 1, 2, 3, 9] == ids(load(path))


@pytest.mark.parametrize("ending", [b",\n]\n", b",]\n", b"\n]", b"\n]\n\n", b",\n{\n]\n"])
def test_a_wrong_ending_is_put_right(path: str, ending: bytes) -> None:
    """An array that is closed, but wrongly, does not pass for a healthy one."""
    timeline.append(path, [event(0), event(1)])
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.removesuffix(b"\n]\n") + ending)
    timeline.append(path, [event(9)])
    assert [0, 1, 9] == ids(load(path))


def test_events_behind_a_hole_are_cut_with_it(path: str) -> None:
    """A hole of NUL bytes near the end would make the file invalid, so the repair cuts at the hole."""
    timeline.append(path, [event(n) for n in range(6)])
    data = bytearray(Path(path).read_bytes())
    start = data.index(event(3))
    data[start + 5 : start + 15] = bytes(10)
    Path(path).write_bytes(data[:-2])
    timeline.repair(path)
    assert [0, 1, 2] == ids(load(path))


def test_repair_reads_only_the_tail_of_a_long_file(path: str) -> None:
    """Repairing a torn trace of many megabytes reads a few blocks of it."""
    timeline.append(path, [event(n, "x" * 900) for n in range(8000)])
    assert os.path.getsize(path) > 8 * MIB
    os.truncate(path, os.path.getsize(path) - 300)
    before = int(Path("/proc/self/io").read_text().split()[1])
    timeline.repair(path)
    assert int(Path("/proc/self/io").read_text().split()[1]) - before < MIB // 4
    assert list(range(7999)) == ids(timeline.read(path))


def test_a_line_longer_than_a_block_is_found(path: str) -> None:
    """The last complete event is found also where it is longer than one block of the search."""
    long = json.dumps({"ph": "X", "args": {"id": 1}, "name": "x" * 300_000}).encode()
    timeline.append(path, [event(0), long, event(2)])
    os.truncate(path, os.path.getsize(path) - 10)
    timeline.repair(path)
    assert [0, 1] == ids(load(path))


@given(
    groups=st.lists(st.lists(st.text(max_size=40), max_size=4), min_size=1, max_size=5),
    cut=st.integers(0, 4000),
    rubbish=st.binary(max_size=30),
)
def test_any_cut_and_any_rubbish_leave_a_prefix(
    groups: list[list[str]], cut: int, rubbish: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any cut and any trailing bytes, an append leaves valid JSON: a prefix of the events, then the new one."""
    path = str(tmp_path_factory.mktemp("cut") / "timeline.json")
    number = 0
    for group in groups:
        events = [event(number + i, text) for i, text in enumerate(group)]
        timeline.append(path, events)
        number += len(events)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: min(cut, len(data))] + rubbish)
    timeline.append(path, [event(99)])
    found = ids(load(path))
    assert found == [*range(len(found) - 1), 99]


# What the program before this one left

OLD: list[dict[str, Any]] = [
    {"cat": "task", "name": f"cmd {n} {{}}]", "pid": 1, "tid": 2, "ts": n, "dur": 1, "ph": "X", "args": {}}
    for n in (1, 2, 3)
]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_another_make_is_taken_over(path: str, indent: int | None) -> None:
    """The one-line array of PyTaskFarmer 0.1.0, or one that a tool has indented, keeps its events and grows."""
    Path(path).write_text(json.dumps(OLD, indent=indent))
    assert OLD == list(timeline.read(path))
    timeline.append(path, [event(9)])
    assert OLD == load(path)[:3]
    assert [9] == ids(load(path)[3:])
    timeline.append(path, [event(10)])
    assert OLD == load(path)[:3]
    assert [9, 10] == [entry["args"]["id"] for entry in list(timeline.read(path))[3:]]


def test_every_cut_of_an_old_array_keeps_its_complete_events(path: str) -> None:
    """Wherever PyTaskFarmer 0.1.0 was killed while it rewrote its array, the complete events stay."""
    whole = json.dumps(OLD)
    for cut in range(len(whole)):
        Path(path).write_text(whole[:cut])
        complete = [entry for n, entry in enumerate(OLD) if len(json.dumps(OLD[: n + 1])) - 1 <= cut]
        assert complete == list(timeline.read(path)), f"cut at {cut}"
        timeline.append(path, [event(9)])
        assert complete == load(path)[:-1], f"cut at {cut}"


@pytest.mark.parametrize("content", ["", "[]", "[]\n", "[", "\n", "null", "\0" * 50])
def test_an_old_file_without_events_starts_afresh(path: str, content: str) -> None:
    """An empty, trivial or unreadable old file becomes an array of ours."""
    Path(path).write_text(content)
    assert [] == list(timeline.read(path))
    timeline.append(path, [event(9)])
    assert [9] == ids(load(path))


# Errors of the disk


def short_write(failing: str) -> Callable[[str, object], None]:
    """Stand before an operation: let a part of the data arrive, then say that the disk is full."""

    def before(operation: str, where: object) -> None:
        if operation == failing:
            disk.before = None
            if isinstance(where, int):
                os.pwrite(where, b',\n{"half": ', os.fstat(where).st_size and os.fstat(where).st_size - 3)
            raise OSError(errno.ENOSPC, "full")

    return before


@pytest.mark.parametrize("failing", ["pwrite", "close"])
def test_a_failed_append_leaves_the_file_as_it_was(path: str, at_disk: Any, failing: str) -> None:
    """An append that fails half-way, or at close, raises and leaves the very bytes that were there before."""
    timeline.append(path, [event(0), event(1)])
    before = Path(path).read_bytes()
    at_disk(short_write(failing))
    with pytest.raises(OSError, match="full"):
        timeline.append(path, [event(2)])
    assert before == Path(path).read_bytes()


def test_a_failed_first_append_leaves_no_file(path: str, at_disk: Any) -> None:
    """If the trace cannot even be begun, there is none, rather than an invalid one."""
    at_disk(short_write("pwrite"))
    with pytest.raises(OSError, match="full"):
        timeline.append(path, [event(0)])
    assert not os.path.exists(path)


@pytest.mark.parametrize("start", [[], [event(0)]])
def test_undo_takes_back_whole_appends(path: str, start: list[bytes]) -> None:
    """`undo` brings back the very file of the size that is given, over several appends."""
    size = timeline.append(path, start)
    before = Path(path).read_bytes()
    timeline.append(path, [event(1)])
    timeline.append(path, [event(2)])
    timeline.undo(path, size)
    assert before == Path(path).read_bytes()


def test_repair_of_an_absent_file_is_nothing(path: str) -> None:
    """There is nothing to repair where no trace was begun."""
    assert 0 == timeline.repair(path)
    assert not os.path.exists(path)


# Reading


def test_events_after_a_noted_size(path: str) -> None:
    """What was appended after a noted size is found: what an audit asks about a dead farmer's last commit."""
    sizes = [timeline.append(path, [event(n)]) for n in range(4)]
    assert [2, 3] == ids(timeline.events_after(path, sizes[1]))
    assert [] == ids(timeline.events_after(path, sizes[3]))
    assert [0, 1, 2, 3] == ids(timeline.events_after(path, 0))


def test_events_after_a_size_that_a_repair_has_undercut(path: str) -> None:
    """A noted size beyond the end gives the events near the end, rather than none."""
    size = timeline.append(path, [event(n) for n in range(4)])
    assert [0, 1, 2, 3] == ids(timeline.events_after(path, size + 1000))


def test_a_reader_skips_what_is_torn(path: str) -> None:
    """A reader without the lock gets the complete events of a torn file."""
    timeline.append(path, [event(n) for n in range(3)])
    os.truncate(path, os.path.getsize(path) - 30)
    assert [0, 1] == ids(timeline.read(path))


def test_an_absent_trace_has_no_events(path: str) -> None:
    """Readers treat a trace that was not begun as an empty one."""
    assert [] == list(timeline.read(path))
    assert [] == list(timeline.events_after(path, 10))
