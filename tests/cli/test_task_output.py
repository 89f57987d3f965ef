import os
import signal
from collections.abc import Callable

import pytest
from desk import FARM, Desk

MODES = ["files", "pack"]


def has_printed(desk: Desk) -> bool:
    directory = desk / "tasks.txt_workdir/logs"
    return directory.is_dir() and any(path.stat().st_size for path in directory.iterdir())


def logs(desk: Desk, *words: str, status: int = 0) -> str:
    ended = desk.look("logs", *words)
    assert status == ended.status, ended
    return ended.out


@pytest.mark.parametrize("mode", MODES)
def test_logs_prints_what_tasks_printed(desk: Desk, mode: str) -> None:
    """`logs` prints the output of one task as it is, that of several under headings in the order asked for."""
    desk.write("tasks.txt", "echo zero; echo error >&2", "printf one", "true", "echo three; exit 3")
    desk.farm("tasks.txt", "--logs", mode, status=1)
    assert "zero\nerror\n" == logs(desk, "tasks.txt", "0")
    assert "one" == logs(desk, "tasks.txt_workdir", "1")
    several = logs(desk, "tasks.txt", "3", "1").splitlines()
    assert ["three", "one"] == [line for line in several if not line.startswith("==> ")]
    assert ["==> task 3, attempt 1", "==> task 1, attempt 1"] == [line[:21] for line in several if line[0] == "="]


@pytest.mark.parametrize("mode", MODES)
def test_logs_of_all_tasks(desk: Desk, mode: str) -> None:
    """`logs --all` prints everything that tasks printed, whatever it looks like, each under a heading."""
    forged = "=== task 1 attempt 1 success status 0 bytes 9 at 1.000"
    desk.write("tasks.txt", f"echo '{forged}'; echo fake", "echo one", r"printf '\377\n'")
    desk.farm("tasks.txt", "--logs", mode)
    lines = [line for line in logs(desk, "tasks.txt", "--all").splitlines() if not line.startswith("==> task ")]
    assert sorted([forged, "fake", "one", "\udcff"]) == sorted(lines)


@pytest.mark.parametrize("mode", MODES)
def test_logs_of_the_failed_tasks(desk: Desk, mode: str) -> None:
    """`logs --failed` prints the latest output of each task that failed, by id, and says which printed nothing."""
    desk.write("tasks.txt", "echo zero", "exit 4", "sleep 0.1; echo two; exit 3", "echo three; exit 3")
    desk.farm("tasks.txt", "--logs", mode, "--retries", "1", status=1)
    ended = desk.look("logs", "tasks.txt", "--failed")
    expected = "==> task 2, attempt 2, exit 3 <==\ntwo\n==> task 3, attempt 2, exit 3 <==\nthree\n"
    silent = "pytaskfarmer: task 1 (exit 4) printed nothing, or ran with --logs none\n"
    assert (0, expected, silent) == (ended.status, ended.out, ended.err)


def test_logs_of_no_failed_task(desk: Desk) -> None:
    """Where none has failed, `logs --failed` prints nothing, says so, and that is no error."""
    desk.write("tasks.txt", "echo zero")
    desk.farm("tasks.txt")
    ended = desk.look("logs", "tasks.txt", "--failed")
    assert (0, "", "pytaskfarmer: no task has failed\n") == (ended.status, ended.out, ended.err)


@pytest.mark.parametrize("mode", MODES)
def test_logs_says_how_a_task_ended(desk: Desk, mode: str) -> None:
    """The heading of a task's output has exit status or signal."""
    desk.write("tasks.txt", "echo zero; exit 3", "echo one; kill -SEGV $$")
    desk.farm("tasks.txt", "--logs", mode, status=1)
    lines = logs(desk, "tasks.txt", "0", "1").splitlines()
    assert ["==> task 0, attempt 1, exit 3 <==", "==> task 1, attempt 1, SIGSEGV <=="] == lines[::2]


@pytest.mark.parametrize("mode", MODES)
def test_logs_of_a_silent_task(desk: Desk, mode: str) -> None:
    """Of a task that printed nothing `logs` says so, and how it ended; an id beyond the list is an error."""
    desk.write("tasks.txt", "true", "exit 3")
    desk.farm("tasks.txt", "--logs", mode, status=1)
    ended = desk.look("logs", "tasks.txt", "0", "1")
    expected = [
        "pytaskfarmer: task 0 printed nothing, or ran with --logs none",
        "pytaskfarmer: task 1 (exit 3) printed nothing, or ran with --logs none",
    ]
    assert (0, "", expected) == (ended.status, ended.out, ended.err.splitlines())
    expected_line = "there is no task 2: the list has 2 tasks, from 0 on."
    assert expected_line == desk.complaint(lambda: desk.look("logs", "tasks.txt", "0", "2"))


def test_logs_of_a_task_that_has_not_run(desk: Desk) -> None:
    """Of a task that has not run `logs` says so, with status 1."""
    desk.write("tasks.txt", "echo one", "echo two")
    desk.farm("tasks.txt", "--timeout", "0", status=3)
    ended = desk.look("logs", "tasks.txt", "1")
    expected = "pytaskfarmer: task 1 has not ended, and has printed nothing so far\n"
    assert (1, "", expected) == (ended.status, ended.out, ended.err)


