"""What tasks print: kept by id, in every mode, whatever they leave behind and whoever dies."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import logs
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.outputs import Following, Output, latest, outputs, scan

FARMER = "node17-4711-abc"
MIB = 1 << 20


def ended(task_id: int, slot: int = 0, number: int = 1, start: float = 1_700_000_000.123) -> Attempt:
    return Attempt(Task(task_id, "x"), number, slot, Outcome.SUCCESS, 0, start, 1.0)


def content(output: Output | None) -> bytes:
    assert output is not None
    return b"".join(output.read())


def everything(layout: Layout, **options: Any) -> list[tuple[int, int, bytes]]:
    return [(found.task_id, found.attempt, content(found)) for found in outputs(layout, **options)]


def run(farm: logs.Logs, task_id: int, slot: int, script: str, **options: Any) -> None:
    """Run a task the way a farmer does: its descriptor is closed in the parent as soon as it has started."""
    fd = farm.open(task_id, slot)
    try:
        process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, **options)
    finally:
        os.close(fd)
    process.wait()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(str(tmp_path / "my work"))
    os.makedirs(made.logs)
    return made


@pytest.fixture
def pack(layout: Layout) -> Iterator[logs.Logs]:
    farm = logs.start("pack", layout, FARMER)
    yield farm
    farm.close()


@pytest.fixture
def at_disk() -> Iterator[Callable[[Callable[[str, object], None]], None]]:
    def install(before: Callable[[str, object], None]) -> None:
        disk.before = before

    yield install
    disk.before = None


# The choice


@pytest.mark.parametrize(
    ("mode", "tasks", "expected"),
    [("auto", 10_000, "files"), ("auto", 10_001, "pack"), ("files", 10**6, "files"), ("none", 1, "none")],
)
def test_auto_means_files_up_to_ten_thousand_tasks(mode: str, tasks: int, expected: str) -> None:
    """`auto` gives every task a file as long as the files are not too many; other modes mean themselves."""
    assert expected == logs.choose(mode, tasks)


def test_each_mode_says_where_to_look(layout: Layout) -> None:
    """A person is told a path, a command that a shell takes as it stands, or nothing."""
    places = [logs.start(mode, layout, FARMER).where(12) for mode in ("files", "pack", "none")]
    assert [f"{layout.root}/logs/log_12", f"pytaskfarmer logs '{layout.root}' 12", None] == places


def test_none_keeps_nothing(layout: Layout) -> None:
    """Without logs, what a task prints leaves no file."""
    farm = logs.start("none", layout, FARMER)
    run(farm, 1, 0, "echo lost")
    farm.note(1, 0, "lost too")
    farm.end(ended(1))
    farm.close()
    assert [] == os.listdir(layout.logs)


@pytest.mark.parametrize("mode", ["files", "pack", "none"])
def test_the_descriptor_is_closed_on_exec(layout: Layout, mode: str) -> None:
    """No other child inherits a task's log."""
    fd = logs.start(mode, layout, FARMER).open(0, 0)
    inheritable = os.get_inheritable(fd)
    os.close(fd)
    assert not inheritable


# Files


def test_a_file_is_there_from_the_first_byte(layout: Layout) -> None:
    """`tail -f` can follow a task that has printed nothing yet, and sees what it prints at once."""
    farm = logs.start("files", layout, FARMER)
    fd = farm.open(5, 0)
    assert b"" == Path(layout.log(5)).read_bytes()
    os.write(fd, b"one")
    assert b"one" == Path(layout.log(5)).read_bytes()
    os.close(fd)


def test_a_new_attempt_keeps_the_old_logs(layout: Layout) -> None:
    """Attempt by attempt, the oldest log is `.1` and the latest has no number."""
    farm = logs.start("files", layout, FARMER)
    for attempt in ("first", "second", "third"):
        run(farm, 5, 0, f"echo {attempt}")
    kept = {name: Path(layout.logs, name).read_text() for name in os.listdir(layout.logs)}
    assert {"log_5.1": "first\n", "log_5.2": "second\n", "log_5": "third\n"} == kept
    assert [(5, 1, b"first\n"), (5, 2, b"second\n"), (5, 3, b"third\n")] == everything(layout, ids=[5])


