"""Golden texts: what the screen says, word for word."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytaskfarmer.farm.watching import Summary, Tally
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.views import words
from pytaskfarmer.workdir.layout import Layout


def attempt(number: int, text: str, outcome: Outcome, status: int = 0, **facts: float) -> Attempt:
    return replace(Attempt(Task(number, text), 1, 0, outcome, status, 1.7e9, 61.2), **facts)


FAILURES = (
    attempt(3, "sim.sh in.hepmc out 10 0", Outcome.NONZERO_EXIT, 2),
    attempt(17, "reco.sh " + "x" * 100, Outcome.KILLED_BY_SIGNAL, -11),
    attempt(29, "tab\there", Outcome.TIMED_OUT, -15),
)
DONE = Summary(
    Tally(tasks=1200, before=0, finished=1200), 7200.0, 7200.0 * 32 * 0.93, (), 1200, 0, 0, exact=True, others=0
)


@pytest.mark.parametrize(
    ("ended", "words_for_it"),
    [
        (attempt(0, "", Outcome.SUCCESS), "ok"),
        (attempt(0, "", Outcome.NONZERO_EXIT, 127), "exit 127"),
        (attempt(0, "", Outcome.KILLED_BY_SIGNAL, -9), "SIGKILL"),
        (attempt(0, "", Outcome.KILLED_BY_SIGNAL, -35), "SIG35"),
        (attempt(0, "", Outcome.TIMED_OUT, -15), "timed out"),
        (attempt(0, "", Outcome.FAILED_TO_START, 127), "failed to start"),
        (attempt(0, "", Outcome.FARMER_LOST, -9), "farmer lost"),
    ],
)
def test_how_a_task_ended(ended: Attempt, words_for_it: str) -> None:
    """An end is an exit status, a signal's name, or two words."""
    assert words_for_it == words.ending(ended)


@pytest.mark.parametrize(
    ("tally", "seconds", "line"),
    [
        (Tally(tasks=1200, before=0, running=32), 10.0, "0 done, 0 failed, 32 running, 1,200 left"),
        (
            Tally(tasks=1200, before=200, finished=290, failed=10, running=32),
            60.0,
            "500 done, 10 failed, 32 running, 700 left, 5/s, about 2 min 20 s to go",
        ),
        (
            Tally(tasks=1200, before=0, finished=31, running=32),
            60.0,
            "31 done, 0 failed, 32 running, 1,169 left, 0.517/s",
        ),
        (
            Tally(tasks=1200, before=None, finished=90, failed=10, running=32, waiting=600, held=40, company=3),
            3600.0,
            "100 done here, 10 failed, 32 running, 640 left, 0.0278/s",
        ),
        (
            Tally(tasks=300, before=0, finished=299, running=1),
            10.0,
            "299 done, 0 failed, 1 running, 1 left, 29.9/s",
        ),
    ],
)
def test_progress(tally: Tally, seconds: float, line: str) -> None:
    """Progress is what is done, failed, running and left, the rate, and for a farmer that is alone the time to go.

    There is none once all that is left runs: the rate says nothing about the one task that hangs.
    """
    assert line == words.progress_line(tally, seconds)


def test_the_line_about_one_end() -> None:
    """`--verbose` names task, attempt where it is not the first, end, time and command."""
    expected = "task 3: exit 2 after 1 min 1 s: sim.sh in.hepmc out 10 0"
    assert expected == words.end_line(FAILURES[0])
    expected = "task 3 (attempt 2): exit 2 after 1 min 1 s: sim.sh in.hepmc out 10 0"
    assert expected == words.end_line(replace(FAILURES[0], number=2))


