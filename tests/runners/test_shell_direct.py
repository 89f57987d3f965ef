import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from shell_stage import BASH, Stage

from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.runners.handover import Handovers
from pytaskfarmer.runners.shell import Shell

SLEEP, CAT = (shutil.which(program, path="/usr/bin:/bin") for program in ("sleep", "cat"))


def by_bash(line: str) -> Command:
    return Command(("bash", "-c", line), BASH)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("sleep 1", SLEEP),
        ("/bin/echo a b", "/bin/echo"),
        ("/bin/true", "/bin/true"),
        ("args if then", "{stage}/bin/args"),
        ("./bin/args  a", "./bin/args"),
        ("bin/args", "bin/args"),
    ],
)
def test_a_plain_line_is_started_without_bash(line: str, program: str, stage: Stage) -> None:
    """The program itself is the command, and bash what to fall back on."""
    with stage.set():
        command = stage.command(line, stage.environment())

    program = program.format(stage=stage.directory)
    assert Command(tuple(line.split()), program, {"_": program}, fallback=by_bash(line)) == command


@pytest.mark.parametrize("line", ["echo a", "sleep '1'", "nosuchprogram", "dir/", "a.txt", "./a.txt", "home", "-x"])
def test_any_other_line_is_started_by_bash(line: str, stage: Stage) -> None:
    """Builtins, quotes, and what is no program are left to bash."""
    with stage.set():
        command = stage.command(line, stage.environment())

    assert by_bash(line) == command


@pytest.mark.parametrize("program", ["noshebang", "nointerpreter", "garbage", "empty"])
def test_what_the_kernel_refuses_falls_back_on_bash(program: str, stage: Stage) -> None:
    """A program that execve may refuse is tried directly, and what bash makes of it is the result."""
    environment = stage.environment()
    with stage.set():
        command = stage.command(program, environment)

    assert (f"{stage.directory}/bin/{program}", by_bash(program)) == (command.program, command.fallback)
    assert stage.by_bash(program, environment) == stage.by_runner(program, environment)


def test_a_program_that_a_task_installs_is_found_by_the_next(stage: Stage) -> None:
    """PATH is searched anew for each line, with nothing remembered."""
    with stage.set():
        before = stage.command("newcomer", stage.environment())
        os.rename("bin/args", "bin/newcomer")
        after = stage.command("newcomer", stage.environment())
        os.rename("bin/newcomer", "bin/args")
        at_last = stage.command("newcomer", stage.environment())

    assert [BASH, f"{stage.directory}/bin/newcomer", BASH] == [c.program for c in (before, after, at_last)]


def test_a_program_that_may_not_be_executed_does_not_hide_a_later_one(stage: Stage) -> None:
    """A file without its x bit, and a directory, are passed over in the search, as bash does."""
    with stage.set():
        Path("bin/sleep").touch(mode=stat.S_IRUSR)
        Path("bin/cat").mkdir()
        programs = [stage.command(line, stage.environment()).program for line in ("sleep 0", "cat a.txt")]

    expected = [SLEEP, CAT]
    assert expected == programs


Changed = Callable[[Stage], Mapping[str, str | None]]

DIRECT: dict[str, Changed] = {
    "an ordinary environment": lambda stage: {},
    "SHLVL unset": lambda stage: {"SHLVL": None},
    "SHLVL empty": lambda stage: {"SHLVL": ""},
    "SHLVL garbage": lambda stage: {"SHLVL": "7x"},
    "SHLVL octal": lambda stage: {"SHLVL": "010"},
    "SHLVL negative": lambda stage: {"SHLVL": "-4"},
    "PWD unset": lambda stage: {"PWD": None},
    "PWD wrong": lambda stage: {"PWD": "/tmp"},
    "PWD relative": lambda stage: {"PWD": "."},
    "PWD through a link": lambda stage: {"PWD": f"{stage.directory.parent}/link"},
    "PWD with a detour": lambda stage: {"PWD": f"{stage.directory}/dir/.."},
    "OLDPWD": lambda stage: {"OLDPWD": "/tmp"},
    "_": lambda stage: {"_": "/usr/bin/python3"},
    "names that no shell would take": lambda stage: {"a-b": "1", "1a": "2", "a.b": "3", "é": "4", "%": "5"},
    "values of any bytes": lambda stage: {"A": "\udcff", "B": "a\nb=c", "C": "", "D": "é"},
    "variables of an interactive shell": lambda stage: {"HISTSIZE": "9", "LINES": "50", "COLUMNS": "200", "TMOUT": "1"},
    "a function": lambda stage: {"BASH_FUNC_module%%": "() {  echo module\n}"},
    "a function of another name": lambda stage: {"BASH_FUNC_args%%": "() {  echo shadowed\n}"},
    "PATH with an empty entry at its end": lambda stage: {"PATH": f"{stage.directory}/bin:/usr/bin:"},
    "PATH with slashes": lambda stage: {"PATH": f"{stage.directory}/bin/:/usr//bin/"},
    "PS1, which bash drops": lambda stage: {"PS1": "> "},
    "an ssh session's shell": lambda stage: {"SSH_CLIENT": "10.0.0.1 1 22", "SHLVL": "1"},
}

