from collections.abc import Callable

import pytest
from desk import FARM, NO_TASKS, Desk

TWO, THREE = "echo one >> ran\necho two >> ran\n", "echo one >> ran\necho two >> ran\necho three >> ran\n"


def test_a_list_on_standard_input_runs_and_resumes(desk: Desk) -> None:
    """`-` runs the list on standard input; the same input again is the same list, of which nothing is left."""
    desk.farm("-", "-w", "farm", stdin=TWO)
    ended = desk.farm("-", "-w", "farm", stdin=TWO)
    assert "2 tasks; 2 done before; " in ended.lines[0]
    assert ["one", "two"] == sorted(desk.lines("ran"))


def test_more_on_standard_input_adds_tasks(desk: Desk) -> None:
    """An input that begins as the last one did adds its further lines as tasks."""
    desk.farm("-", "-w", "farm", stdin=TWO)
    desk.farm("-", "-w", "farm", stdin=THREE)
    assert ["one", "three", "two"] == sorted(desk.lines("ran"))
    assert [0, 1, 2] == desk.ids("farm/finished")


def test_another_input_is_refused_without_a_trace(desk: Desk) -> None:
    """An input that is not the list of the work directory changes nothing in it."""
    desk.farm("-", "-w", "farm", stdin=TWO)
    message = desk.error(FARM, "-", "-w", "farm", stdin="rm -r /\n")
    assert "task 0 was 'echo one >> ran' and is now 'rm -r /'" in message
    assert "standard input" in message


@pytest.mark.parametrize("exists", [True, False])
def test_an_input_that_cannot_run_leaves_no_trace(desk: Desk, exists: bool) -> None:
    """A refused input leaves no copy behind, and leaves an empty directory where it found one."""
    if exists:
        (desk / "farm").mkdir()
    message = desk.error(FARM, "-", "-w", "farm", stdin="echo one\necho \0\n")
    assert "standard input, line 2: this task has a NUL byte" in message


def test_an_empty_input(desk: Desk) -> None:
    """Nothing on standard input is an empty list."""
    assert desk.farm("-", "-w", "farm", stdin="", warning=NO_TASKS).out.startswith("pytaskfarmer: 0 tasks; ")


def test_tasks_do_not_read_the_list(desk: Desk) -> None:
    """A task that reads its standard input finds it empty."""
    desk.farm("-", "-w", "farm", stdin="cat; echo one\ncat; echo two\n")
    assert ["one"] == desk.lines("farm/logs/log_0")
    assert ["two"] == desk.lines("farm/logs/log_1")


def test_process_substitution(desk: Desk, require: Callable[[str], str]) -> None:
    """The shell's `<(...)` is a list, can be resumed, and what is suggested next can be typed."""
    line = f"{FARM} -w farm <(printf '%s\\n' 'echo one >> ran' 'false')"
    for _ in range(2):
        ended = desk.run(require("bash"), "-c", line)
        assert (1, "") == (ended.status, ended.err)
        assert "/dev/fd" not in ended.out
        assert "/proc" not in ended.out
    assert ["one"] == desk.lines("ran")


def test_a_dry_run_of_standard_input(desk: Desk) -> None:
    """`--dry-run` reads standard input and touches nothing, with and without a work directory there."""
    assert ["0 echo one >> ran", "1 echo two >> ran"] == desk.farm("-", "-w", "farm", "--dry-run", stdin=TWO).lines
    assert {} == desk.tree()
    desk.farm("-", "-w", "farm", stdin=TWO)
    before = desk.tree()
    assert ["2 echo three >> ran"] == desk.farm("-", "-w", "farm", "--dry-run", stdin=THREE).lines
    assert before == desk.tree()


def test_status_of_a_list_from_standard_input(desk: Desk) -> None:
    """The other commands know a run from standard input by its work directory."""
    desk.farm("-", "-w", "farm", stdin=TWO)
    assert "  2 finished, 0 failed, 0 running, 0 held, 0 waiting" in desk.look("status", "farm").lines
