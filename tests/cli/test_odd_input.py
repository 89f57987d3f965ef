import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import FARM, NO_TASKS, Desk


@pytest.mark.parametrize("lines", [[], ["# nothing", "", "   ", "\t", "# to do"]], ids=["empty", "comments"])
def test_a_list_without_tasks_is_done(desk: Desk, lines: list[str]) -> None:
    """An empty list, or one of comments and blank lines, is a success with a warning, which `--quiet` leaves."""
    desk.write("tasks.txt", *lines)
    assert desk.farm("tasks.txt", warning=NO_TASKS).out.startswith("pytaskfarmer: 0 tasks; ")
    assert "" == desk.farm("tasks.txt", "-q", warning=NO_TASKS).out


def test_line_ends_a_byte_order_mark_and_no_last_newline(desk: Desk) -> None:
    """CRLF, a byte order mark and a missing last newline are no part of a task, and ids skip what is no task."""
    (desk / "tasks.txt").write_bytes(b"\xef\xbb\xbf# first\r\n\r\necho one\r\n   \r\necho two #\r\n#three\r\necho four")
    desk.farm("tasks.txt")
    assert ["0 echo one", "1 echo two #", "2 echo four"] == sorted(desk.lines("tasks.txt_workdir/finished"))
    assert ["one", "two", "four"] == [desk.lines(f"tasks.txt_workdir/logs/log_{n}")[0] for n in range(3)]


def test_blanks_around_a_task_are_left_to_the_shell(desk: Desk) -> None:
    """A task keeps its blanks: only a `#` in the first column is a comment of the list."""
    desk.write("tasks.txt", "  echo one  ", " # a comment of the shell's")
    desk.farm("tasks.txt")
    assert ["0   echo one  ", "1  # a comment of the shell's"] == sorted(desk.lines("tasks.txt_workdir/finished"))


