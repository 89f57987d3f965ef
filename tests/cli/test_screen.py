"""What a user reads who runs the command where there is no terminal, and what `status` says."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable

import pytest
from desk import COMMAND, FARM, Desk

HOST = socket.gethostname().split(".")[0]


def plain(text: str) -> list[str]:
    """Return the lines with T for lengths of time, P for percentages and N for process ids."""
    text = re.sub(r"\b\d+(\.\d+)? (ms|s|min( \d+ s)?)\b", "T", text)
    return re.sub(r"pid \d+", "pid N", re.sub(r"\b\d+%", "P", text)).splitlines()


def test_a_run_from_start_to_end(desk: Desk) -> None:
    """A run says one line at its start and one at its end."""
    desk.write("tasks.txt", "echo one", "echo two")
    assert [
        "pytaskfarmer: 2 tasks; 2 slots; logs: files; work directory tasks.txt_workdir",
        "pytaskfarmer: 2 of 2 finished, 0 failed; T, 2 slots P busy",
    ] == plain(desk.farm("tasks.txt").out)
    assert [
        "pytaskfarmer: 2 tasks; 2 done before; 2 slots; logs: files; work directory tasks.txt_workdir",
        "pytaskfarmer: 2 of 2 finished, 0 failed; nothing was left to do",
    ] == plain(desk.farm("tasks.txt").out)


def test_a_run_with_failures(desk: Desk) -> None:
    """Failures are listed with exit status, command and log, and with what to do about them."""
    desk.write("tasks.txt", "echo one", "exit 3", "kill -SEGV $$")
    ended = desk.farm("tasks.txt", "-n", "1", status=1)
    assert [
        "pytaskfarmer: 3 tasks; 1 slot; logs: files; work directory tasks.txt_workdir",
        "pytaskfarmer: 1 of 3 finished, 2 failed; T, 1 slot P busy",
        "failed in this run:",
        "  1  exit 3  exit 3  tasks.txt_workdir/logs/log_1",
        "  2  SIGSEGV  kill -SEGV $$  tasks.txt_workdir/logs/log_2",
        "see: pytaskfarmer logs tasks.txt_workdir 1",
        "next: run the same command with --retry-failed",
    ] == plain(ended.out)
    again = "pytaskfarmer: 3 tasks; 3 done before, 2 of them failed; 3 slots; logs: files; "
    assert again in desk.farm("tasks.txt", status=1).out


def test_a_run_that_is_stopped(desk: Desk, wait_until: Callable[..., None]) -> None:
    """A stop says that it begins, what it put back, and what to do next."""
    desk.write("tasks.txt", "echo one", "echo >> begun; sleep 100", "echo two")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    wait_until(lambda: desk.lines("begun"))
    ended = desk.end(farmer, signal.SIGUSR1)
    assert [
        "pytaskfarmer: stopping (SIGUSR1): running tasks go back to the list (up to T; a second signal skips that)",
        "pytaskfarmer: 1 of 3 finished, 0 failed, 2 left; T, 1 slot P busy",
        "stopped by SIGUSR1",
        "1 running task went back to the list",
        "next: run the same command again to resume",
    ] == plain(ended.out)[1:]


def test_a_run_that_has_no_time(desk: Desk) -> None:
    """`--timeout` is named as what it was."""
    desk.write("tasks.txt", "sleep 100")
    ended = desk.farm("tasks.txt", "--timeout", "0.3s", status=3)
    assert "stopped by --timeout 0.3 s" in ended.lines


def test_neither_colour_nor_a_changing_line(desk: Desk) -> None:
    """Off a terminal there is neither colour nor a line that changes, and `--verbose` gives a line a task."""
    desk.write("tasks.txt", "exit 3")
    ended = desk.farm("tasks.txt", "-v", status=1)
    assert "pytaskfarmer: task 0: exit 3 after T: exit 3" in plain(ended.out)
    assert not re.search(r"[\x1b\r]", ended.out)


def test_no_rich_off_a_terminal(desk: Desk) -> None:
    """Where no terminal is, rich is not imported, nor is the metadata of packages."""
    desk.write("tasks.txt", "true")
    ended = desk.run(sys.executable, "-X", "importtime", "-m", "pytaskfarmer", "run", "tasks.txt")
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert "pytaskfarmer.farm.farmer" in imported
    assert set() == {name for name in imported if name.split(".")[0] == "rich" or name == "importlib.metadata"}


def test_status_of_a_run_that_goes_on(desk: Desk, wait_until: Callable[..., None]) -> None:
    """`status` counts, and lists running tasks with node, slot and age, farmers, and failed tasks."""
    desk.write("tasks.txt", "echo one", "exit 3", "echo >> begun; sleep 100", "echo two", "echo three")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    wait_until(lambda: desk.lines("begun") and desk.ids("tasks.txt_workdir/failed"))
    ended = desk.look("status", "tasks.txt")
    assert [
        "tasks.txt_workdir: 5 tasks",
        "  1 finished, 1 failed, 1 running, 0 held, 2 waiting",
        "running:",
        f"  2  {HOST} slot 0  T  echo >> begun; sleep 100",
        "farmers:",
        f"  {HOST} pid N  alive  up T  1 slot, 1 running, 0 held",
        "failed:",
        "  1  exit 3  exit 3",
    ] == plain(ended.out)
    facts = json.loads(desk.look("status", "--json", "tasks.txt").out)
    assert (5, 1, 1, 1, 2, 0, True) == tuple(
        facts[name] for name in ("tasks", "finished", "failed", "running", "waiting", "lost", "ready")
    )
    assert [2] == [task["id"] for task in facts["running_tasks"]]
    assert [(True, 1)] == [(one["alive"], one["running"]) for one in facts["farmers"]]
    assert [{"id": 1, "task": "exit 3", "outcome": "nonzero_exit", "status": 3}] == facts["failed_tasks"]
    assert 3 == desk.end(farmer, signal.SIGTERM).status


def test_status_after_a_kill(desk: Desk, wait_until: Callable[..., None]) -> None:
    """`status` tells a dead farmer, and what it takes with it until the next run."""
    desk.write("tasks.txt", "echo >> begun; sleep 100", "echo two")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    wait_until(lambda: desk.lines("begun"))
    pid = int(json.loads(desk.look("status", "--json", "tasks.txt").out)["farmers"][0]["pid"])
    os.kill(pid, signal.SIGKILL)
    assert 128 + signal.SIGKILL == desk.end(farmer).status
    assert [
        "tasks.txt_workdir: 2 tasks",
        "  0 finished, 0 failed, 0 running, 0 held, 1 waiting, 1 lost",
        "  lost tasks were taken by farmers that died; the next run takes them back",
        "farmers:",
        f"  {HOST} pid N  dead  began T ago  1 task lost",
    ] == plain(desk.look("status", "tasks.txt").out)


def test_status_of_a_list_that_is_being_set_up(desk: Desk) -> None:
    """Tasks that a farmer has not written into the books yet wait, and are not lost."""
    desk.write("tasks.txt", "true", "true")
    desk.farm("tasks.txt")
    desk.write("tasks.txt_workdir/finished", "0 true")
    register = desk / "tasks.txt_workdir/tasklist.json"
    register.write_text(json.dumps({**json.loads(register.read_text()), "state": "expanding"}))
    assert [
        "tasks.txt_workdir: 2 tasks",
        "  1 finished, 0 failed, 0 running, 0 held, 1 waiting",
        "  the list is still being set up",
    ] == desk.look("status", "tasks.txt").lines


def test_status_of_a_task_that_moves_meanwhile(desk: Desk) -> None:
    """A task that is taken and ends while `status` reads the list has finished for it, and is not lost."""
    desk.write("tasks.txt", "true", "true")
    desk.farm("tasks.txt")
    waiting, finished = desk / "tasks.txt_workdir/toprocess", desk / "tasks.txt_workdir/finished"
    finished.write_text("")
    waiting.unlink()
    os.mkfifo(waiting)
    status = desk.start(COMMAND, "status", "tasks.txt")
    with open(waiting, "w") as still:  # it reads
        finished.write_text("1 true\n")
        still.write("0 true\n")
    assert "  1 finished, 0 failed, 0 running, 0 held, 1 waiting\n" in desk.end(status).out


def test_status_of_a_suspended_farmer(desk: Desk, wait_until: Callable[..., None]) -> None:
    """`status` tells that a farmer is suspended, and that it is alive again."""
    desk.write("tasks.txt", "echo >> begun; sleep 100")
    farmer = desk.start(FARM, "tasks.txt")
    wait_until(lambda: desk.lines("begun"))
    farmer.send_signal(signal.SIGTSTP)
    wait_until(lambda: "  suspended  up " in desk.look("status", "tasks.txt").out)
    farmer.send_signal(signal.SIGCONT)
    wait_until(lambda: "  alive  up " in desk.look("status", "tasks.txt").out)
    assert 3 == desk.end(farmer, signal.SIGTERM).status


def test_long_tasks_are_cut_with_a_mark(desk: Desk) -> None:
    """`status` shows that it shows only the beginning of a task."""
    desk.write("tasks.txt", "false " + "x" * 60)
    desk.farm("tasks.txt", status=1)
    assert "  0  exit 1  false " + "x" * 53 + "…" == desk.look("status", "tasks.txt").lines[-1]


def test_long_tables_are_cut_with_a_mark(desk: Desk) -> None:
    """`status` shows twenty of each kind, and says how many more there are; with `--all`, all of them."""
    desk.write("tasks.txt", *["false"] * 22)
    desk.farm("tasks.txt", "-n", "1", status=1)
    rows = [f"  {number}  exit 1  false" for number in range(22)]
    assert [*rows[:20], "  and 2 more (--all shows them)"] == desk.look("status", "tasks.txt").lines[3:]
    assert rows == desk.look("status", "tasks.txt", "--all").lines[3:]


@pytest.mark.parametrize("command", ["status", "logs", "retry", "run"])
def test_help(desk: Desk, command: str) -> None:
    """Every command has a help page of complete sentences that fits a screen of 80 columns."""
    ended = desk.look(command, "--help")
    assert (0, "") == (ended.status, ended.err)
    assert max(map(len, ended.lines)) <= 80
    sentences = re.findall(r"^  -.*?(?=^  -|\Z)", ended.out, re.MULTILINE | re.DOTALL)
    assert sentences
    for words in (" ".join(sentence.split()) for sentence in sentences):
        assert re.search(r"(\.|\. \[default: [^]]*\]|exit\.)$", words), words