SUMMARIES = {
    "success": (DONE, "files", ["1,200 of 1,200 finished, 0 failed; 2 h, 32 slots 93% busy"]),
    "failures": (
        replace(
            DONE, tally=Tally(tasks=1200, before=0, finished=1180, failed=20), failures=FAILURES,
            list_finished=1180, list_failed=20,
        ),
        "files",
        [
            "1,180 of 1,200 finished, 20 failed; 2 h, 32 slots 93% busy",
            "failed in this run:",
            "  3  exit 2  sim.sh in.hepmc out 10 0  farm/logs/log_3",
            "  17  SIGSEGV  reco.sh xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  farm/logs/log_17",
            "  29  timed out  tab�here  farm/logs/log_29",
            "  and 17 more",
            "see: pytaskfarmer logs farm 3",
            "all that failed: pytaskfarmer status farm --all",
            "next: run the same command with --retry-failed",
        ],
    ),
    "failures, packed": (
        replace(
            DONE, tally=Tally(tasks=1200, before=0, finished=1199, failed=1), failures=FAILURES[:1],
            list_finished=1199, list_failed=1,
        ),
        "pack",
        [
            "1,199 of 1,200 finished, 1 failed; 2 h, 32 slots 93% busy",
            "failed in this run:",
            "  3  exit 2  sim.sh in.hepmc out 10 0  pytaskfarmer logs farm 3",
            "next: run the same command with --retry-failed",
        ],
    ),
    "stopped": (
        replace(
            DONE, tally=Tally(tasks=1200, before=0, finished=700, stopped=32), list_finished=700, left=500,
            stopped_by="SIGUSR1",
        ),
        "files",
        [
            "700 of 1,200 finished, 0 failed, 500 left; 2 h, 32 slots 93% busy",
            "stopped by SIGUSR1",
            "32 running tasks went back to the list",
            "next: run the same command again to resume",
        ],
    ),
    "held back": (
        replace(
            DONE, tally=Tally(tasks=1200, before=0, finished=1199), list_finished=1199, left=1, not_fitting=1,
        ),
        "files",
        [
            "1,199 of 1,200 finished, 0 failed, 1 left; 2 h, 32 slots 93% busy",
            "1 task held back: a typical one would not have ended before the deadline",
            "next: run the same command again to resume",
        ],
    ),
    "drained": (
        replace(DONE, tally=Tally(tasks=1200, before=0, finished=700), list_finished=700, left=500, stopped_by="USR2"),
        "files",
        [
            "700 of 1,200 finished, 0 failed, 500 left; 2 h, 32 slots 93% busy",
            "stopped by USR2",
            "next: run the same command again to resume",
        ],
    ),
    "in company": (
        replace(
            DONE, tally=Tally(tasks=1200, finished=300, company=1), list_finished=1100, left=100, exact=False, others=1,
        ),
        "files",
        [
            "about 1,100 of 1,200 finished, 0 failed, about 100 left; 2 h, 32 slots 93% busy",
            "the rest is held by 1 other farmer (--wait waits for it)",
        ],
    ),
    "disk full": (
        replace(DONE, tally=Tally(tasks=1200, before=0, finished=700), list_finished=690, left=500, claims_left=True),
        "files",
        [
            "690 of 1,200 finished, 0 failed, 500 left; 2 h, 32 slots 93% busy",
            "the work directory cannot be written: nothing is lost, and the next run records what this one held",
            "next: run the same command again to resume",
        ],
    ),
    "failed before": (
        replace(DONE, tally=Tally(tasks=1200, before=1200), list_finished=1199, list_failed=1, busy_seconds=0.0),
        "files",
        [
            "1,199 of 1,200 finished, 1 failed; nothing was left to do",
            "all that failed: pytaskfarmer status farm --all",
            "next: run the same command with --retry-failed",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("summary", "logs", "lines"), SUMMARIES.values(), ids=SUMMARIES)
def test_summary(summary: Summary, logs: str, lines: list[str]) -> None:
    """The summary counts the list, times the farmer, names failures and logs, and says what to do next."""
    layout = Layout(os.path.abspath("farm"))
    assert lines == list(words.summary_lines(summary, layout, logs, 32))


def test_a_command_to_type_is_quoted() -> None:
    """The work directory in a suggested command is quoted for a shell."""
    layout = Layout("/srv/it's here")
    lines = list(words.summary_lines(SUMMARIES["failures, packed"][0], layout, "pack", 32))
    assert lines[2].endswith("""  pytaskfarmer logs '/srv/it'"'"'s here' 3""")


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (0, {}),
        (1, {"list_failed": 1}),
        (3, {"left": 1, "stopped_by": "SIGTERM"}),
        (3, {"left": 1, "list_failed": 1, "not_fitting": 1}),
        (3, {"left": 1}),
        (0, {"left": 1, "others": 1}),
        (1, {"left": 1, "others": 1, "list_failed": 1}),
        (0, {"stopped_by": "SIGTERM"}),
        (3, {"claims_left": True}),
    ],
)
def test_exit_status(status: int, changes: dict[str, object]) -> None:
    """0 done or held by others, 1 something failed, 3 work left."""
    assert status == replace(DONE, **changes).exit_status


@pytest.mark.parametrize(("number", "text"), [(0, "0 tasks"), (1, "1 task"), (1200, "1,200 tasks")])
def test_counts(number: int, text: str) -> None:
    """One is singular; thousands are grouped."""
    assert text == words.count(number, "task")


def test_places_are_as_short_as_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path below the current directory is relative, another one absolute."""
    monkeypatch.chdir(tmp_path)
    assert "a/b" == words.place(str(tmp_path / "a/b"))
    assert str(tmp_path.parent / "c") == words.place(str(tmp_path.parent / "c"))