def test_a_daemon_of_an_earlier_attempt_does_not_become_the_latest(layout: Layout) -> None:
    """The latest attempt's log is the latest, even if something still writes to an older one."""
    farm = logs.start("files", layout, FARMER)
    for attempt in ("first", "second"):
        run(farm, 5, 0, f"echo {attempt}")
    os.utime(layout.log(5), (1000, 1000))
    assert b"second\n" == content(latest(layout, 5))


def test_logs_honour_the_umask(layout: Layout) -> None:
    """Files and packs are as readable as the user's umask says."""
    old = os.umask(0o027)
    try:
        run(logs.start("files", layout, FARMER), 1, 0, "echo x")
        pack = logs.start("pack", layout, FARMER)
        run(pack, 2, 0, "echo x")
        pack.end(ended(2))
        pack.close()
    finally:
        os.umask(old)
    assert {0o640} == {os.stat(Path(layout.logs, name)).st_mode & 0o777 for name in os.listdir(layout.logs)}


# Packs


def test_a_pack_gives_back_every_output_by_id(layout: Layout, pack: logs.Logs) -> None:
    """Outputs of any bytes come back whole, also those that look like the pack's own lines."""
    run(pack, 3, 0, "echo out; echo err >&2")
    run(pack, 4, 1, r"printf 'no newline \0 \377'")
    pack.end(ended(4, slot=1))
    pack.end(ended(3))
    run(pack, 5, 0, "printf '=== task 99 attempt 1 success status 0 bytes 5 at 1.0\nabcde\n'")
    pack.end(ended(5))
    expected = [(4, 1, b"no newline \0 \xff"), (3, 1, b"out\nerr\n")]
    assert expected == everything(layout)[:2]
    assert [4, 3, 5] == [found.task_id for found in outputs(layout)]
    assert expected[::-1] == everything(layout, ids=[3, 4])


def test_a_record_can_be_found_with_grep(layout: Layout, pack: logs.Logs) -> None:
    """The line before an output names task, attempt, outcome, status, bytes and time."""
    run(pack, 12, 0, "echo hello")
    pack.end(Attempt(Task(12, "x"), 2, 0, Outcome.NONZERO_EXIT, 3, 1_700_000_000.123, 1.0))
    expected = b"=== task 12 attempt 2 nonzero_exit status 3 bytes 6 at 1700000000.123\nhello\n\n"
    assert expected == Path(layout.pack(FARMER)).read_bytes()
    found = next(scan(layout.pack(FARMER)))
    assert (Outcome.NONZERO_EXIT, 3, 1_700_000_000.123) == (found.outcome, found.status, found.time)


def test_a_silent_task_changes_no_file(layout: Layout, pack: logs.Logs, at_disk: Any) -> None:
    """A task that prints nothing costs no write and leaves no record."""
    run(pack, 1, 0, "echo first")
    pack.end(ended(1))
    calls: list[str] = []
    at_disk(lambda operation, _where: calls.append(operation))
    run(pack, 2, 0, "true")
    pack.end(ended(2))
    assert [] == calls
    assert [1] == [found.task_id for found in outputs(layout)]


def test_the_number_of_files_is_bounded(layout: Layout, pack: logs.Logs) -> None:
    """Any number of tasks on two slots leaves a pack and two spools, and after the end only the pack."""
    for task_id in range(20):
        run(pack, task_id, task_id % 2, f"echo {task_id}")
        pack.end(ended(task_id, slot=task_id % 2))
    assert 3 == len(os.listdir(layout.logs))
    pack.close()
    assert [os.path.basename(layout.pack(FARMER))] == os.listdir(layout.logs)
    assert [(n, 1, b"%d\n" % n) for n in range(20)] == everything(layout)


