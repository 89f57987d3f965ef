import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farm_driver import Farm, until
from shell_stage import BASH, Stage
from test_shell_lines import TRICKY

from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.runners.shell import Shell, shell_words
from pytaskfarmer.task import Task

DASH = shutil.which("dash")


def refused(**options: Any) -> str:
    """Return the one line of what the runner says to these options."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        Shell(**options)
    return str(caught.value)


class TestShell:
    @pytest.mark.skipif(DASH is None, reason="dash is not installed")
    @pytest.mark.parametrize("shell", ["dash", DASH])
    def test_another_shell(self, shell: str, stage: Stage) -> None:
        """Every line is given to the shell that is asked for, by its name on PATH or its path."""
        stage.shell = Shell(shell=shell)
        with stage.set():
            assert Command((shell, "-c", "sleep 1"), DASH) == stage.command("sleep 1", stage.environment())
        assert b"dash\n" in stage.by_runner("readlink /proc/$$/exe", stage.environment()).output

    def test_another_bash(self, stage: Stage, tmp_path: Path) -> None:
        """A bash of another place does what bash does, and is left out where bash is."""
        (tmp_path / "bash").symlink_to(BASH)
        path = str(tmp_path / "bash")
        stage.shell = Shell(shell=path)
        with stage.set():
            commands = [stage.command(line, stage.environment()) for line in ("args a", "args 'a'")]

        program = f"{stage.directory}/bin/args"
        by_bash = [Command((path, "-c", line), path) for line in ("args a", "args 'a'")]
        assert [Command(("args", "a"), program, {"_": program}, fallback=by_bash[0]), by_bash[1]] == commands

    @pytest.mark.parametrize("shell", ["nosuchshell", "/no/such/shell", "bash -e", "/"])
    def test_no_shell(self, shell: str) -> None:
        """What is not a program is refused before anything runs."""
        with pytest.raises(UsageError) as caught:
            Shell(shell=shell)
        expected = f"the shell {shell!r} is no program; give its path, or its name on PATH, and nothing else"
        assert expected == str(caught.value)


SHELLS = ["bash", "dash", "busybox"]


@pytest.fixture(params=SHELLS)
def run(request: pytest.FixtureRequest, require: Callable[[str], str], tmp_path: Path) -> Callable[..., Any]:
    """Return `run(setup, line)`, by one of the shells: the status and what was said."""
    program = require(request.param)
    (tmp_path / "env.sh").write_text("seen=$#\n")
    (tmp_path / "leave.sh").write_text("exit 0\n")

    def run(setup: str, line: str) -> tuple[int, str]:
        argv = shell_words("sh", line, setup)
        ended = subprocess.run(
            argv, executable=program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return ended.returncode, ended.stdout.decode()

    return run


FAILED = "pytaskfarmer: the setup failed, so the task was not run\n"
LEFT = "pytaskfarmer: the setup ended the shell, so the task was not run\n"


class TestSetup:
    @pytest.mark.parametrize(
        ("setup", "line", "said"),
        [
            ("x=1", "echo $x", "1\n"),
            ("x=1 # a comment", "echo $x", "1\n"),
            ("x=1;", "echo $x", "1\n"),
            ("x=1\ny=2", "echo $x $y", "1 2\n"),
            ("cat <<END\nof the setup\nEND", "echo ran", "of the setup\nran\n"),
            ("cat <<END", "echo ran", "ran\n"),
            ("f() { echo f $1; }", "f 2", "f 2\n"),
            ("cd /", "pwd", "/\n"),
            ("set -f", "echo *", "*\n"),
            ("IFS=0", "echo ran", "ran\n"),
            ("false || x=1", "echo $x $?", "1 0\n"),
            ("exec 2>&1", "echo ran >&2", "ran\n"),
            (". ./env.sh", "echo $seen $#", "0 0\n"),
            ("trap 'echo of the setup' EXIT", "echo ran", "ran\nof the setup\n"),
            ("x=1", "echo $x; exit 0", "1\n"),
            ("x=1", "trap 'echo trapped' EXIT; echo ran", "ran\ntrapped\n"),
            ("x=1", "# nothing to do", ""),
        ],
    )
    def test_a_setup_that_succeeds(self, setup: str, line: str, said: str, run: Callable[..., Any]) -> None:
        """The task runs after it in the same shell, and finds no words that are not its own."""
        status, output = run(setup, line)
        assert (0, said) == (status, re.sub(r".*here-doc.*\n", "", output))

    @pytest.mark.parametrize(
        ("setup", "expected"),
        [
            ("false", (1, FAILED)),
            ("true; (exit 7)", (7, FAILED)),
            ("exit 3", (3, FAILED)),
            ("exit 0", (1, LEFT)),
            (". ./leave.sh", (1, LEFT)),
            ("set -e; false; true", (1, FAILED)),
            ("false # a comment", (1, FAILED)),
            ("nosuchprogram", (127, FAILED)),
        ],
    )
    def test_a_setup_that_fails(self, setup: str, expected: tuple[int, str], run: Callable[..., Any]) -> None:
        """The task is not run and fails, with the status of the setup, even if that was none of a failure."""
        status, output = run(setup, "echo ran")
        assert expected == (status, re.sub(r".*not found\n", "", output))

    @pytest.mark.parametrize("setup", ["echo 'open", 'echo "open', "f(", "if true", "{ true", "echo $(", "}", ". ./no"])
    def test_a_setup_that_cannot_be_read(self, setup: str, run: Callable[..., Any]) -> None:
        """The end of the setup is no part of the task: it is not swallowed, but not run, and the log says so."""
        status, output = run(setup, "echo ran; echo ' \" ) fi }")
        assert status > 0
        assert "ran" not in output.replace(FAILED, "").splitlines()
        assert output.endswith(FAILED)

    def test_a_task_that_fails(self, run: Callable[..., Any]) -> None:
        """After a setup, status and signal are those of the task, and nothing is said of the setup."""
        assert [(4, ""), (-9, "")] == [run("x=1", line) for line in ("(exit 4)", "kill -KILL $$")]

    @pytest.mark.parametrize("heading", TRICKY)
    def test_a_line_runs_as_it_would_without(self, heading: str, stage: Stage) -> None:
        """Output, status and files are those of `bash -c LINE`, except for what asks about the shell itself."""
        asks = re.compile(r"^[-+]|BASH_EXECUTION_STRING|^echo \$_$")
        lines = [line for line in TRICKY[heading] if not asks.search(line)]
        environment = stage.environment()
        expected = {line: stage.by_bash(line, environment) for line in lines}
        umask = os.umask(0o22)
        os.umask(umask)
        stage.shell = Shell(setup=":  # nothing", umask=f"{umask:o}")
        seen = {line: stage.by_runner(line, environment) for line in lines}

        def without_numbers(output: bytes) -> bytes:
            return re.sub(rb"\bline \d+\b", b"line", output)

        for line in lines:
            assert without_numbers(expected[line].output) == without_numbers(seen[line].output)
            assert (expected[line].status, expected[line].files) == (seen[line].status, seen[line].files)

    @pytest.mark.parametrize("setup", ["", " ", "\n"])
    def test_an_empty_one(self, setup: str) -> None:
        """A setup without text is none."""
        argv = Shell(setup=setup).command(Task(0, "echo a"), TaskContext(0, 1, "/w", {})).argv
        assert ("bash", "-c", "echo a") == argv

    @pytest.mark.parametrize("option", [{"setup": "x=1"}, {"umask": "027"}])
    def test_a_shell_that_cannot(self, option: dict[str, str], tmp_path: Path) -> None:
        """A shell that is known not to read what sh reads is refused, before all tasks fail."""
        (tmp_path / "fish").symlink_to(BASH)
        expected = "setup and umask need a shell that reads what sh reads, and fish does not"
        assert expected == refused(shell=str(tmp_path / "fish"), **option)


class TestEnv:
    def test_values_are_taken_as_they_are(self, stage: Stage) -> None:
        """Blanks, quotes, `$`, `=` and nothing at all are only text, also for a line that needs a shell."""
        stage.shell = Shell(env=("A=1", "B=two  words", "C='$HOME'", "D=x=y", "E="))
        environment = stage.environment(A="0")
        seen = [stage.by_runner(line, environment).output.split(b"\n") for line in ("env", "env;")]

        expected = {b"A=1", b"B=two  words", b"C='$HOME'", b"D=x=y", b"E="}
        assert [expected, expected] == [expected & {*lines} for lines in seen]

    def test_a_plain_line_needs_no_shell(self, stage: Stage) -> None:
        """Programs are found, and environments are what bash would hand on, as if the variables had been there."""
        path = f"{stage.directory}/bin:/usr/bin"
        stage.shell = Shell(env=(f"PATH={path}", "SHLVL=7", "PS1=>"))
        environment = stage.environment(PATH="/no/such/directory")
        with stage.set():
            command = stage.command("seen", environment)
        expected = stage.by_bash("seen", {**environment, "PATH": path, "SHLVL": "7", "PS1": ">"}).sorted()

        assert (("seen",), f"{stage.directory}/bin/seen") == (command.argv, command.program)
        assert expected == stage.by_runner("seen", environment).sorted()

    def test_what_needs_bash_still_does(self, stage: Stage) -> None:
        """A variable that makes bash do more than start the program leaves the line to bash."""
        stage.shell = Shell(env=("BASH_ENV=env.sh",))
        assert stage.by_runner("args", stage.environment()).output.startswith(b"BASH_ENV was read\n")

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("A", "env has the word 'A'; it must be NAME=VALUE, with quotes around a value with blanks"),
            ("=1", "env has the word '=1'; it must be NAME=VALUE, with quotes around a value with blanks"),
            ("PROC_NUMBER=1", "env cannot set PROC_NUMBER, which is the farmer's"),
            ("PYTASKFARMER_FARMER=x", "env cannot set PYTASKFARMER_FARMER, which is the farmer's"),
        ],
    )
    def test_what_is_no_variable(self, word: str, message: str) -> None:
        """Other words, and the variables by which tasks are known, are refused."""
        assert message == refused(env=("B=2", word))


class TestUmask:
    @pytest.mark.parametrize("line", ["mkdir new", "mkdir 'new'", "true && mkdir new"])
    def test_it_is_the_tasks(self, line: str, stage: Stage) -> None:
        """Plain lines and others make what they make under it."""
        stage.shell = Shell(umask="0027")
        assert 0o40750 == stage.by_runner(line, stage.environment()).files["new"][0]

    @pytest.mark.parametrize("umask", ["8", "u=rwx", "00027", "-1", "27 ", "0x1f"])
    def test_what_is_none(self, umask: str) -> None:
        """Anything but octal digits is refused."""
        assert f"umask is {umask!r}; it must be octal digits, such as 027" == refused(umask=umask)


class TestTempdir:
    def test_the_task_starts_in_it(self, tmp_path: Path) -> None:
        """The command says so to the farmer, and the environment to the task; a relative shell is still found."""
        (tmp_path / "sh").symlink_to(BASH)
        shell = Shell(tempdir=str(tmp_path), shell=os.path.relpath(tmp_path / "sh"))
        command = shell.command(Task(5, "sleep 1"), TaskContext(0, 1, "/w", {}))
        shell.close()

        assert command.cwd is not None
        assert tmp_path == Path(command.cwd).parent.parent
        assert {"PWD": command.cwd, "OLDPWD": os.getcwd()} == command.environment
        assert (command.argv[1:], command.fallback) == (("-c", "sleep 1"), None)
        assert command.program is not None
        assert os.path.samefile(BASH, os.path.join("/", command.program))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"keep": "failed"}, "keep is about the directories of tasks; it needs tempdir = true"),
            ({"copyout": ("a",)}, "copyout is about the directories of tasks; it needs tempdir = true"),
            ({"copyout_to": "x"}, "copyout_to says where things go, but not which; it needs copyout = GLOB..."),
            (
                {"tempdir": "yes", "copyout": ("a",), "copyout_to": "$NO_SUCH/x"},
                "copyout_to is '$NO_SUCH/x', and the environment lacks a variable of it; set it or name another path",
            ),
        ],
    )
    def test_options_that_do_not_fit(self, options: dict[str, Any], message: str) -> None:
        """Options without the one that they need are refused, since they would do nothing."""
        assert message == refused(**options)

    @pytest.mark.parametrize("glob", ["/etc/*", "../*", "a/../../b", ".", "./", ""])
    def test_globs_that_lead_out(self, glob: str) -> None:
        """Only what is in the task's directory can be moved out of it."""
        expected = f"copyout has the word {glob!r}; it must be a glob below the task's own directory"
        assert expected == refused(tempdir="yes", copyout=("ok", glob))


