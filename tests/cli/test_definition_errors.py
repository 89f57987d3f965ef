import sys
from pathlib import Path

import pytest
from desk import FARM, Desk

CLASSES = """
class Fine:
    def __init__(self, note=''):
        self.note = note
    def command(self, task, context):
        from pytaskfarmer.plugins.contracts import Command
        return Command(('/bin/sh', '-c', f'printf "%s\\n" "$1" "$2"', 'sh', task.text, self.note))

class Raises(Fine):
    def __init__(self):
        raise RuntimeError('no licence server')

class Idle:
    pass

class Stumbles(Fine):
    def command(self, task, context):
        raise LookupError('no image')
"""


@pytest.fixture
def classes(desk: Desk, tmp_path: Path) -> Desk:
    """A desk with a module of runners on Python's path, and a list of one task."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/mine.py").write_text(CLASSES)
    (tmp_path / "lib/torn.py").write_text("import mine\n\ndef f(:\n")
    desk.environment |= {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    desk.write("tasks.txt", "echo one")
    return desk


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.Absent", "has no class 'Absent'"),
        ("absent.Class", "there is no module 'absent' on Python's import path"),
        ("torn.Class", "importing 'torn' failed with SyntaxError: "),
        ("mine.Raises", "its constructor failed with RuntimeError: no licence server"),
        ("mine.Idle", "mine.Idle is no runner, since it has neither a method 'command' nor 'worker'"),
        ("Nothing", "'Nothing' is neither of the form module.Class nor a built-in runner (container, default, hep, "),
    ],
)
def test_a_class_that_cannot_be_used_is_refused(classes: Desk, target: str, message: str) -> None:
    """A definition whose class does not exist, raises or is no runner is refused with file and line."""
    classes.write("mine.ini", "[other]", "TaskList = x.y", "", "[mine]", f"Runner = {target}")
    assert message in (line := classes.error(FARM, "tasks.txt", "-r", "mine"))
    assert line.startswith("mine.ini, line 4: runner 'mine': ")


def test_an_option_that_the_class_does_not_take_is_refused(classes: Desk) -> None:
    """A key that is no option of the class is named, beside those that are."""
    classes.write("mine.ini", "[mine]", "Runner = mine.Fine", "notes = x")
    expected = "mine.ini, line 1: runner 'mine': there is no option 'notes'. Did you mean 'note'? Its options: note."
    assert expected == classes.error(FARM, "tasks.txt", "-r", "mine")


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["[mine]", "Runner = mine.Fine", "nonsense"], "mine.ini, line 3: "),
        (["Runner = mine.Fine", "[mine]", "Runner = mine.Fine"], "mine.ini, line 1: "),
        (["[mine]", "Runner = mine.Fine", "[mine]", "note = x"], "mine.ini, line 3: "),
    ],
)
def test_a_malformed_file_that_defines_the_name_is_refused(classes: Desk, lines: list[str], place: str) -> None:
    """Where a malformed INI file defines the name that was asked for, file and line are named."""
    classes.write("mine.ini", *lines)
    assert classes.error(FARM, "tasks.txt", "-r", "mine").startswith(place)


def test_a_malformed_file_that_nobody_asked_for_is_no_matter(classes: Desk) -> None:
    """A malformed INI file, or one that is not INI at all, stops nobody who asks for another name."""
    classes.write("bad.ini", "[broken", "nonsense", "\0\udcff")
    classes.write("worse.ini", "[theirs]", "Runner = mine.Fine", "nonsense")
    classes.write("mine.ini", "[mine]", "Runner = mine.Fine")
    classes.farm("tasks.txt")
    classes.farm("tasks.txt", "-w", "farm", "-r", "mine")
    assert ["echo one", ""] == classes.lines("farm/logs/log_0")


@pytest.mark.parametrize("note", ["%s %(here)s %%", "${HOME} a=b: c # d ; e"])
def test_an_ini_value_is_taken_as_it_stands(classes: Desk, note: str) -> None:
    """`%` and other characters with a meaning elsewhere have none in an INI value."""
    classes.write("mine.ini", "[mine]", "Runner : mine.Fine", f"note={note}")
    classes.farm("tasks.txt", "-r", "mine")
    assert ["echo one", note] == classes.lines("tasks.txt_workdir/logs/log_0")


def test_the_definitions_of_the_predecessor_work(desk: Desk) -> None:
    """An INI file that names the classes of PyTaskFarmer 0.1.0 works, from the directories that it read."""
    directory = desk.home / ".pytaskfarmer/runners.d"
    directory.mkdir(parents=True)
    (directory / "all.ini").write_text("[basic]\nRunner = taskfarmer.runners.BasicRunner\n")
    desk.write("here.ini", "[plain]", "TaskList: taskfarmer.task.ListTaskList")
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt", "-r", "basic", "-t", "plain")
    assert ["one"] == desk.lines("tasks.txt_workdir/logs/log_0")


def test_a_runner_that_fails_at_a_task_fails_that_task(classes: Desk) -> None:
    """What a runner raises for one task fails the task, with the reason in its log, and not the run."""
    classes.write("mine.ini", "[mine]", "Runner = mine.Stumbles")
    classes.farm("tasks.txt", "-r", "mine", status=1)
    assert [0] == classes.ids("tasks.txt_workdir/failed")
    assert "LookupError: no image" in classes.lines("tasks.txt_workdir/logs/log_0")[0]


def test_a_name_that_is_unknown_lists_those_of_ini_files(classes: Desk) -> None:
    """The names that INI files define are among the known ones, and the closest is offered."""
    classes.write("mine.ini", "[atlas]", "Runner = mine.Fine", "[atlas-list]", "TaskList = mine.Fine")
    expected = "there is no runner named 'altas'. Did you mean 'atlas'? Known: atlas, "
    assert classes.error(FARM, "tasks.txt", "-r", "altas").startswith(expected)


def test_python_m_finds_what_the_command_finds(desk: Desk) -> None:
    """`python -m pytaskfarmer` looks for no class in the current directory, where neither command nor job does."""
    desk.write("odd.py", "class Odd:", "    def command(self, task, context): pass")
    desk.write("my.ini", "[mine]", "Runner = odd.Odd")
    desk.write("tasks.txt", "echo")
    words = ("submit", "tasks.txt", "-r", "mine", "--engine=slurm", "--dry-run")
    ended = desk.run(sys.executable, "-m", "pytaskfarmer", *words)
    assert "my.ini, line 1: runner 'mine': there is no module 'odd' " in ended.err
