import os
import re
from pathlib import Path

import pytest
from desk import COMMAND, Desk

CLASSES = """
import os
from pytaskfarmer.plugins.contracts import Command

class Odd:
    def command(self, task, context):
        if task.id == 1:
            raise LookupError('no image\\nat all')
        environment = {'A': 'x y', 'B': None, 'SHLVL': '3'}
        return Command(('run', task.text, context.environment['PROC_NUMBER'], context.workdir), '/bin/run',
                       environment, '/a dir')

class Listed:
    def command(self, task, context):
        return ['run', task.text]

class Warm:
    concurrency = 1
    max_tasks = None
    def __init__(self, plain: bool = False):
        self.plain = plain
    def worker(self, context):
        return Command(('python3', '-m', 'worker', str(context.slot)))
    def request(self, task, context):
        return task.text.encode() if self.plain else b'{"id": %d}' % task.id
    def close(self):
        open(os.environ['CLOSED'], 'w').close()
"""


@pytest.fixture
def shown(desk: Desk, tmp_path: Path) -> Desk:
    """A desk with two runners, and a list of three tasks."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/showable.py").write_text(CLASSES)
    desk.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    desk.write(
        "mine.ini",
        "[odd]",
        "Runner = showable.Odd",
        "[warm]",
        "Runner = showable.Warm",
        "[listed]",
        "Runner = showable.Listed",
    )
    desk.write("tasks.txt", "# list", "echo 'one'", "sleep 1 | cat", "three")
    return desk


def show(desk: Desk, *words: str, stdin: str | None = None) -> list[str]:
    """Return what is printed, which must leave every file as it was, and no temporary one."""
    before = desk.tree()
    ended = desk.run(COMMAND, "show", *words, stdin=stdin)
    assert (0, "") == (ended.status, ended.err)
    assert before == desk.tree()
    return ended.lines


def test_tasks_with_their_ids(shown: Desk) -> None:
    """Without a runner, the first tasks are printed as they will stand in `toprocess`."""
    assert ["0 echo 'one'", "1 sleep 1 | cat", "2 three"] == show(shown, "tasks.txt")
    assert ["0 echo 'one'"] == show(shown, "tasks.txt", "-n", "1")


def test_tasks_of_a_handler(shown: Desk) -> None:
    """A handler and its options make the tasks, also from standard input."""
    words = ["-t", "template", "-T", "command=gzip {file} && awk '{print $1}' {file:raw}"]
    expected = ["0 gzip 'a b' && awk '{print $1}' a b"]
    shown.write("files", "a b")
    assert expected == show(shown, "files", *words)
    assert expected == show(shown, "-", *words, stdin="a b\n")


def test_only_the_first_tasks_are_read(shown: Desk) -> None:
    """An error further down the list is not met, and one among the first tasks is one line."""
    shown.write("tasks.txt", "one", "two", "thr\0ee")
    assert ["0 one", "1 two"] == show(shown, "tasks.txt", "-n", "2")
    ended = shown.run(COMMAND, "show", "tasks.txt")
    assert (2, ["0 one", "1 two"]) == (ended.status, ended.lines)
    assert f"pytaskfarmer: error: {shown.place}/tasks.txt, line 3: this task has a NUL byte" in ended.err


def test_the_tasks_that_are_named(shown: Desk) -> None:
    """With ids, those tasks are printed and no others, in the order of the list, and it is read no further."""
    assert ["1 sleep 1 | cat"] == show(shown, "tasks.txt", "1")
    shown.write("tasks.txt", *(f"task {number}" for number in range(20)), "twen\0ty")
    assert ["0 task 0", "17 task 17"] == show(shown, "tasks.txt", "17", "0", "17")
    assert ["17 task 17", "    bash -c 'task 17'"] == show(shown, "tasks.txt", "17", "-r", "shell")


def test_the_process_of_each_task(shown: Desk) -> None:
    """With a runner, the process stands below its task as words for a shell."""
    expected = [
        "0 echo 'one'",
        "    bash -c 'echo '\"'\"'one'\"'\"''",
        "1 sleep 1 | cat",
        "    bash -c 'sleep 1 | cat'",
    ]
    assert expected == show(shown, "tasks.txt", "-r", "shell", "-n", "2")


def test_environment_and_directory_of_a_process(shown: Desk) -> None:
    """What the runner sets, takes away and where it goes are part of the words; what each shell sets is not."""
    expected = ["0 echo 'one'", f"    cd '/a dir' && env -u B A='x y' run 'echo '\"'\"'one'\"'\"'' 0 {shown.place}/w"]
    assert expected == show(shown, "tasks.txt", "-r", "odd", "-w", "w", "-n", "1")


def test_a_temporary_directory_is_gone_again(shown: Desk, tmp_path: Path) -> None:
    """A runner that makes directories for its tasks removes them when it is closed."""
    (tmp_path / "node").mkdir()
    shown.environment["TMPDIR"] = str(tmp_path / "node")
    lines = show(shown, "tasks.txt", "-R", "tempdir=true")
    assert lines[1].startswith(f"    cd {tmp_path}/node/")
    assert [] == os.listdir(tmp_path / "node")


def test_a_worker(shown: Desk, tmp_path: Path) -> None:
    """Of a runner of workers, the worker is printed once, what it is sent below each task, and it is closed."""
    shown.environment["CLOSED"] = str(tmp_path / "closed")
    expected = ["worker: python3 -m worker 0", "0 echo 'one'", '    {"id": 0}', "1 sleep 1 | cat", '    {"id": 1}']
    assert expected == show(shown, "tasks.txt", "-r", "warm", "-n", "2")
    assert (tmp_path / "closed").exists()
    expected = ["worker: python3 -m worker 0", "0 echo 'one'", "1 sleep 1 | cat", "2 three"]
    assert expected == show(shown, "tasks.txt", "-r", "warm", "-R", "plain=true")


def test_a_runner_that_fails(shown: Desk) -> None:
    """What a runner raises is one line with the task, after the tasks before it."""
    ended = shown.run(COMMAND, "show", "tasks.txt", "-r", "odd")
    assert (2, "0 echo 'one'") == (ended.status, ended.lines[0])
    assert "pytaskfarmer: error: runner 'odd': failed at task 1: LookupError: no image\n" == ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.txt"], "{place}/missing.txt: No such file or directory."),
        (["."], "{place}: Is a directory."),
        (["tasks.txt", "-t", "line"], "there is no handler named 'line'. Did you mean 'lines'? "),
        (["tasks.txt", "-r", "worm"], "there is no runner named 'worm'. Did you mean 'warm'? "),
        (["tasks.txt", "-R", "x"], "-R x: is not an option with a value"),
        (["tasks.txt", "-n", "0"], "Invalid value for '-n' / '--count': 0 is not in the range x>=1."),
        (["tasks.txt", "-n", "2", "1"], "name the ids of tasks, or use --count, one of them."),
        (["tasks.txt", "3"], "there is no task 3: the list has 3 tasks, from 0 on."),
        (["tasks.txt", "--", "-1"], "Invalid value for '[ID]...': -1 is not in the range x>=0."),
        (["tasks.txt", "x"], "Invalid value for '[ID]...': 'x' is not a valid integer"),
    ],
)
def test_what_cannot_be_shown(shown: Desk, words: list[str], message: str) -> None:
    """A list, a name or an option that is wrong is one line."""
    line = shown.complaint(lambda: shown.look("show", *words))
    assert line.startswith(message.format(place=shown.place))


def test_bytes_that_are_not_utf_8(shown: Desk) -> None:
    """A task is printed with the bytes that it has."""
    shown.write("tasks.txt", "echo caf\udce9")
    assert ["0 echo caf\udce9"] == show(shown, "tasks.txt")


def test_a_definition_that_does_not_count(shown: Desk) -> None:
    """That a name means something else than in a file here is said on standard error, as a run does."""
    shown.write("more.ini", "[default]", "Runner = showable.Odd")
    ended = shown.look("show", "tasks.txt", "-r", "default", "-n", "1")
    assert ended.err.startswith("pytaskfarmer: more.ini, line 1: this runner 'default' is not used, ")


def test_a_process_is_one_line(shown: Desk) -> None:
    """A word of some lines is written as the shell can read it; of a script of many, the last line and their number."""
    shown.write("tasks.txt", "echo 'one'")
    setup = "true\n# it's\\"
    _, line = show(shown, "tasks.txt", "-R", f"setup={setup}", "-R", "umask=077")
    assert re.fullmatch(r"""    bash -c \$'\[\d+ lines\]\\necho \\'one\\'' bash (\$'.*')""", line), line
    quoted = line.partition(" bash $")[2]
    assert setup == shown.run("bash", "-c", f"printf %s ${quoted}").out


def test_what_is_no_command(shown: Desk) -> None:
    """A runner that returns something else is named, with what it returned."""
    message = shown.run(COMMAND, "show", "tasks.txt", "-r", "listed").err
    expected = """runner 'listed': returned ['run', "echo 'one'"], which is no Command"""
    assert f"pytaskfarmer: error: {expected}\n" == message


def test_an_error_in_a_list_on_standard_input(shown: Desk) -> None:
    """The list is called what it is for the user, not by the file in which it is kept for the moment."""
    ended = shown.run(COMMAND, "show", "-", "-t", "files", "-T", "command=wc {file}", stdin="*.nosuch\n")
    assert ended.err.startswith("pytaskfarmer: error: standard input, line 1: no file matches '*.nosuch'")
