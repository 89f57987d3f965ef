import signal
from collections.abc import Callable

import pytest
from desk import FARM, Desk

FARM_DIR = "tasks.txt_workdir"
STOPS = "touch begun; [ -e stay ] || kill -TERM $PPID; sleep 100"
"""A task that stops its farmer and goes back to the list."""


@pytest.fixture
def half(desk: Desk) -> Desk:
    """A desk with a run of which task 0 has finished, task 1 has failed, and 2, 3 and 4 wait."""
    desk.write("tasks.txt", "# cuts", "echo a >> ran", "ecko b >> ran", STOPS, "echo d >> ran", "true")
    desk.farm("tasks.txt", "-n", "1", status=3)
    assert ([0], [1], [2, 3, 4]) == tuple(
        desk.ids(f"{FARM_DIR}/{book}") for book in ("finished", "failed", "toprocess")
    )
    return desk


def edit(desk: Desk, old: str, new: str) -> None:
    path = desk / "tasks.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "ecko",
            "echo",
            "line 3: not the list of {dir}: task 1 was 'ecko b >> ran' and is now 'echo b >> ran'. It has failed: ",
        ),
        (
            "echo d",
            "echo e",
            "line 5: not the list of {dir}: task 3 was 'echo d >> ran' and is now 'echo e >> ran'. It has not run",
        ),
        (
            "echo d >> ran",
            "ecko b >> ran",
            "line 5: not the list of {dir}: task 3 was 'echo d >> ran' and is now 'ecko b >> ran'. ",
        ),
    ],
    ids=["failed", "waiting", "text that is there twice"],
)
def test_an_edited_line_is_refused_with_the_remedy(half: Desk, old: str, new: str, message: str) -> None:
    """A changed line is refused with its number, its old and new text, and the way to take it over."""
    edit(half, old, new)
    line = half.error(FARM, "tasks.txt")
    assert line.startswith(f"{half.place}/tasks.txt, " + message.format(dir=half.place / FARM_DIR))
    assert line.endswith(": take the change over with --update, restore the list, or use another --workdir.")


def test_the_first_of_several_edits_is_named(half: Desk) -> None:
    """Of several changed lines, the first is named."""
    edit(half, "ecko", "echo")
    edit(half, "echo d", "echo e")
    assert ", line 3: " in half.error(FARM, "tasks.txt")


def test_a_removed_line_shows_where_the_list_moved_up(half: Desk) -> None:
    """Where a line was removed, the line that stands in its place is named."""
    edit(half, "ecko b >> ran\n", "")
    assert "line 3: " in (line := half.error(FARM, "tasks.txt"))
    assert f"task 1 was 'ecko b >> ran' and is now '{STOPS}'" in line


def test_a_shortened_list_is_refused(half: Desk) -> None:
    """Lines missing at the end are named, too: nothing says that they were not forgotten."""
    edit(half, "true\n", "")
    assert "task 4 was 'true' and is missing now. It has not run yet: " in half.error(FARM, "tasks.txt")


@pytest.mark.parametrize(
    ("words", "old", "new", "now"),
    [
        ([], "echo a", "echo aa", "now 'echo aa >> ran'"),
        (["--update"], "echo a", "echo aa", "now 'echo aa >> ran'"),
        (["--update"], "echo a >> ran\n", "", "now 'ecko b >> ran'"),
    ],
)
def test_a_finished_task_cannot_change(half: Desk, words: list[str], old: str, new: str, now: str) -> None:
    """A changed or missing line of a finished task is refused, with `--update` as well."""
    edit(half, old, new)
    line = half.error(FARM, "tasks.txt", *words)
    assert f"line 2: not the list of {half.place}/{FARM_DIR}: task 0 was 'echo a >> ran' and is {now}." in line
    assert "It has finished, so it cannot change" in line


def test_a_corrected_failed_line_runs_again(half: Desk) -> None:
    """With `--update`, the corrected line of a failed task runs and finishes; so do those that had waited."""
    edit(half, "ecko", "echo")
    edit(half, STOPS, "echo c >> ran")
    ended = half.farm("tasks.txt", "--update")
    assert "pytaskfarmer: the list has changed: 2 lines changed" == ended.lines[0]
    assert "5 of 5 finished, 0 failed" in ended.out
    assert ["a", "b", "c", "d"] == sorted(half.lines("ran"))
    assert {"1 echo b >> ran", "2 echo c >> ran"} < set(half.lines(f"{FARM_DIR}/finished"))
    assert [] == half.lines(f"{FARM_DIR}/failed")
    half.farm("tasks.txt")


def test_lines_removed_from_the_end_are_forgotten(half: Desk) -> None:
    """With `--update`, lines of unfinished tasks that are missing at the end are tasks no longer."""
    (half / "tasks.txt").write_text("echo a >> ran\necho b >> ran\n")
    assert "2 of 2 finished, 0 failed" in half.farm("tasks.txt", "--update").out
    assert ["a", "b"] == half.lines("ran")
    assert [] == half.lines(f"{FARM_DIR}/toprocess")


def test_edited_and_grown_at_once(half: Desk) -> None:
    """With `--update`, changed lines are taken over and appended ones added in the same run."""
    edit(half, "ecko", "echo")
    edit(half, STOPS, "echo c >> ran")
    edit(half, "true\n", "true\necho f >> ran\n")
    assert "6 of 6 finished, 0 failed" in half.farm("tasks.txt", "--update").out
    assert ["a", "b", "c", "d", "f"] == sorted(half.lines("ran"))


def test_a_last_line_without_a_line_end_can_be_corrected(desk: Desk) -> None:
    """The last task of a list that never had a final newline stays a task when its line grows."""
    (desk / "tasks.txt").write_text("echo a >> ran\necko b")
    desk.farm("tasks.txt", status=1)
    (desk / "tasks.txt").write_text("echo a >> ran\necho b >> ran")
    assert "line 2: not the list of" in desk.error(FARM, "tasks.txt")
    assert 0 == desk.run(FARM, "tasks.txt", "--update").status
    assert ["a", "b"] == (desk / "ran").read_text().split()
    assert [0, 1] == desk.ids(f"{FARM_DIR}/finished")


def test_update_without_an_edit_changes_nothing(half: Desk) -> None:
    """`--update` on a list that says the same is the same command without it."""
    edit(half, "# cuts", "# other cuts")
    ended = half.farm("tasks.txt", "--update", "-n", "1", status=3)
    assert "2 done before, 1 of them failed" in ended.lines[0]
    assert ["a"] == half.lines("ran")


def test_a_running_task_cannot_change(half: Desk, wait_until: Callable[..., None]) -> None:
    """A changed line of a task that a farmer runs now is refused, and the message says that it runs."""
    (half / "begun").unlink()
    (half / "stay").touch()
    farmer = half.start(FARM, "tasks.txt", "-n", "1")
    wait_until((half / "begun").exists)
    edit(half, STOPS, "echo c >> ran")
    line = half.run(FARM, "tasks.txt", "--update").err
    assert ", line 4: " in line
    assert "It runs now, so it cannot change" in line
    assert 3 == half.end(farmer, signal.SIGTERM).status
    half.farm("tasks.txt", "--update", status=1)
    assert ["a", "c", "d"] == sorted(half.lines("ran"))