LEFT_TO_BASH: dict[str, Changed] = {
    "BASH_ENV": lambda stage: {"BASH_ENV": "env.sh"},
    "SHELLOPTS": lambda stage: {"SHELLOPTS": "xtrace"},
    "BASHOPTS": lambda stage: {"BASHOPTS": "nullglob"},
    "POSIXLY_CORRECT": lambda stage: {"POSIXLY_CORRECT": ""},
    "EXECIGNORE": lambda stage: {"EXECIGNORE": "*/seen"},
    "BASH_COMPAT": lambda stage: {"BASH_COMPAT": "4.2"},
    "BASH_LOADABLES_PATH": lambda stage: {"BASH_LOADABLES_PATH": "/usr/lib/bash"},
    "a function of the program's name": lambda stage: {"BASH_FUNC_seen%%": "() {  echo shadowed\n}"},
    "a function that bash would spell otherwise": lambda stage: {"BASH_FUNC_f%%": "() { echo f; }"},
    "a function that bash cannot read": lambda stage: {"BASH_FUNC_f%%": "() { echo f"},
    "a function as before 2014": lambda stage: {"seen": "() { echo shadowed; }"},
    "SHLVL too high": lambda stage: {"SHLVL": "999"},
    "a locale that does not exist": lambda stage: {"LC_ALL": "xx_YY.UTF-8"},
    "a library that cannot be preloaded": lambda stage: {"LD_PRELOAD": "/no/such/library.so"},
    "IFS, which bash resets": lambda stage: {"IFS": ":"},
    "RANDOM": lambda stage: {"RANDOM": "4"},
    "OLDPWD that does not exist": lambda stage: {"OLDPWD": "/no/such/directory"},
    "PATH unset": lambda stage: {"PATH": None},
    "PATH empty": lambda stage: {"PATH": ""},
    "PATH that begins here": lambda stage: {"PATH": ":/usr/bin:/bin"},
    "PATH that begins with a relative entry": lambda stage: {"PATH": "bin:/usr/bin:/bin"},
    "PATH with a relative entry before the program's": lambda stage: {"PATH": f"/usr/bin:bin:{stage.directory}/bin"},
    "PATH with a tilde": lambda stage: {"PATH": "~/../bin:/usr/bin:/bin"},
    "the first shell of an ssh session": lambda stage: {"SSH_CLIENT": "10.0.0.1 1 22", "SHLVL": None},
}


def changed(stage: Stage, change: Changed) -> dict[str, str]:
    (stage.directory.parent / "link").symlink_to(stage.directory)
    environment = {**stage.environment(), **change(stage)}
    return {name: value for name, value in environment.items() if value is not None}


@pytest.mark.parametrize("change", DIRECT.values(), ids=DIRECT)
def test_bash_can_be_left_out_under(change: Changed, stage: Stage) -> None:
    """In these environments a plain line starts directly, and sees what bash would have shown it."""
    environment = changed(stage, change)
    with stage.set():
        command = stage.command("seen", environment)

    assert (("seen",), by_bash("seen")) == (command.argv, command.fallback)
    assert stage.by_bash("seen", environment).sorted() == stage.by_runner("seen", environment).sorted()


@pytest.mark.parametrize("change", LEFT_TO_BASH.values(), ids=LEFT_TO_BASH)
def test_bash_cannot_be_left_out_under(change: Changed, stage: Stage) -> None:
    """In these environments bash does more than start the program, so bash it is."""
    environment = changed(stage, change)
    with stage.set():
        command = stage.command("seen", environment)

    assert by_bash("seen") == command
    assert stage.by_bash("seen", environment) == stage.by_runner("seen", environment)


