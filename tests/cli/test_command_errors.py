import json
import os
from pathlib import Path

import pytest
from desk import COMMAND, FARM, Desk

LONGEST = 131_071
"""Bytes that Linux takes in one argument, less its NUL."""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.txt"], "{place}/missing.txt: cannot read the task list: No such file or directory."),
        (["folder"], "{place}/folder: is a directory. Name a file with one task a line."),
        (["-"], "-: a list that cannot be read again needs --workdir DIR to be kept in."),
        (["fifo"], "fifo: a list that cannot be read again needs --workdir DIR to be kept in."),
        (
            ["tasks.txt", "-r", "shel"],
            "there is no runner named 'shel'. Did you mean 'shell'? Known: ",
        ),
        (
            ["tasks.txt", "-t", "line"],
            "there is no handler named 'line'. Did you mean 'lines'? Known: ",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(desk: Desk, words: list[str], message: str) -> None:
    """A list or a name that does not exist is refused in one line that says where and what, and nothing is written."""
    desk.write("tasks.txt", "echo one >> ran")
    (desk / "folder").mkdir()
    os.mkfifo(desk / "fifo")
    line = desk.complaint(lambda: desk.look("run", *words))
    assert line.startswith(message.format(place=desk.place))


ABOVE_0 = "write a number above 0, or auto."
A_SIGNAL = "write a name such as TERM, INT or USR1, or a number."
LENGTHS = "write seconds (90, 1.5), units (90s, 10m, 2h, 1d, 2h30m) or a clock (10:00, 1:30:00, 1-12:00:00)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--proc 0", f"Invalid value for '-n' / '--proc': 0 slots cannot run anything; {ABOVE_0}"),
        ("-n -3", f"Invalid value for '-n' / '--proc': -3 slots cannot run anything; {ABOVE_0}"),
        ("--proc=x", f"Invalid value for '-n' / '--proc': 'x' is not a number of slots; {ABOVE_0}"),
        ("--timeout 5x", f"Invalid value for '--timeout': '5x' is not a length of time: {LENGTHS}"),
        ("--timeout -5", f"Invalid value for '--timeout': '-5' is not a length of time: {LENGTHS}"),
        ("--task-timeout 1:75", f"Invalid value for '--task-timeout': '1:75' is not a length of time: {LENGTHS}"),
        ("--grace soon", f"Invalid value for '--grace': 'soon' is not a length of time: {LENGTHS}"),
        ("--stop-signal SIGFOO", f"Invalid value for '--stop-signal': 'SIGFOO' is not a signal; {A_SIGNAL}"),
        ("--retries -1", "Invalid value for '--retries': -1 is not in the range x>=0."),
        ("--logs all", "Invalid value for '--logs': 'all' is not one of 'auto', 'files', 'pack', 'none'."),
        ("--lock posix", "Invalid value for '--lock': 'posix' is not one of 'flock', 'lease'."),
        ("--order reverse", "Invalid value for '--order': 'reverse' is not one of 'file', 'random'."),
        ("--proc x", f"Invalid value for '-n' / '--proc': 'x' is not a number of slots; {ABOVE_0}"),
        ("more.txt", "Got unexpected extra argument"),
        ("--nothing", "No such option '--nothing'. See: pytaskfarmer run --help"),
    ],
)
def test_a_value_that_means_nothing_is_refused(desk: Desk, words: str, message: str) -> None:
    """A value that an option cannot have is refused with the option, the value and what is right."""
    desk.write("tasks.txt", "echo one >> ran")
    assert desk.complaint(lambda: desk.look("run", "tasks.txt", *words.split())).startswith(message)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("-j 4", "use --proc."),
        ("-j4", "use --proc."),
        ("--jobs 4", "use --proc."),
        ("--jobs=4", "use --proc."),
        ("--resume", "the same command again resumes."),
        ("--resume-failed", "use --retry-failed."),
        ("--halt now,fail=1", "use --max-fails."),
        ("--joblog x", "`pytaskfarmer status`, and timeline.json in the work directory, have what it would hold."),
        ("--bar", "progress is shown by itself, on a terminal."),
        ("-k", "`pytaskfarmer logs TASKLIST --all` prints task by task."),
        ("--delay 1", "use fewer slots (--proc), or a `sleep` in the tasks."),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_options_of_gnu_parallel(desk: Desk, command: str, words: str, instead: str) -> None:
    """Who types an option of GNU parallel is told what does the same here."""
    desk.write("tasks.txt", "echo one >> ran")
    option = "-j" if words.startswith("-j") else words.split()[0].partition("=")[0]
    line = desk.complaint(lambda: desk.look(command, "tasks.txt", *words.split()))
    assert line == f"No such option {option!r}; {instead}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run", "Missing argument 'TASKLIST'. See: pytaskfarmer run --help"),
        ("sow", "there is no command 'sow'. The commands are run, submit, cancel, status, logs, retry, "),
        ("tasks.txt", "there is no command 'tasks.txt'. The commands are run, submit, "),
        ("status", "Missing argument 'WORKDIR'. See: pytaskfarmer status --help"),
        ("status nothing", "nothing: no such file or directory. Name a task list or its work directory."),
        ("status .", ".: not a work directory. Name the directory that holds `toprocess` and `finished`."),
        (
            "retry tasks.txt",
            "tasks.txt: has not been run: there is no tasks.txt_workdir. If its work directory is elsewhere, name the ",
        ),
        ("logs tasks.txt 1", "tasks.txt: has not been run: "),
        ("logs tasks.txt", "name the ids of tasks, or use --all or --failed."),
        ("logs tasks.txt 1 --all", "name the ids of tasks, or use --all or --failed, one of them."),
        (
            "logs tasks.txt -w w 0",
            "No such option '-w'. The work directory is an argument of this command: pytaskfarmer logs DIR.",
        ),
        ("logs tasks.txt -x", "No such option '-x'. See: pytaskfarmer logs --help"),
        ("status --resume", "No such option '--resume'."),
        ("logs tasks.txt one", "Invalid value for '[ID]...': 'one' is not a valid integer."),
    ],
)
def test_every_command_refuses_in_one_line(desk: Desk, words: str, message: str) -> None:
    """`status`, `logs` and `retry` refuse what is no work directory, and words that they cannot take."""
    desk.write("tasks.txt", "echo one >> ran")
    assert desk.complaint(lambda: desk.look(*words.split())).startswith(message)