def test_a_spool_is_used_again(layout: Layout, pack: logs.Logs) -> None:
    """As long as nobody else holds it, task after task writes to the same file."""
    run(pack, 1, 0, "echo one")
    first = os.stat(layout.spool(FARMER, 0)).st_ino
    pack.end(ended(1))
    run(pack, 2, 0, "echo two")
    assert first == os.stat(layout.spool(FARMER, 0)).st_ino
    pack.end(ended(2))


def test_a_daemon_cannot_write_into_the_next_tasks_log(layout: Layout, pack: logs.Logs, tmp_path: Path) -> None:
    """A process that outlives its task and its group keeps the old spool; the next task has another."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    gone, held = os.pipe()
    daemon = f"setsid sh -c 'read word < {fifo}; echo late' &"
    run(pack, 1, 0, f"{daemon} echo first", pass_fds=[held])
    os.close(held)
    pack.end(ended(1))
    fd = pack.open(2, 0)
    os.write(fd, b"second\n")
    Path(fifo).write_text("now\n")
    assert b"" == os.read(gone, 1)
    os.close(gone)
    os.close(fd)
    pack.end(ended(2))
    assert [(1, 1, b"first\n"), (2, 1, b"second\n")] == everything(layout)


MEDDLED = """
import os, sys
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import logs
from pytaskfarmer.workdir.layout import Layout

layout = Layout(sys.argv[1])
spool = layout.spool("farmer", 0)
farm = logs.start("pack", layout, "farmer", lambda: True)
os.close(farm.open(0, 0))
stop, held = os.pipe()
meddler = os.fork()
if meddler == 0:
    os.close(held)
    os.set_blocking(stop, False)
    while True:
        try:
            os.close(os.open(spool, os.O_WRONLY))
        except FileNotFoundError:
            pass
        try:
            os.read(stop, 1)
            os._exit(0)
        except BlockingIOError:
            pass
for task_id in range(3000):
    farm.end(Attempt(Task(task_id, ""), 1, 0, Outcome.SUCCESS, 0, 0.0, 0.0))
    os.close(farm.open(task_id, 0))
os.close(held)
os.waitpid(meddler, 0)
"""


def test_whoever_opens_a_spool_during_the_question_does_not_kill_the_farmer(layout: Layout) -> None:
    """The signal that the kernel sends for a broken lease is one that is ignored by default."""
    done = subprocess.run([sys.executable, "-c", MEDDLED, layout.root], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to leases away from root")
@pytest.mark.parametrize("vouched", [True, False])
def test_without_leases_only_a_voucher_saves_the_spool(vouched: bool) -> None:
    """Where the kernel cannot tell who writes, the spool is used again only if nobody can be left."""
    root = tempfile.mkdtemp()
    try:
        layout = Layout(root)
        os.makedirs(layout.logs)
        for directory in (root, layout.logs):
            os.chmod(directory, 0o777)
        farm = logs.start("pack", layout, FARMER, lambda: vouched)
        run(farm, 1, 0, "echo one")
        spool = layout.spool(FARMER, 0)
        os.chmod(spool, 0o666)
        before = os.stat(spool).st_ino
        keep = os.open(spool, os.O_RDONLY)  # so that the number of the inode is not given out again
        os.seteuid(65534)
        try:
            farm.end(ended(1))
            os.close(farm.open(2, 0))
        finally:
            os.seteuid(0)
        os.close(keep)
        assert vouched == (before == os.stat(spool).st_ino)
        assert [(1, 1, b"one\n")] == everything(layout)
        farm.close()
    finally:
        shutil.rmtree(root)


def test_a_huge_output_is_moved_and_read_in_bounded_memory(layout: Layout, pack: logs.Logs) -> None:
    """Neither moving nor reading 40 MB takes more than a few blocks of memory."""
    run(pack, 1, 0, "head -c 40000001 /dev/zero; echo end")
    tracemalloc.start()
    try:
        pack.end(ended(1))
        found = latest(layout, 1)
        assert found is not None
        length = sum(len(block) for block in found.read())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 40_000_005 == length
    assert peak < 6 * MIB


def test_the_farmer_can_add_a_line(layout: Layout, pack: logs.Logs) -> None:
    """A farmer's line stands on a line of its own, after what the task printed."""
    files = logs.start("files", layout, FARMER)
    for farm in (pack, files):
        run(farm, 7, 0, "printf half")
        farm.note(7, 0, "pytaskfarmer: killed 2 processes that the task left behind")
        farm.note(7, 0, "pytaskfarmer: and so on")
        farm.end(ended(7))
    expected = b"half\npytaskfarmer: killed 2 processes that the task left behind\npytaskfarmer: and so on\n"
    assert [expected, expected] == [content(found) for found in outputs(layout)]


