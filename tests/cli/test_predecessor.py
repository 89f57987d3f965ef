"""Work directories that are checked in, as PyTaskFarmer 0.1.0 and earlier formats left them; they resume for ever."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from desk import COMMAND, FARM, Desk

DATA = Path(__file__).resolve().parents[1] / "data"
LEFT = [
    "ptf-0.1.0-nothing-taken",
    "ptf-0.1.0-stopped-by-usr1",
    "ptf-0.1.0-stopped-by-term",
    "ptf-0.1.0-killed",
    "ptf-0.1.0-empty-toprocess",
    "ptf-0.1.0-recorded-twice",
    "ptf-0.1.0-torn-finished",
    "ptf-0.1.0-torn-timeline",
]
FAILED = ["ptf-0.1.0-finished-with-failures", "format-1-stopped"]
TASKS = 6


def left_behind(desk: Desk, state: str) -> Path:
    """Put a copy on the desk, with the empty directories that version control does not keep."""
    shutil.copytree(DATA / state, desk.place, dirs_exist_ok=True)
    for directory in ("logs", "claims") if state.startswith("format") else ("logs",):
        (desk / "farm" / directory).mkdir(exist_ok=True)
    return desk / "farm"


def test_every_state_that_is_checked_in_is_tested() -> None:
    """No work directory lies in `tests/data` that no test resumes."""
    assert sorted(LEFT + FAILED) == sorted(path.name for path in DATA.iterdir() if path.is_dir())


@pytest.mark.parametrize("state", LEFT)
def test_a_run_that_was_left_is_carried_on(desk: Desk, state: str) -> None:
    """No task is lost, none that is known to have finished runs again, and the timeline keeps its events."""
    farm = left_behind(desk, state)
    done = set(desk.ids("farm/finished")) if state != "ptf-0.1.0-torn-finished" else {0, 1}
    events = complete_events(farm / "timeline.json")
    before = Counter(desk.lines("ran"))
    desk.farm("tasks.txt", "-w", "farm", "-n", "2")
    assert list(range(TASKS)) == desk.ids("farm/finished")
    assert ([], []) == (desk.ids("farm/toprocess"), desk.ids("farm/failed"))
    ran = Counter(desk.lines("ran"))
    assert {str(n): before[str(n)] + (n not in done) for n in range(TASKS)} == ran
    timeline = json.loads((farm / "timeline.json").read_text())
    assert events == timeline[: len(events)]
    assert TASKS - len(done) == sum("attempt" in event["args"] for event in timeline)


@pytest.mark.parametrize("state", FAILED)
def test_what_had_failed_stays_failed_until_it_is_retried(desk: Desk, state: str) -> None:
    """Tasks that had failed do not run again by themselves; with `--retry-failed` they do, and no other."""
    farm = left_behind(desk, state)
    events = complete_events(farm / "timeline.json")
    ended = desk.farm("tasks.txt", "-w", "farm", "-n", "2", status=1)
    assert "5 of 6 finished, 1 failed" in ended.out
    assert [2] == desk.ids("farm/failed")
    assert Counter("01345") == Counter(desk.lines("ran"))
    (desk / "mended").touch()
    desk.farm("tasks.txt", "-w", "farm", "--retry-failed")
    assert Counter("012345") == Counter(desk.lines("ran"))
    assert events == json.loads((farm / "timeline.json").read_text())[: len(events)]


def test_a_torn_number_is_not_another_task(desk: Desk) -> None:
    """A torn `1` to which a later farmer glued `2 task` is not task 12: that one runs, and 2 runs again."""
    desk.write("tasks.txt", *(f"echo {n} >> ran" for n in range(13)))
    (desk / "farm/logs").mkdir(parents=True)
    desk.write("farm/finished", "0 echo 0 >> ran", "12 echo 2 >> ran")
    desk.farm("tasks.txt", "-w", "farm")
    assert list(range(13)) == desk.ids("farm/finished")
    assert sorted(map(str, range(1, 13))) == sorted(desk.lines("ran"))


def test_dropped_lines_are_told_apart_from_double_ones(desk: Desk) -> None:
    """A line of `finished` that is not the list's is said to be dropped; one that is there twice is not."""
    desk.write("tasks.txt", "echo a >> ran", "echo b >> ran")
    (desk / "farm/logs").mkdir(parents=True)
    desk.write("farm/finished", "0 echo a >> ran", "0 echo a >> ran", "1 echo old >> ran")
    ended = desk.farm("tasks.txt", "-w", "farm")
    assert "pytaskfarmer: recorded lines that are not in the list, whose tasks run again: 1" == ended.lines[0]
    assert ["b"] == desk.lines("ran")


def test_a_dry_run_before_adopting(desk: Desk) -> None:
    """`--dry-run` says what a run that 0.1.0 left has still to do, and changes nothing."""
    left_behind(desk, "ptf-0.1.0-killed")
    before = desk.tree()
    ended = desk.farm("tasks.txt", "-w", "farm", "--dry-run")
    assert [f"{n} sh work.sh {n}" for n in (3, 4, 5)] == ended.lines
    assert before == desk.tree()


def test_looking_at_what_0_1_0_left(desk: Desk) -> None:
    """`status` and `logs` read a work directory of 0.1.0; `retry` says that it must be resumed first."""
    left_behind(desk, "ptf-0.1.0-finished-with-failures")
    status = desk.look("status", "farm")
    assert (0, "  5 finished, 1 failed, 0 running, 0 held, 0 waiting") == (status.status, status.lines[1])
    assert "was left by PyTaskFarmer 0.1.0; run its task list with --retry-failed" in desk.error(
        COMMAND, "retry", "farm"
    )
    assert 0 == desk.look("logs", "farm", "0").status


def test_another_list_than_0_1_0_had(desk: Desk) -> None:
    """A list that has nothing in common with what 0.1.0 left is refused: its results would be thrown away."""
    left_behind(desk, "ptf-0.1.0-finished-with-failures")
    desk.write("other.txt", "echo one >> other", "echo two >> other")
    assert str(desk / "farm") in desk.error(FARM, "other.txt", "-w", "farm")


def complete_events(path: Path) -> list[dict[str, object]]:
    """Return the events that stand complete in a timeline of 0.1.0, one line of JSON that may be torn, or in ours."""
    text = path.read_text() if path.exists() else "[]"
    while text:
        try:
            events: list[dict[str, object]] = json.loads(text)
        except ValueError:
            text = text[: text.rstrip("]").rfind("}, {") + 1]
            text += "]" * bool(text)
        else:
            return events
    return []