@pytest.mark.parametrize("words", ["run tasks.txt -w", "run - --workdir", "scale tasks.txt -w", "show tasks.txt -w"])
def test_a_work_directory_without_a_name(desk: Desk, words: str) -> None:
    """`-w "$DIR"` where DIR is not set is refused: neither the usual directory nor one called `-_workdir` is meant."""
    desk.write("tasks.txt", "echo one >> ran")
    message = "Invalid value for '-w' / '--workdir': the name is empty; is the variable set that it comes from?"
    assert message == desk.complaint(lambda: desk.look(*words.split(), ""))


def test_a_list_in_the_place_of_a_command(desk: Desk) -> None:
    """Where a file of that name is there, the command that runs it is offered."""
    desk.write("tasks.txt", "echo one >> ran")
    line = desk.complaint(lambda: desk.look("tasks.txt"))
    assert line.endswith(". Did you mean: pytaskfarmer run tasks.txt")


def test_a_misspelt_command(desk: Desk) -> None:
    """The closest command is offered, and where none is close, none."""
    assert desk.complaint(lambda: desk.look("stat", "x")).endswith(", completion. Did you mean 'status'?")
    assert desk.complaint(lambda: desk.look("zzz")).endswith(", completion.")


def test_the_short_command_alone(desk: Desk) -> None:
    """`pytaskfarmer.py` without a list says how to call its help by its own name."""
    assert "Missing argument 'TASKLIST'. See: pytaskfarmer.py --help" == desk.error(FARM)