def test_a_full_disk_swallows_the_farmers_line(layout: Layout, pack: logs.Logs, at_disk: Any) -> None:
    """A remark that does not fit is no error."""
    run(pack, 7, 0, "echo out")
    at_disk(full("append"))
    pack.note(7, 0, "remark")
    pack.end(ended(7))
    assert [(7, 1, b"out\n")] == everything(layout)


# Full disks and deaths


def full(failing: str, times: int = 1) -> Callable[[str, object], None]:
    left = [times]

    def before(operation: str, _where: object) -> None:
        if operation == failing and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "full")

    return before


def test_a_full_disk_loses_no_output(layout: Layout, pack: logs.Logs, at_disk: Any) -> None:
    """When the pack cannot grow, the output becomes a file of its own, the pack stays whole, and the slot is free."""
    run(pack, 1, 0, "echo one")
    pack.end(ended(1))
    run(pack, 2, 0, f"head -c {3 * MIB} /dev/zero")
    calls = iter([None, OSError(errno.ENOSPC, "full")])

    def second_block_fails(operation: str, _where: object) -> None:
        if operation == "append" and (error := next(calls, None)):
            raise error

    at_disk(second_block_fails)
    pack.end(ended(2))
    assert [(2, 1, bytes(3 * MIB)), (1, 1, b"one\n")] == everything(layout)
    assert bytes(3 * MIB) == Path(layout.log(2)).read_bytes()
    run(pack, 3, 0, "echo three")
    pack.end(ended(3))
    assert [(1, 1, b"one\n"), (3, 1, b"three\n")] == everything(layout)[1:]


def test_output_that_could_not_be_moved_survives_the_farmer(layout: Layout, at_disk: Any) -> None:
    """A farmer that leaves while nothing at all can be moved leaves the spool, and an audit salvages it."""
    farm = logs.start("pack", layout, FARMER)
    run(farm, 2, 0, "echo two")

    def nothing_works(operation: str, _where: object) -> None:
        if operation in {"append", "rename"}:
            raise OSError(errno.EDQUOT, "no more")

    at_disk(nothing_works)
    with pytest.raises(OSError, match="no more"):
        farm.end(ended(2))
    farm.close()
    disk.before = None
    logs.salvage(layout, FARMER, {0: (2, 1)}, "auditor")
    assert [(2, 1, b"two\n")] == everything(layout)