@pytest.mark.parametrize("locale", [{"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_bytes_that_are_not_utf_8_reach_the_shell_unchanged(desk: Desk, locale: dict[str, str]) -> None:
    """Every byte but NUL and newline gets to the task as it stands in the list, whatever the locale."""
    wild = bytes(set(range(1, 256)) - {ord("\n"), ord("'")})
    (desk / "tasks.txt").write_bytes(b"printf %s '" + wild + b"'\nprintf %s \xe9\xff; exit 3\n")
    desk.environment |= locale
    desk.farm("tasks.txt", status=1)
    assert wild == (desk / "tasks.txt_workdir/logs/log_0").read_bytes()
    assert b"\xe9\xff" == (desk / "tasks.txt_workdir/logs/log_1").read_bytes()
    assert b"1 printf %s \xe9\xff; exit 3\n" == (desk / "tasks.txt_workdir/failed").read_bytes()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_screen_that_lacks_letters_does_not_end_the_run(desk: Desk, encoding: str) -> None:
    """Words that the screen's encoding cannot express are replaced, in the summary and in a file's name."""
    desk.write("tâches-\udcff-☃.txt", "echo one", "exit 3 # ☃ é")
    desk.environment["PYTHONIOENCODING"] = encoding
    ended = desk.run(FARM, "tâches-\udcff-☃.txt")
    assert (1, "") == (ended.status, ended.err)
    assert "1 of 2 finished, 1 failed" in ended.out


def test_a_missing_program_and_one_without_permission(desk: Desk) -> None:
    """A program that does not exist fails its task with 127, one that is not executable with 126; the others run."""
    desk.write("plain", "not a program")
    desk.write("tasks.txt", "no-such-program-anywhere", "./plain", "./no-such-file", "echo one")
    ended = desk.farm("tasks.txt", status=1)
    assert [3] == desk.ids("tasks.txt_workdir/finished")
    ends = [line.split("  ")[1:3] for line in ended.lines if line.startswith("  ")]
    assert [["0", "exit 127"], ["1", "exit 126"], ["2", "exit 127"]] == sorted(ends)
    assert "not found" in desk.lines("tasks.txt_workdir/logs/log_0")[0]


def test_more_slots_than_the_node_can_hold(desk: Desk, require: Callable[[str], str]) -> None:
    """`--proc 20000` is capped by what the node can hold, with a word, and by the number of tasks."""
    desk.write("tasks.txt", "echo one", "echo two")
    desk.prefix = [require("bash"), "-c", 'ulimit -n 256; exec "$@"', "bash"]
    warning = "--proc 20000: more than this node can hold; using 96 slots"
    assert "; 2 slots; " in desk.farm("tasks.txt", "--proc", "20000", warning=warning).lines[0]


def test_never_more_slots_than_tasks(desk: Desk) -> None:
    """Eight slots are the default, and three tasks have three of them."""
    desk.write("tasks.txt", *["echo $PYTASKFARMER_SLOT"] * 3)
    assert "; 3 slots; " in desk.farm("tasks.txt").lines[0]
    assert {"0", "1", "2"} >= {desk.lines(f"tasks.txt_workdir/logs/log_{n}")[0] for n in range(3)}


@pytest.mark.parametrize(
    ("words", "talks"),
    [("-v tasks.txt", True), ("-v True tasks.txt", True), ("-v False tasks.txt", False)],
)
def test_verbose_means_what_it_says(desk: Desk, words: str, talks: bool) -> None:
    """`-v tasks.txt` runs the list, with a line for every task that ends; `-v False tasks.txt` without."""
    desk.write("tasks.txt", "echo one")
    ended = desk.farm(*words.split())
    assert talks == any("task 0: ok after " in line and line.endswith(": echo one") for line in ended.lines)
    assert [0] == desk.ids("tasks.txt_workdir/finished")


def test_proc_without_a_value(desk: Desk) -> None:
    """`--proc tasks.txt` runs the list on as many slots as the node has CPUs."""
    desk.write("tasks.txt", *["true"] * 100)
    slots = min(100, os.cpu_count() or 1)
    assert f"; {slots} slot{'s' * (slots > 1)}; " in desk.farm("--proc", "tasks.txt").lines[0]
    assert 100 == len(desk.ids("tasks.txt_workdir/finished"))


def test_python_m_is_the_command(desk: Desk) -> None:
    """`python3 -m pytaskfarmer run` is the same command."""
    desk.write("tasks.txt", "echo one")
    ended = desk.run(sys.executable, "-m", "pytaskfarmer", "run", "tasks.txt")
    assert (0, "") == (ended.status, ended.err)
    assert ["0 echo one"] == desk.lines("tasks.txt_workdir/finished")


def test_quiet_says_nothing(desk: Desk) -> None:
    """With `--quiet` nothing is said, whatever happens to the tasks; errors are."""
    desk.write("tasks.txt", "echo one", "false")
    assert "" == desk.farm("tasks.txt", "--quiet", status=1).out
    assert desk.error(FARM, "missing.txt", "--quiet")


def test_file_order(desk: Desk) -> None:
    """With one slot, tasks run in the order of the list."""
    desk.write("tasks.txt", *(f"echo {n} >> ran" for n in range(20)))
    desk.farm("tasks.txt", "-n", "1")
    assert [str(n) for n in range(20)] == desk.lines("ran")


def test_random_order(desk: Desk) -> None:
    """`--order random` runs every task once, in another order, and keeps ids and books by the list."""
    desk.write("tasks.txt", *(f"echo {n} >> ran" for n in range(20)))
    desk.farm("tasks.txt", "-n", "1", "--order", "random")
    ran = [int(line) for line in desk.lines("ran")]
    assert list(range(20)) == sorted(ran)
    assert list(range(20)) != ran
    assert {f"{n} echo {n} >> ran" for n in range(20)} == set(desk.lines("tasks.txt_workdir/finished"))


@pytest.mark.parametrize("name", ["-n", "it's a list.txt", "new\nline.txt"])
def test_names_that_shells_stumble_over(desk: Desk, name: str) -> None:
    """A list may have any name."""
    (desk / name).write_text("echo one\n")
    ended = desk.run(FARM, "--", name)
    assert (0, "") == (ended.status, ended.err)
    assert ["one"] == desk.lines(f"{name}_workdir/logs/log_0")


def test_a_reader_that_goes_away_does_not_end_the_run(desk: Desk, require: Callable[[str], str]) -> None:
    """`pytaskfarmer.py ... | head -1` runs all tasks, and exits as it would have."""
    desk.write("tasks.txt", *["sleep 0.05; false"] * 8)
    ended = desk.run(require("bash"), "-c", f"{FARM} -v -n 2 tasks.txt | head -1; exit ${{PIPESTATUS[0]}}")
    assert (1, "", 1) == (ended.status, ended.err, len(ended.lines))
    assert 8 == len(desk.ids("tasks.txt_workdir/failed"))


SLOW = """
import os, time
from pathlib import Path

class Slow:
    passes = 0

    def tasks(self, tasklist):
        self.passes += 1
        yield 'true'
        Path(f'pass{self.passes}').touch()
        while str(self.passes) == os.environ.get('SLOW_PASS'):
            time.sleep(0.01)
            yield 'true'
"""


@pytest.fixture
def slow(desk: Desk, tmp_path: Path) -> Desk:
    """A desk with a list that does not come to an end, in the pass over it that SLOW_PASS names."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/endless.py").write_text(SLOW)
    desk.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1", "SLOW_PASS": "1"}
    desk.write("slow.ini", "[slow]", "TaskList = endless.Slow")
    desk.write("tasks.txt", "x")
    return desk


def test_the_time_is_up_while_the_list_is_read(slow: Desk) -> None:
    """`--timeout` ends the reading of a list too; how far it has come is said every 5 s; nothing was made."""
    ended = slow.farm("tasks.txt", "-t", "slow", "--timeout", "5.5", status=3)
    assert re.fullmatch(
        r"pytaskfarmer: reading the list: \d+ tasks so far\npytaskfarmer: stopped before any task was started\.\n",
        ended.out,
    )
    assert ["pass1", "slow.ini", "tasks.txt"] == sorted(slow.tree())


@pytest.mark.parametrize("number", [1, 2])
def test_a_signal_while_the_list_is_read(slow: Desk, number: int, wait_until: Callable[..., None]) -> None:
    """A stop signal ends the first and the second pass over a list; the next farmer begins anew and runs it."""
    slow.environment["SLOW_PASS"] = str(number)
    farmer = slow.start(FARM, "tasks.txt", "-t", "slow")
    wait_until((slow / f"pass{number}").exists)
    ended = slow.end(farmer, signal.SIGTERM)
    assert (3, "pytaskfarmer: stopped before any task was started.\n") == (ended.status, ended.out)
    del slow.environment["SLOW_PASS"]
    assert "1 of 1 finished" in slow.farm("tasks.txt", "-t", "slow").out