def test_a_command_of_the_other_program(desk: Desk) -> None:
    """`pytaskfarmer.py status` names the command that was meant; `pytaskfarmer.py --help` calls itself so."""
    desk.write("tasks.txt", "echo one >> ran")
    expected = "there is no task list 'status'. Did you mean: pytaskfarmer status tasks.txt"
    assert expected == desk.error(FARM, "status", "tasks.txt")
    assert desk.run(FARM, "--help").out.startswith("Usage: pytaskfarmer.py [OPTIONS] TASKLIST\n")
    desk.write("status", "echo two >> ran")
    desk.farm("status")
    assert ["two"] == desk.lines("ran")


def test_the_command_alone_shows_its_help(desk: Desk) -> None:
    """`pytaskfarmer` without a command prints its help as a page, not as an error, and exits with 2."""
    ended = desk.run(COMMAND)
    assert 2 == ended.status
    assert "error" not in ended.out + ended.err
    assert "Usage: pytaskfarmer [OPTIONS] COMMAND" in (ended.out + ended.err).splitlines()[0]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("echo \0", "this task has a NUL byte, which no command line can carry."),
        (
            "x" * (LONGEST + 1),
            "this task is 131,072 bytes long; the kernel takes no argument above 131,071.",
        ),
    ],
    ids=["nul", "long"],
)
def test_a_line_that_cannot_run_is_refused_with_its_number(desk: Desk, line: str, wrong: str) -> None:
    """A NUL byte or a line too long for the kernel refuses the whole list, with the line's number, before any task."""
    desk.write("tasks.txt", "# first", "echo one >> ran", line, "echo two >> ran")
    assert f"{desk.place}/tasks.txt, line 3: {wrong}" == desk.error(FARM, "tasks.txt")


def test_the_longest_line_that_the_kernel_takes_runs(desk: Desk) -> None:
    """131,071 bytes are not too long."""
    start = "echo "
    desk.write("tasks.txt", start + "x" * (LONGEST - len(start)))
    desk.farm("tasks.txt")
    assert LONGEST - len(start) + 1 == (desk / "tasks.txt_workdir/logs/log_0").stat().st_size


def test_a_bad_line_at_the_end_of_a_resumed_list_changes_nothing(desk: Desk) -> None:
    """A line that cannot run, appended later, refuses the list and leaves the work directory as it is."""
    desk.write("tasks.txt", "echo one", "false")
    desk.farm("tasks.txt", status=1)
    desk.write("tasks.txt", "echo one", "false", "echo two", "echo \0")
    assert "line 4: this task has a NUL byte" in desk.error(FARM, "tasks.txt")
    desk.write("tasks.txt", "echo one", "false", "echo two")
    desk.farm("tasks.txt", status=1)
    assert [0, 2] == desk.ids("tasks.txt_workdir/finished")


def test_the_work_directory_of_another_list_is_refused(desk: Desk) -> None:
    """A list that is not the one of the work directory is refused, naming the first line that differs."""
    desk.write("tasks.txt", "echo one", "echo two")
    desk.write("other.txt", "echo one", "rm -r results", "echo three")
    desk.farm("tasks.txt")
    expected = (
        f"{desk.place}/other.txt, line 2: not the list of {desk.place}/tasks.txt_workdir: task 1 was 'echo two' "
        "and is now 'rm -r results'. It has finished, so it cannot change: restore that line, or use another --workdir."
    )
    assert expected == desk.error(FARM, "other.txt", "-w", "tasks.txt_workdir")
    assert expected == desk.error(FARM, "other.txt", "-w", "tasks.txt_workdir", "--update")


@pytest.mark.parametrize("command", ["run tasks.txt", "run tasks.txt --dry-run", "status tasks.txt", "retry tasks.txt"])
def test_a_newer_work_directory_is_refused(desk: Desk, command: str) -> None:
    """A work directory of a format that this version does not know is left alone by every command that needs it."""
    desk.write("tasks.txt", "echo one", "false")
    (desk / "tasks.txt_workdir").mkdir()
    register = desk / "tasks.txt_workdir/tasklist.json"
    register.write_text(json.dumps({"format": 2, "novelty": True}))
    expected = (
        f"{register}: written by a newer pytaskfarmer (format 2; this one reads up to 1). "
        "Use that version, or another work directory."
    )
    assert expected == desk.error(COMMAND, *command.split())