class TestLongOutput:
    """What is too long to be copied while everybody waits becomes a file of its own."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Call a thousand bytes long."""
        monkeypatch.setattr(logs, "_LONG", 1000, raising=False)

    def test_is_renamed(self, layout: Layout, pack: logs.Logs, at_disk: Any) -> None:
        """Nothing is copied, and earlier attempts stay what they are: in the pack, or a file with a number."""
        run(pack, 7, 0, "echo first")
        pack.end(ended(7, start=1000.0))
        calls: list[str] = []
        at_disk(lambda operation, _where: calls.append(operation))
        for number in (2, 3):
            run(pack, 7, 0, f"head -c 1000 /dev/zero; echo {number}")
            pack.end(ended(7, number=number))
        assert "append" not in calls
        expected = [b"first\n", bytes(1000) + b"2\n", bytes(1000) + b"3\n"]
        assert expected == [data for _, _, data in everything(layout, ids=[7])]
        assert expected[2] == content(latest(layout, 7))
        run(pack, 8, 0, "echo short")
        pack.end(ended(8))
        assert [(7, 1, b"first\n"), (8, 1, b"short\n")] == everything(layout)[2:]

    def test_of_the_dead_is_renamed(self, layout: Layout, at_disk: Any) -> None:
        """So an audit does not hold the lock for as long as it takes to copy; what nobody explains is copied."""
        dead = logs.start("pack", layout, FARMER)
        for slot in range(2):
            run(dead, slot, slot, f"head -c 1000 /dev/zero; echo {slot}")
        calls: list[str] = []
        at_disk(lambda operation, _where: calls.append(operation))
        logs.salvage(layout, FARMER, {0: (0, 1)}, "auditor")
        assert 1 == calls.count("append")
        assert [(0, 1, bytes(1000) + b"0\n"), (logs.UNKNOWN, 0, bytes(1000) + b"1\n")] == everything(layout)

    def test_is_followed(self, layout: Layout, pack: logs.Logs) -> None:
        """Whoever follows what tasks print is given long output as well, each attempt once."""
        following = Following(layout)
        heard = []
        for number, size in ((1, 1000), (2, 10), (3, 2000)):
            run(pack, 7, 0, f"head -c {size} /dev/zero")
            pack.end(ended(7, number=number))
            heard.append([output.length for output in following.new()])
        assert [[1000], [10], [2000]] == heard


def test_salvage_keeps_what_running_tasks_had_printed(layout: Layout) -> None:
    """What the tasks of a killed farmer had printed goes to the auditor's pack, and the spools go away."""
    dead = logs.start("pack", layout, FARMER)
    run(dead, 1, 0, "echo ended")
    dead.end(ended(1))
    run(dead, 2, 0, "printf part")
    run(dead, 3, 11, "echo eleven")
    run(dead, 4, 2, "true")
    other = logs.start("pack", layout, FARMER + "_1")
    run(other, 9, 0, "echo alive")
    logs.salvage(layout, FARMER, {0: (2, 3), 11: (3, 1), 2: (4, 1)}, "auditor")
    assert [(2, 3, b"part"), (3, 1, b"eleven\n"), (1, 1, b"ended\n")] == everything(layout)
    assert Outcome.FARMER_LOST is next(scan(layout.pack("auditor"))).outcome
    assert {"pack_auditor", f"pack_{FARMER}", f"spool_{FARMER}_1_0"} == set(os.listdir(layout.logs))
    other.end(ended(9))
    other.close()


def test_output_that_no_claims_explain_is_kept(layout: Layout) -> None:
    """A spool of which nobody knows the task is salvaged all the same, under no task's id."""
    run(logs.start("pack", layout, FARMER), 2, 0, "echo whose")
    logs.salvage(layout, FARMER, {}, "auditor")
    assert [(logs.UNKNOWN, 0, b"whose\n")] == everything(layout)


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def test_a_salvage_killed_anywhere_loses_nothing(layout: Layout, at_disk: Any) -> None:
    """Killed before each of its changes and repeated, a salvage has kept every output at least once."""
    kills = 0
    while True:
        shutil.rmtree(layout.logs)
        os.makedirs(layout.logs)
        disk.before = None
        dead = logs.start("pack", layout, FARMER)
        for slot in range(2):
            run(dead, slot, slot, f"echo {slot}")
        countdown = iter([None] * kills)

        def kill(_operation: str, _where: object, countdown: Iterator[None] = countdown) -> None:
            if next(countdown, "now") == "now":
                raise Killed

        at_disk(kill)
        try:
            logs.salvage(layout, FARMER, {0: (0, 1), 1: (1, 1)}, "auditor")
        except Killed:
            kills += 1
        else:
            break
        disk.before = None
        logs.salvage(layout, FARMER, {0: (0, 1), 1: (1, 1)}, "second auditor")
        assert {(0, 1, b"0\n"), (1, 1, b"1\n")} == set(everything(layout)), f"killed before change {kills}"
    assert kills == 6


