import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from desk import FARM, Desk

if TYPE_CHECKING:
    from conftest import Mark

FARM_DIR = "tasks.txt_workdir"


def running(desk: Desk, farmer_slots: int, wait_until: Callable[..., None]) -> None:
    wait_until(lambda: farmer_slots == len(desk.lines("begun")), state=lambda: desk.lines("begun"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_the_same_command_carries_on(desk: Desk, number: int, wait_until: Callable[..., None]) -> None:
    """After a stop or a kill, the same command runs what is left: what had finished does not run again."""
    desk.write("tasks.txt", "echo a >> ran", *["echo x >> begun; [ -e go ] || sleep 100; echo $PROC_NUMBER >> ran"] * 3)
    farmer = desk.start(FARM, "tasks.txt", "-n", "2")
    running(desk, 2, wait_until)
    ended = desk.end(farmer, number)
    assert (-number if number == signal.SIGKILL else 3) == ended.status
    (desk / "go").touch()
    ended = desk.farm("tasks.txt", "-n", "2")
    assert "4 of 4 finished, 0 failed" in ended.out
    assert ["1", "2", "3", "a"] == sorted(desk.lines("ran"))
    assert [0, 1, 2, 3] == desk.ids(f"{FARM_DIR}/finished")


@pytest.mark.parametrize(("last", "status"), [("true", 0), ("false", 1)])
def test_nothing_runs_where_nothing_is_left(desk: Desk, last: str, status: int) -> None:
    """The same command on a list that is done runs nothing, changes no book, and exits as the list deserves."""
    desk.write("tasks.txt", "echo one >> ran", last)
    desk.farm("tasks.txt", status=status)
    books = [desk.tree()[f"{FARM_DIR}/{book}"] for book in ("finished", "toprocess", "timeline.json")]
    ended = desk.farm("tasks.txt", status=status)
    assert "2 done before" in ended.lines[0]
    assert ["one"] == desk.lines("ran")
    assert books == [desk.tree()[f"{FARM_DIR}/{book}"] for book in ("finished", "toprocess", "timeline.json")]


def test_appended_lines_are_added(desk: Desk) -> None:
    """Lines appended to the list become tasks, counted everywhere, and run once."""
    desk.write("tasks.txt", "echo one >> ran")
    desk.farm("tasks.txt")
    desk.write("tasks.txt", "echo one >> ran", "# more", "echo two >> ran", "echo three >> ran")
    ended = desk.farm("tasks.txt")
    assert "pytaskfarmer: the list has changed: 2 lines appended" == ended.lines[0]
    assert ended.lines[1].startswith("pytaskfarmer: 3 tasks; 1 done before; 3 slots; ")
    assert ended.lines[2].startswith("pytaskfarmer: 3 of 3 finished, 0 failed; ")
    assert ["one", "three", "two"] == sorted(desk.lines("ran"))
    assert [0, 1, 2] == desk.ids(f"{FARM_DIR}/finished")


def test_lines_appended_while_a_farmer_runs_are_added(desk: Desk, wait_until: Callable[..., None]) -> None:
    """A second farmer adds lines appended meanwhile, and they run, although the first knows nothing of them."""
    first = "echo x >> begun; [ -e go ] || sleep 100"
    desk.write("tasks.txt", first)
    farmer = desk.start(FARM, "tasks.txt")
    running(desk, 1, wait_until)
    desk.write("tasks.txt", first, "echo two >> ran", "touch go")
    ended = desk.farm("tasks.txt")
    assert "3 tasks; " in ended.lines[1]
    desk.end(farmer, signal.SIGTERM)
    desk.farm("tasks.txt")
    assert ["two"] == desk.lines("ran")
    assert [0, 1, 2] == desk.ids(f"{FARM_DIR}/finished")


def test_failed_tasks_stay_while_others_run(desk: Desk, wait_until: Callable[..., None]) -> None:
    """`--retry-failed` of a farmer that joins others says that it was left out, and what to do instead."""
    desk.write("tasks.txt", "false", "echo x >> begun; [ -e go ] || sleep 100")
    farmer = desk.start(FARM, "tasks.txt", "-n", "2")
    wait_until(lambda: desk.lines("begun") and desk.ids(f"{FARM_DIR}/failed"))
    ended = desk.run(FARM, "tasks.txt", "-n", "1", "--retry-failed")
    expected = (
        "pytaskfarmer: --retry-failed: left out, since other farmers run this list; use `pytaskfarmer retry` instead"
    )
    assert expected == ended.lines[0]
    desk.end(farmer, signal.SIGTERM)


def test_a_list_that_grew_meanwhile_is_not_done(desk: Desk, wait_until: Callable[..., None]) -> None:
    """A farmer that is stopped counts what others have added to the list: work is left, and its status says so."""
    desk.write("tasks.txt", "echo x >> begun; [ -e go ] || sleep 100", "true")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    running(desk, 1, wait_until)
    with open(desk / "tasks.txt", "a") as file:
        file.write("true\n")
    desk.farm("tasks.txt", "-n", "1")
    ended = desk.end(farmer, signal.SIGTERM)
    assert (3, True) == (ended.status, "2 of 3 finished, 0 failed, 1 left" in ended.out), ended


def test_a_line_that_is_left_out_is_said_in_any_case(desk: Desk) -> None:
    """Also who wants quiet learns that the last line of a grown list has no line end, and is no task for now."""
    desk.write("tasks.txt", "true")
    desk.farm("tasks.txt", "--quiet")
    with open(desk / "tasks.txt", "a") as file:
        file.write("true\ntrue")
    said = "the last line of the list has no line end yet: it is left out for now"
    desk.farm("tasks.txt", "--quiet", warning=said)
    assert [0, 1] == desk.ids(f"{FARM_DIR}/finished")


@pytest.mark.parametrize("directory", ["logs", "claims"])
def test_a_directory_that_was_cleaned_up(desk: Desk, directory: str) -> None:
    """A work directory whose logs, or claims, somebody has removed goes on."""
    desk.write("tasks.txt", "echo one >> ran", "[ -e go ]")
    desk.farm("tasks.txt", status=1)
    shutil.rmtree(desk / FARM_DIR / directory)
    (desk / "go").touch()
    assert "2 of 2 finished, 0 failed" in desk.farm("tasks.txt", "--retry-failed").out
    assert ["one"] == desk.lines("ran")


@pytest.mark.parametrize("how", ["touched", "comments"])
def test_a_list_that_says_the_same_is_the_same(desk: Desk, how: str) -> None:
    """A newer date, or another comment and a last newline, do not make another list."""
    (desk / "tasks.txt").write_text("echo one >> ran\necho two >> ran")
    desk.farm("tasks.txt")
    if how == "touched":
        os.utime(desk / "tasks.txt")
    else:
        desk.write("tasks.txt", "# said before", "echo one >> ran", "echo two >> ran")
    assert "2 done before" in desk.farm("tasks.txt").lines[0]
    assert ["one", "two"] == sorted(desk.lines("ran"))


def test_a_list_that_has_moved(desk: Desk) -> None:
    """A list with the same contents elsewhere is the same list; then it can grow there."""
    desk.write("tasks.txt", "echo one >> ran", "echo two >> ran")
    desk.farm("tasks.txt")
    (desk / "elsewhere").mkdir()
    (desk / "tasks.txt").rename(desk / "elsewhere/list")
    assert "2 done before" in desk.farm("elsewhere/list", "-w", FARM_DIR).lines[0]
    desk.write("elsewhere/list", "echo one >> ran", "echo two >> ran", "echo three >> ran")
    desk.farm("elsewhere/list", "-w", FARM_DIR)
    assert ["one", "three", "two"] == sorted(desk.lines("ran"))


def test_a_work_directory_that_moves_under_a_farmer(desk: Desk, wait_until: Callable[..., None]) -> None:
    """Its tasks are ended and the farmer says what to do; with the new name the run carries on."""
    first = "echo x >> begun; until [ -e go ]; do sleep 0.05; done; echo one >> ran"
    desk.write("tasks.txt", first, "echo x >> begun; [ -e go ] || sleep 100; echo two >> ran")
    farmer = desk.start(FARM, "tasks.txt", "-n", "2")
    running(desk, 2, wait_until)
    (desk / FARM_DIR).rename(desk / "moved")
    (desk / "go").touch()
    ended = desk.end(farmer)
    assert (2, ["one"]) == (ended.status, desk.lines("ran"))
    assert ended.err == (
        f"pytaskfarmer: error: {desk.place}/{FARM_DIR}: the work directory was moved, removed or replaced while a "
        "farmer used it; its running tasks were ended. If it was moved, move it back, or name it with --workdir, "
        "and run again.\n"
    )
    desk.farm("tasks.txt", "-w", "moved")
    assert ["one", "two"] == desk.lines("ran")


def test_a_list_that_is_run_from_elsewhere(desk: Desk) -> None:
    """The directory in which its tasks ran is named, with the command that leads there."""
    (desk / "my own").mkdir()
    here, desk.place = desk.place, desk / "my own"
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt")
    begun, desk.place = desk.place, here
    expected = f"tasks run in {here} now; this list was begun in {begun}; to run them there: cd '{begun}'"
    assert f"pytaskfarmer: {expected}" == desk.farm("my own/tasks.txt").lines[0]


def test_a_work_directory_that_has_moved(desk: Desk) -> None:
    """A work directory can be renamed between two runs."""
    desk.write("tasks.txt", "echo one >> ran", "false")
    desk.farm("tasks.txt", status=1)
    (desk / FARM_DIR).rename(desk / "elsewhere")
    assert "2 done before" in desk.farm("tasks.txt", "-w", "elsewhere", status=1).lines[0]
    assert ["one"] == desk.lines("ran")


@pytest.mark.parametrize("reason", ["timeout", "signal"])
def test_a_wait_for_the_lock_can_be_stopped(
    desk: Desk, reason: str, mark: "Mark", wait_until: Callable[..., None]
) -> None:
    """A farmer that waits for a lock that somebody else holds is stopped by `--timeout` and by TERM, with 3."""
    desk.write("tasks.txt", "echo one >> ran", "false")
    desk.farm("tasks.txt", status=1)
    lock = desk / FARM_DIR / "lock"

    def waits() -> bool:
        return any(str(lock) in links(f"/proc/{pid}/fd") for pid in mark.living())

    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timeout = ["--timeout", "0.5"] if reason == "timeout" else []
        farmer = desk.start(FARM, "tasks.txt", "--retry-failed", *timeout)
        wait_until(waits)
        if reason == "timeout":
            wait_until(lambda: farmer.poll() is not None, seconds=5)
        assert 3 == desk.end(farmer, signal.SIGTERM).status
    assert [1] == desk.ids(f"{FARM_DIR}/failed")


def links(directory: str) -> list[str]:
    try:
        return [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
    except OSError:
        return []
