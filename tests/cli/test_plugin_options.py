import json
import os
from pathlib import Path

import pytest
from desk import FARM, Desk

CLASSES = """
class Notes:
    '''Prints the task and what it was made with.'''
    def __init__(self, note: str = '', count: int = 1, loud: bool = False):
        self.facts = f'{note!r} {count!r} {loud!r}'
    def command(self, task, context):
        from pytaskfarmer.plugins.contracts import Command
        return Command(('echo', task.text, self.facts))

class Prefix:
    '''Puts a word before each line.'''
    def __init__(self, word: str, times: int = 1):
        if times < 1:
            raise ValueError(f'times is {times}; it must be 1 or more')
        self.words = [word] * times
    def tasks(self, tasklist):
        for line in open(tasklist.path):
            yield ' '.join([*self.words, line.strip()])
"""


@pytest.fixture
def classes(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk with a module of plug-ins on Python's path, definitions of them, and a list of one task."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/optional.py").write_text(CLASSES)
    desk.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    desk.write(
        "mine.ini", "[notes]", "Runner = optional.Notes", "note = ini", "count = 2",
        "[prefix]", "TaskList = optional.Prefix", "word = echo",
    )  # fmt: skip
    desk.write("tasks.txt", "one")
    return desk


def log(desk: Desk) -> list[str]:
    return desk.lines("tasks.txt_workdir/logs/log_0")


def test_runner_options_come_before_those_of_the_file(classes: Desk) -> None:
    """`-R` sets and replaces options of the definition, as often as it is used, and types them."""
    classes.farm("tasks.txt", "-r", "notes", "-R", "count=3", "--runner-option", "loud=yes")
    assert ["one 'ini' 3 True"] == log(classes)


def test_handler_options_come_before_those_of_the_file(classes: Desk) -> None:
    """`-T` does the same for the handler."""
    classes.farm("tasks.txt", "-t", "prefix", "-T", "word=printf %s%s ", "--handler-option=times=1")
    assert ["one"] == log(classes)


def test_no_ini_file_is_needed(desk: Desk) -> None:
    """Built-in handlers and runners are made with the options of the command line alone."""
    desk.write("names", "a b", "c")
    words = ["-w", "w", "-t", "template", "-T", "command=echo {file} is $X", "-R", "env=X=here", "-"]
    desk.farm(*words, stdin="a b\nc\n")
    assert [["a b is here"], ["c is here"]] == [desk.lines(f"w/logs/log_{i}") for i in (0, 1)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-r notes -R count=abc", "-R count=abc: runner 'notes': the option 'count' must be a whole number, not 'abc'"),
        ("-r notes -R loud=2", "-R loud=2: runner 'notes': the option 'loud' must be true or false, not '2'"),
        (
            "-r notes -R conut=1",
            "-R conut=1: runner 'notes': there is no option 'conut'. Did you mean 'count'? Its options: note, count, ",
        ),
        ("-t prefix -T times=0", "mine.ini, line 5, with -T: handler 'prefix': times is 0; it must be 1 or more"),
        ("-t template", "-T: handler 'template': the option 'command' is missing. Its options: command, "),
        (
            "-T x=y",
            "-T x=y: handler 'default': there is no option 'x'. It takes no options. Another handler is named with -t.",
        ),
        ("-R image=x", "-R image=x: runner 'default': there is no option 'image'. "),
        ("-t lines -T x=1", "-T x=1: handler 'lines': there is no option 'x'. It takes no options."),
        ("-R note", "-R note: is not an option with a value; write -R KEY=VALUE."),
        ("-T =x", "-T =x: is not an option with a value; write -T KEY=VALUE."),
        ("-r notes -R count=1 -R count=2", "-R count=2: 'count' has a value already; write it once."),
    ],
)
def test_what_is_wrong_is_said_with_the_option(classes: Desk, words: str, message: str) -> None:
    """A wrong option of the command line is named as it was typed, and nothing is run or written."""
    assert classes.error(FARM, "tasks.txt", *words.split()).startswith(message)


def test_a_wrong_type_in_a_file(classes: Desk) -> None:
    """A text of the wrong type in an INI file is an error with file and line, name and option."""
    classes.write("bad.ini", "", "", "[x]", "Runner = optional.Notes", "count = abc")
    expected = "bad.ini, line 3: runner 'x': the option 'count' must be a whole number, not 'abc'"
    assert expected == classes.error(FARM, "tasks.txt", "-r", "x")


def test_the_same_handler_options_resume(classes: Desk) -> None:
    """The work directory keeps the options that decide its tasks, from file and command line together."""
    words = ["tasks.txt", "-t", "prefix", "-T", "times=1"]
    classes.farm(*words)
    assert {"word": "echo", "times": "1"} == json.loads((classes / "tasks.txt_workdir/tasklist.json").read_text())[
        "options"
    ]
    assert "nothing was left to do" in classes.farm(*words).out


@pytest.mark.parametrize("change", [["-T", "word=printf"], ["-T", "times=2"]])
def test_other_handler_options_that_change_tasks(classes: Desk, change: list[str]) -> None:
    """With options that make other tasks, the list is not that of the work directory; nothing changes."""
    classes.farm("tasks.txt", "-t", "prefix", "-T", "times=1")
    line = classes.error(FARM, "tasks.txt", "-t", "prefix", *change)
    assert f"not the list of {classes.place}/tasks.txt_workdir: task 0 was 'echo one' and is now " in line


def test_other_handler_options_that_change_nothing(classes: Desk) -> None:
    """Options that make the same tasks are taken over."""
    classes.farm("tasks.txt", "-t", "prefix", "-T", "times=1")
    assert "nothing was left to do" in classes.farm("tasks.txt", "-t", "prefix").out
    register = json.loads((classes / "tasks.txt_workdir/tasklist.json").read_text())
    assert {"word": "echo"} == register["options"]


def test_other_runner_options_resume(classes: Desk) -> None:
    """How tasks are run may change between runs."""
    classes.farm("tasks.txt", "-r", "notes", "-R", "count=3")
    assert "nothing was left to do" in classes.farm("tasks.txt", "-r", "notes", "-R", "count=4").out


class TestTrust:
    def test_a_file_that_others_can_write_to(self, classes: Desk) -> None:
        """It is refused in a line that names the option, and obeyed with that option."""
        (classes / "mine.ini").chmod(0o666)
        expected = (
            "mine.ini: not trusted, since others can write to it; "
            "if its contents are yours: chmod go-w mine.ini (or use --trust-ini)"
        )
        assert expected == classes.error(FARM, "tasks.txt", "-r", "notes")
        classes.farm("tasks.txt", "-r", "notes", "--trust-ini")
        assert ["one 'ini' 2 False"] == log(classes)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_a_file_of_another_user(self, classes: Desk) -> None:
        """A file of another user is refused, unless that user owns the list, or with the option."""
        os.chown(classes / "mine.ini", 4321, -1)
        expected = (
            "mine.ini: not trusted, since it belongs to another user (uid 4321); use a copy of your own, or --trust-ini"
        )
        assert expected == classes.error(FARM, "tasks.txt", "-r", "notes")
        classes.farm("tasks.txt", "-r", "notes", "--trust-ini", "-w", "other")
        os.chown(classes / "tasks.txt", 4321, -1)
        classes.farm("tasks.txt", "-r", "notes")
        assert ["one 'ini' 2 False"] == log(classes)