def disk(farm: Farm) -> list[Path]:
    return list((farm.directory.parent / "disk").iterdir())


def log(farm: Farm, task: int) -> str:
    return (farm.workdir / "logs" / f"log_{task}").read_text()


class TestFarm:
    @pytest.fixture
    def farm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A farm whose tasks have directories on the node's disk."""
        (tmp_path / "farm").mkdir()
        (tmp_path / "disk").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
        farm = Farm(tmp_path / "farm")
        yield farm
        farm.end()

    def test_results_are_moved_and_the_rest_is_removed(self, farm: Farm) -> None:
        """Each task's results arrive where its id says, relative to the farmer; nothing is left on the disk."""
        farm.write(["echo $PROC_NUMBER > a.root; mkdir -p x/y; touch x/y/z; pwd; cat $OLDPWD/tasks.txt"] * 3)
        options = ("tempdir=true", "copyout=*.root", "copyout_to=results/{id}")

        assert 0 == farm.run(*(word for option in options for word in ("-R", option)))
        results = {path: path.read_text() for path in farm.directory.glob("results/**/*") if path.is_file()}
        assert {farm.directory / "results" / i / "a.root": f"{i}\n" for i in "012"} == results
        places, lists = zip(*(log(farm, task).split("\n", 1) for task in range(3)), strict=True)
        assert 3 == len(set(places))
        assert {farm.list.read_text()} == set(lists)
        assert [] == disk(farm)

    def test_a_result_that_is_missing_is_a_failure(self, farm: Farm) -> None:
        """A task that ends well without its results has failed, and its log ends with the line that says so."""
        farm.write(["touch a.root", "touch b.root"])

        assert 1 == farm.run("-R", "tempdir=yes", "-R", "copyout=a.*")
        assert ([0], [1]) == (farm.ids("finished"), farm.ids("failed"))
        assert (farm.directory / "a.root").exists()
        message = "nothing that the task made matches 'a.*'; its directory holds 'b.root'"
        assert f"pytaskfarmer: copyout: {message}\n" == log(farm, 1)
        assert [] == disk(farm)

    def test_directories_of_failures_are_kept(self, farm: Farm) -> None:
        """The log says where; the results of a failed task are not moved."""
        farm.write(["touch a", "touch a; exit 3", "touch a; kill -KILL $$"])

        assert 1 == farm.run("-R", "tempdir=yes", "-R", "keep=failed", "-R", "copyout=a", "-R", "copyout_to=out/{id}")
        assert ([0], [1, 2]) == (farm.ids("finished"), sorted(farm.ids("failed")))
        told = [re.search(r"kept the directory of this task: (.+) on ", log(farm, task)) for task in (1, 2)]
        assert sorted(disk(farm)) == sorted(Path(match[1]) for match in told if match)
        assert {"a"} == {path.name for kept in disk(farm) for path in kept.iterdir()}
        assert ["0"] == os.listdir(farm.directory / "out")

    def test_a_task_that_is_ended_loses_its_directory(self, farm: Farm) -> None:
        """Whatever ends a task from outside, its directory is gone when the farmer is."""
        farm.write(["mkdir deep; sleep 600", "mkdir deep; trap '' TERM; while :; do sleep 1; done"])

        assert 1 == farm.run("-R", "tempdir=yes", "--task-timeout", "0.3", "--grace", "0.1")
        assert ([0, 1], []) == (sorted(farm.ids("failed")), disk(farm))

    def test_what_a_killed_farmer_left_goes_with_the_next(self, farm: Farm) -> None:
        """KILL for the farmer leaves a directory, until the next one of the user on the node runs a task."""
        farm.write(["test -e ../../../farm/go || { touch here; sleep 600; }"])
        killed = farm.start("-R", "tempdir=yes")
        assert until(lambda: any(path.glob("*/here") for path in disk(farm)), 20)
        assert until(lambda: killed.farmer is not None, 20)
        os.kill(killed.farmer or 0, 9)
        killed.wait()
        (left,) = disk(farm)
        (farm.directory / "go").touch()

        assert left.is_dir()
        assert 0 == farm.run("-R", "tempdir=yes")
        assert [] == disk(farm)
