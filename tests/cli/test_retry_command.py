import pytest
from desk import COMMAND, FARM, Desk

FARM_DIR = "tasks.txt_workdir"


@pytest.fixture
def failed(desk: Desk) -> Desk:
    """A desk with a run of which tasks 1, 2 and 3 have failed, and would not now."""
    desk.write("tasks.txt", "echo 0 >> ran", *(f"echo {n} >> ran; [ -e mended ]" for n in (1, 2, 3)))
    desk.farm("tasks.txt", status=1)
    (desk / "mended").touch()
    return desk


def test_failed_tasks_stay_failed(failed: Desk) -> None:
    """The same command does not run failed tasks again; it says how to."""
    ended = failed.farm("tasks.txt", status=1)
    assert "next: run the same command with --retry-failed" == ended.lines[-1]
    assert 4 == len(failed.lines("ran"))


def test_retry_failed_runs_them_again(failed: Desk) -> None:
    """`--retry-failed` puts them back first; they run once each, and the books agree."""
    failed.farm("tasks.txt", "--retry-failed")
    assert ["0", "1", "1", "2", "2", "3", "3"] == sorted(failed.lines("ran"))
    assert ([0, 1, 2, 3], []) == (failed.ids(f"{FARM_DIR}/finished"), failed.ids(f"{FARM_DIR}/failed"))


def test_the_command_that_the_summary_names_works(failed: Desk) -> None:
    """The command that shows a failed task's output can be pasted into a shell."""
    failed.write("a list.txt", "echo said; exit 3")
    ended = failed.farm("a list.txt", "-w", "it's here", "--logs", "pack", status=1)
    suggestion = next(line for line in ended.lines if line.startswith("  0  exit 3  echo said; exit 3  "))
    shown = failed.run("sh", "-c", COMMAND + suggestion.partition("pytaskfarmer")[2])
    assert (0, "said\n") == (shown.status, shown.out)


def test_retry_of_all(failed: Desk) -> None:
    """`retry WORKDIR` puts all failed tasks back, and says how many and where; the next run runs them."""
    ended = failed.run(COMMAND, "retry", "tasks.txt")
    assert (0, "", 1) == (ended.status, ended.err, len(ended.lines))
    assert ended.out.startswith("pytaskfarmer: 3 tasks put back into tasks.txt_workdir")
    assert ([], [1, 2, 3]) == (failed.ids(f"{FARM_DIR}/failed"), failed.ids(f"{FARM_DIR}/toprocess"))
    failed.farm("tasks.txt")
    assert 7 == len(failed.lines("ran"))


def test_retry_of_one(failed: Desk) -> None:
    """`retry WORKDIR ID` puts back that task, and leaves the others failed."""
    assert 0 == failed.run(COMMAND, "retry", FARM_DIR, "2").status
    failed.farm("tasks.txt", status=1)
    assert ([0, 2], [1, 3]) == (failed.ids(f"{FARM_DIR}/finished"), failed.ids(f"{FARM_DIR}/failed"))


def test_retry_of_what_has_not_failed_is_refused(failed: Desk) -> None:
    """An id that has not failed refuses the whole command, before anything is put back."""
    assert "not among the failed tasks: 0, 99" in failed.error(COMMAND, "retry", "tasks.txt", "1", "99", "0")
    assert [1, 2, 3] == failed.ids(f"{FARM_DIR}/failed")


def test_retry_while_a_farmer_runs(failed: Desk) -> None:
    """Tasks that are put back while a farmer runs are taken up by that farmer."""
    failed.write("tasks.txt", *failed.lines("tasks.txt"), "while [ ! -e go ]; do sleep 0.05; done")
    farmer = failed.start(FARM, "tasks.txt")
    assert farmer.stdout is not None
    farmer.stdout.readline()
    farmer.stdout.readline()
    assert 0 == failed.run(COMMAND, "retry", "tasks.txt").status
    (failed / "go").touch()
    assert 0 == failed.end(farmer).status
    assert [0, 1, 2, 3, 4] == failed.ids(f"{FARM_DIR}/finished")