def test_a_death_between_pack_and_spool_doubles_rather_than_loses(layout: Layout, at_disk: Any) -> None:
    """A farmer that dies after packing an output and before emptying its spool has both packed by the audit."""
    dead = logs.start("pack", layout, FARMER)
    run(dead, 5, 0, "echo five")

    def kill(operation: str, _where: object) -> None:
        if operation == "truncate":
            raise Killed

    at_disk(kill)
    with pytest.raises(Killed):
        dead.end(ended(5))
    disk.before = None
    logs.salvage(layout, FARMER, {0: (5, 1)}, "auditor")
    assert [(5, 1, b"five\n")] * 2 == everything(layout, ids=[5])


# Reading


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), cut=st.floats(0, 1), zeros=st.integers(0, 40))
def test_a_torn_pack_is_read_as_far_as_it_goes(
    sizes: list[int], cut: float, zeros: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut anywhere, and with NUL bytes behind, a pack gives its whole records and the part of the torn one."""
    layout = Layout(str(tmp_path_factory.mktemp("torn")))
    os.makedirs(layout.logs)
    farm = logs.start("pack", layout, FARMER)
    whole = []
    for task_id, size in enumerate(sizes):
        whole.append((task_id, 1, b"%d" % (task_id % 10) * size))
        fd = farm.open(task_id, 0)
        os.write(fd, whole[-1][2])
        os.close(fd)
        farm.end(ended(task_id))
    farm.close()
    end = int(cut * os.path.getsize(layout.pack(FARMER)))
    os.truncate(layout.pack(FARMER), end)
    found = everything(layout)
    for (task_id, _, data), (_, _, expected) in zip(found, whole, strict=False):
        assert expected.startswith(data)
        assert data == expected or task_id == len(found) - 1
    os.truncate(layout.pack(FARMER), end + zeros)
    assert len(found) == len(everything(layout))


def test_attempts_of_all_modes_and_farmers_come_in_order(layout: Layout) -> None:
    """One id's output is found wherever its attempts ran, oldest first, and the running one last."""
    run(logs.start("files", layout, FARMER), 1, 0, "echo file")
    os.utime(layout.log(1), (1000, 1000))
    for number, farmer in ((3, "a"), (2, "b")):
        farm = logs.start("pack", layout, farmer)
        run(farm, 1, 0, f"echo {farmer}")
        farm.end(ended(1, number=number, start=2000.0 + number))
    live = logs.start("pack", layout, "c")
    run(live, 1, 4, "echo now")
    expected = [b"file\n", b"b\n", b"a\n", b"now\n"]
    running = {("c", 4): (1, 4)}
    assert expected == [data for _, _, data in everything(layout, ids=[1], running=running)]
    assert b"now\n" == content(latest(layout, 1, running))
    assert b"a\n" == content(latest(layout, 1))


def test_everything_comes_by_id_from_files(layout: Layout) -> None:
    """Without ids, files are given in the order of their ids, not of their names."""
    farm = logs.start("files", layout, FARMER)
    for task_id in (10, 9, 100, 9):
        run(farm, task_id, 0, f"echo {task_id}")
    assert [(9, 1), (9, 2), (10, 1), (100, 1)] == [(found.task_id, found.attempt) for found in outputs(layout)]


def test_a_task_that_has_not_run_has_no_output(layout: Layout) -> None:
    """Nothing is found, without an error, for an unknown id or where there are no logs at all."""
    assert latest(layout, 5) is None
    os.rmdir(layout.logs)
    assert [] == list(outputs(layout))