def test_what_is_learned_in_one_environment_is_not_used_in_another(stage: Stage) -> None:
    """One runner may serve tasks of several environments, back and forth."""
    plain, other, level = (stage.environment(**more) for more in ({}, {"BASH_ENV": "env.sh"}, {"SHLVL": "x"}))
    with stage.set():
        commands = [stage.command("seen", environment) for environment in (plain, other, level, plain)]

    seen = f"{stage.directory}/bin/seen"
    unchanged = Command(("seen",), seen, {"_": seen}, fallback=by_bash("seen"))
    from_zero = Command(("seen",), seen, {"_": seen, "SHLVL": "0"}, fallback=by_bash("seen"))
    expected = [unchanged, by_bash("seen"), from_zero, unchanged]
    assert expected == commands


def test_a_directory_that_goes_away_leaves_the_line_to_bash(stage: Stage) -> None:
    """OLDPWD and PWD are looked at for each line, since a task may remove or rename them."""
    with stage.set():
        environment = stage.environment(OLDPWD=f"{stage.directory}/dir/gone")
        os.mkdir("dir/gone")
        programs = [stage.command("sleep 0", environment).program]
        os.rmdir("dir/gone")
        programs.append(stage.command("sleep 0", environment).program)
        os.mkdir("dir/gone")
        programs.append(stage.command("sleep 0", environment).program)
        os.rename(stage.directory, f"{stage.directory}.moved")
        programs.append(stage.command("sleep 0", environment).program)
        os.rename(f"{stage.directory}.moved", stage.directory)

    expected = [SLEEP, BASH, SLEEP, BASH]
    assert expected == programs


def test_bash_is_asked_once_whatever_the_task(tmp_path: Path) -> None:
    """The variables that change with each task do not cost each task a question."""
    handovers = Handovers(fake_bash(tmp_path, f'echo asked >> {tmp_path}/asked; exec {BASH} "$@"'))

    for number in range(3):
        assert handovers.under(here(PROC_NUMBER=f"{number}", PYTASKFARMER_TASK_ID=f"{number}"))
    assert handovers.under(here(CUDA_VISIBLE_DEVICES="0"))

    assert "asked\nasked\n" == (tmp_path / "asked").read_text()


def test_bash_is_not_asked_for_ever() -> None:
    """A variable that is new with each task leaves the lines to bash after a while; what is known stays known."""
    handovers = Handovers(BASH, questions=2)

    answers = [handovers.under(here(TICKET=ticket)) is not None for ticket in "abcda"]

    expected = [True, True, False, False, True]
    assert expected == answers


@pytest.mark.parametrize(
    "script", ['echo welcome; exec {bash} "$@"', '{bash} "$@"; echo bye', '{bash} "$@"; echo bye >&2', "exit 1"]
)
def test_a_bash_that_says_anything_is_left_to_say_it(script: str, tmp_path: Path) -> None:
    """An answer with more or less than an environment in it means that bash cannot be left out."""
    assert Handovers(fake_bash(tmp_path, script.format(bash=BASH))).under(here()) is None


def test_a_bash_that_cannot_be_started_is_left_alone(tmp_path: Path) -> None:
    """That bash has gone is not the runner's to report: the task that needs it will."""
    assert Handovers(f"{tmp_path}/bash").under(here()) is None


def fake_bash(directory: Path, script: str) -> str:
    bash = directory / "bash"
    bash.write_text(f"#!/bin/sh\n{script}\n")
    bash.chmod(0o755)
    return f"{bash}"


def here(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PWD": os.getcwd(), "SHLVL": "1", **more}


def test_without_bash_sh_runs_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PATH has no bash, lines run as `sh -c LINE`, plain or not."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", f"{tmp_path}")
    stage = Stage(tmp_path)
    with stage.set():
        command = stage.command("/bin/echo a", {"PATH": "/usr/bin"})

    assert Command(("sh", "-c", "/bin/echo a"), f"{tmp_path}/sh") == command


def test_without_any_shell_the_runner_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell on PATH is an error of one line, raised before any task is taken."""
    monkeypatch.setenv("PATH", f"{tmp_path}")

    with pytest.raises(UsageError, match="neither bash nor sh is on PATH"):
        Shell()


def test_an_option_it_does_not_know_is_refused() -> None:
    """A definition's stray key is a TypeError, not a silence."""
    with pytest.raises(TypeError, match="image"):
        Shell(image="docker:x")  # type: ignore[call-arg]
