"""The Shifter runner of 0.1.0: its definitions, and its command line to the letter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import Bench

from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.shifter import ShifterRunner
from pytaskfarmer.task import Task

CONTEXT = TaskContext(0, 1, "/w", {"PATH": "/bin", "USER": "u", "BASH_ENV": "/etc/modules.sh"})
TASK = Task(3, "sim 'a b' && x")

INI = """
[mcd-runner]
Runner = taskfarmer.runners.ShifterRunner
image = docker:gitlab-registry.example.org/muon-collider/mucoll:2.9-alma9
setup = source ./setup_mucoll.sh
volumes = /global/data:/data /x:/y
modules = cvmfs
tempdir = True

[wcd_runner]
Runner: taskfarmer.runners.ShifterRunner
image=docker:user/wcd:main-gaudi-alma9
setup: export SET=up
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Return a farm with a stand-in for Shifter on its PATH."""
    bench = Bench(tmp_path)
    bench.install("shifter")
    monkeypatch.setenv("PATH", str(bench.bin), prepend=":")
    yield bench
    bench.end()


@pytest.mark.usefixtures("bench")
class TestTheCommandLine:
    def test_with_every_option(self, tmp_path: Path) -> None:
        """Image, work directory, volumes, modules, in this order and spelling, then bash with setup and task."""
        runner = ShifterRunner("docker:i:1", "source s.sh", ("/a:/b", "/c:/d"), ("cvmfs", "mpich"), tempdir=True)
        command = runner.command(TASK, CONTEXT)

        directory = command.argv[3].removeprefix("--workdir=")
        assert [
            *("shifter", "--image", "docker:i:1", f"--workdir={directory}", "-V/a:/b", "-V/c:/d", "-mcvmfs,mpich"),
            *("--", "/bin/bash", "-c", "source s.sh && sim 'a b' && x"),
        ] == list(command.argv)
        assert Path(directory).is_dir()
        assert {"BASH_ENV": ""} == command.environment
        assert command.cwd is None
        runner.close()
        assert not Path(directory).exists()

    def test_with_one_module(self) -> None:
        """It stands as in 0.1.0, which wrote an option for each, of which Shifter obeys the last."""
        assert "-mcvmfs" in ShifterRunner("docker:i:1", modules=("cvmfs",)).command(TASK, CONTEXT).argv

    def test_without_options(self) -> None:
        """Without a setup the shell is given the task alone, where 0.1.0 made a syntax error of it."""
        command = ShifterRunner("docker:i:1").command(TASK, CONTEXT)

        assert ("shifter", "--image", "docker:i:1", "--", "/bin/bash", "-c", "sim 'a b' && x") == command.argv
        assert command.finish is None


def test_shifter_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it is not on PATH, the runner is refused."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"shifter is not on PATH; install it, or add its directory to PATH$"):
        ShifterRunner("docker:i:1")


def test_definitions_of_before_run(bench: Bench) -> None:
    """An INI file written for 0.1.0 runs tasks, each in a fresh directory if it says so."""
    bench.farm.directory.joinpath("runners.ini").write_text(INI)
    bench.farm.directory.joinpath("setup_mucoll.sh").write_text("")
    bench.farm.write(["echo $SET $PROC_NUMBER $SHIFTER_RUNTIME", "exit 4"])

    assert 1 == bench.farm.run("-r", "wcd_runner"), bench.farm.started[-1].output
    assert "up 0 1\n" == bench.log(0)
    assert [0, 4] == [bench.statuses()[task] for task in range(2)]
    assert 2 == len(bench.calls())


def test_a_failing_setup_fails_the_task(bench: Bench) -> None:
    """As when `setup` names a file that is not there; the directory of the task is removed."""
    bench.farm.directory.joinpath("runners.ini").write_text(INI)
    bench.farm.write(["echo no"])

    assert 1 == bench.farm.run("-r", "mcd-runner")
    assert "./setup_mucoll.sh: No such file" in bench.log(0)
    assert "no\n" not in bench.log(0)
    (call,) = bench.calls()
    assert not Path(next(word for word in call if word.startswith("--workdir=")).removeprefix("--workdir=")).exists()