def test_nothing_is_kept_with_none(desk: Desk) -> None:
    """With `--logs none` nothing is kept, and `logs` says so."""
    desk.write("tasks.txt", "echo zero")
    desk.farm("tasks.txt", "--logs", "none")
    assert [] == os.listdir(desk / "tasks.txt_workdir/logs")
    ended = desk.look("logs", "tasks.txt", "0")
    expected = "pytaskfarmer: task 0 printed nothing, or ran with --logs none\n"
    assert (0, "", expected) == (ended.status, ended.out, ended.err)


@pytest.mark.parametrize("mode", MODES)
def test_a_running_task_can_be_read(desk: Desk, mode: str, wait_until: Callable[..., None]) -> None:
    """What a task has printed can be read while it runs."""
    os.mkfifo(desk / "go")
    desk.write("tasks.txt", "echo early; read line < go; echo late")
    farmer = desk.start(FARM, "tasks.txt", "--logs", mode)
    wait_until(lambda: has_printed(desk))
    assert "early\n" == logs(desk, "tasks.txt", "0")
    (desk / "go").write_text("\n")
    assert 0 == desk.end(farmer).status
    assert "early\nlate\n" == logs(desk, "tasks.txt", "0")


def test_a_file_can_be_followed(desk: Desk, wait_until: Callable[..., None]) -> None:
    """In `files`, the log is a file of its own from its first byte, so `tail -f` works."""
    os.mkfifo(desk / "go")
    desk.write("tasks.txt", "echo early; read line < go; echo late")
    farmer = desk.start(FARM, "tasks.txt")
    wait_until(lambda: desk.lines("tasks.txt_workdir/logs/log_0"))
    with open(desk / "tasks.txt_workdir/logs/log_0") as log:
        assert "early\n" == log.read()
        (desk / "go").write_text("\n")
        assert 0 == desk.end(farmer).status
        assert "late\n" == log.read()


def test_an_earlier_attempt_keeps_its_log(desk: Desk) -> None:
    """A new attempt writes a new `log_ID`; the earlier ones become `.1`, `.2`, and `logs --attempts` prints all."""
    desk.write("tasks.txt", "echo $(ls ran* | wc -l); touch ran$(ls ran* | wc -l); [ -e ran2 ]")
    (desk / "ran").touch()
    desk.farm("tasks.txt", status=1)
    desk.farm("tasks.txt", "--retry-failed")
    assert {"log_0", "log_0.1"} == set(os.listdir(desk / "tasks.txt_workdir/logs"))
    assert ["1", "2"] == desk.lines("tasks.txt_workdir/logs/log_0.1") + desk.lines("tasks.txt_workdir/logs/log_0")
    assert "2\n" == logs(desk, "tasks.txt", "0")
    expected = ["==> task 0, attempt 1 <==", "1", "==> task 0, attempt 2, ok <==", "2"]
    assert expected == logs(desk, "tasks.txt", "0", "--attempts").splitlines()


def test_a_pack_keeps_every_attempt(desk: Desk) -> None:
    """With `pack` the attempts of `--retries` are all kept, and `logs` prints the latest."""
    desk.write("tasks.txt", "echo attempt $PYTASKFARMER_ATTEMPT; [ $PYTASKFARMER_ATTEMPT = 2 ]")
    desk.farm("tasks.txt", "--logs", "pack", "--retries", "1")
    assert "attempt 2\n" == logs(desk, "tasks.txt", "0")
    printed = logs(desk, "tasks.txt", "0", "--attempts").splitlines()
    assert ["attempt 1", "attempt 2"] == [line for line in printed if not line.startswith("==>")]


def test_packs_are_few_files(desk: Desk) -> None:
    """With `pack` the number of files does not grow with the number of tasks."""
    desk.write("tasks.txt", *(f"echo {n}" for n in range(90)))
    desk.farm("tasks.txt", "--logs", "pack", "-n", "4")
    assert 1 == len(os.listdir(desk / "tasks.txt_workdir/logs"))
    assert [f"{n}\n" for n in (0, 89)] == [logs(desk, "tasks.txt", str(n)) for n in (0, 89)]


def test_what_a_killed_farmer_s_tasks_printed_is_kept(desk: Desk, wait_until: Callable[..., None]) -> None:
    """With `pack`, what a task had printed when its farmer was killed can still be read, before and after resuming."""
    desk.write("tasks.txt", "echo attempt $PYTASKFARMER_FARMER; [ -e mended ] || sleep 100")
    farmer = desk.start(FARM, "tasks.txt", "--logs", "pack")
    wait_until(lambda: has_printed(desk))
    desk.end(farmer, signal.SIGKILL)
    printed = logs(desk, "tasks.txt", "0")
    (desk / "mended").touch()
    desk.farm("tasks.txt", "--logs", "pack")
    attempts = logs(desk, "tasks.txt", "0", "--attempts").splitlines()
    assert printed.strip() in attempts
    assert 2 == len([line for line in attempts if line.startswith("attempt ")])


@pytest.mark.parametrize(("tasks", "mode"), [(10_000, "files"), (10_001, "pack")])
def test_auto_keeps_files_up_to_ten_thousand_tasks(desk: Desk, tasks: int, mode: str) -> None:
    """`auto` keeps a file a task up to 10,000 tasks and a pack above, and says so at the start."""
    desk.write("tasks.txt", *["sleep 60"] * tasks)
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    assert farmer.stdout is not None
    assert f"; logs: {mode}; " in farmer.stdout.readline()
    assert 3 == desk.end(farmer, signal.SIGTERM).status