@pytest.mark.parametrize("contents", ["", '{"format": 1}'])
def test_a_register_that_makes_no_sense_is_refused(desk: Desk, contents: str) -> None:
    """A `tasklist.json` that cannot be read is named, whatever it holds, and nothing is overwritten."""
    desk.write("tasks.txt", "echo one >> ran")
    (desk / "farm").mkdir()
    desk.write("farm/tasklist.json", contents)
    message = desk.error(FARM, "tasks.txt", "-w", "farm")
    assert message.startswith(f"{desk.place}/farm/tasklist.json: not a register of a work directory (")
    assert message.endswith("Use another work directory.")


def test_another_kind_of_lock_than_before_is_refused(desk: Desk) -> None:
    """Farmers of one work directory cannot use two kinds of lock."""
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt", "--lock", "flock")
    expected = (
        f"--lock lease: {desk.place}/tasks.txt_workdir uses flock, and all its farmers must agree. "
        "Leave the option out, or choose another work directory."
    )
    assert expected == desk.error(FARM, "tasks.txt", "--lock", "lease")
    desk.farm("tasks.txt", "--lock", "flock")


def test_another_handler_that_reads_other_tasks(desk: Desk) -> None:
    """Ids belong to a list as it was read: a handler that reads other tasks is refused, one that reads the same not."""
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt")
    desk.farm("tasks.txt", "-t", "lines")
    message = desk.error(FARM, "tasks.txt", "-t", "template", "-T", "command=echo {line}")
    assert f"not the list of {desk.place}/tasks.txt_workdir: task 0 was 'echo one' and is now " in message


@pytest.mark.parametrize("workdir", ["file", "file/below"])
def test_a_file_in_the_place_of_the_work_directory_is_refused(desk: Desk, workdir: str) -> None:
    """A work directory that is a file, or lies below one, is refused and named."""
    desk.write("tasks.txt", "echo one >> ran")
    desk.write("file", "precious")
    message = desk.error(FARM, "tasks.txt", "-w", workdir)
    assert message.startswith(f"{desk.place}/file")
    assert "Not a directory" in message or "not a directory" in message


def test_a_work_directory_with_a_name_too_long_is_refused(desk: Desk) -> None:
    """What the file system refuses for its own reasons is one line, too."""
    desk.write("tasks.txt", "echo one >> ran")
    assert "File name too long" in desk.error(FARM, "tasks.txt", "-w", "w" * 300)


def test_several_tasks_of_a_bad_handler_are_not_started(desk: Desk, tmp_path: Path) -> None:
    """A handler that raises after some tasks refuses the list, by name and reason, before any task runs."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/fields.py").write_text(
        "class Broken:\n"
        "    def tasks(self, tasklist):\n"
        "        yield 'echo one >> ran'\n"
        "        raise KeyError('third field')\n"
        "class Torn:\n"
        "    def tasks(self, tasklist):\n"
        "        yield 'echo one >> ran\\necho two'\n"
        "class Numbers:\n"
        "    def tasks(self, tasklist):\n"
        "        yield 'echo one >> ran'\n"
        "        yield 7\n"
    )
    desk.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    names = {"broken": "Broken", "torn": "Torn", "numbers": "Numbers"}
    desk.write("handlers.ini", *(f"[{name}]\nTaskList = fields.{of}" for name, of in names.items()))
    desk.write("tasks.txt", "x")
    expected = "handler 'broken': failed at task 1: KeyError: 'third field'"
    assert expected == desk.error(FARM, "tasks.txt", "-t", "broken")
    expected = f"{desk.place}/tasks.txt: task 0 has a newline; a task is one line."
    assert expected == desk.error(FARM, "tasks.txt", "-t", "torn")
    expected = "handler 'numbers': yielded 7 as task 1; a task must be a str."
    assert expected == desk.error(FARM, "tasks.txt", "-t", "numbers")
