"""Containers in a real farm. The engines are stand-ins that refuse wrong command lines and really run the command."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import NOT_RUN, Bench
from farm_driver import alive, until

ENGINES = ("shifter", "podman-hpc", "apptainer", "podman")
DETACHING = ("podman-hpc", "podman")
QUICK = ("--grace", "0.3")
SLEEPS = "echo $$ > pid.$PROC_NUMBER.new; mv pid.$PROC_NUMBER.new pid.$PROC_NUMBER; sleep 600; echo no"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Return a farm with stand-ins for all engines on its PATH; whatever is left in a container is an error."""
    bench = Bench(tmp_path)
    bench.install(*ENGINES)
    monkeypatch.setenv("PATH", str(bench.bin), prepend=":")
    yield bench
    bench.end()


def begun(bench: Bench, *tasks: int) -> list[int]:
    """Wait until tasks of `SLEEPS` have begun; return the pids of their shells."""
    paths = [bench.farm.directory / f"pid.{task}" for task in tasks]
    started = bench.farm.started[-1]
    assert until(lambda: all(path.exists() for path in paths) or started.over(), 20), started.output
    return [int(path.read_text()) for path in paths]


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("engine", ENGINES)
class TestATask:
    def test_ends_as_its_line_does(self, bench: Bench, engine: str) -> None:
        """The exit status is that of the line; a signal inside is one, or 128 and its number; output is in the log."""
        tasks = ["echo out; echo err >&2", "exit 3", "kill -9 $$", "echo 'a # b' # c", "nosuchprogram", "echo 'open"]
        assert 1 == bench.run(tasks, engine=engine, image="im.sif"), bench.farm.started[-1].output
        bench.farm.balance(len(tasks))
        assert ["err", "out"] == sorted(bench.log(0).split())
        assert "a # b\n" == bench.log(3)
        killed = 137 if engine in DETACHING else "SIGKILL"
        assert [0, 3, killed, 0, 127] == [bench.statuses()[task] for task in range(5)]
        assert bench.statuses()[5] != 0
        assert [] == bench.containers()

    def test_finds_its_variables(self, bench: Bench, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its own, those that `env` hands on or sets; what a file of BASH_ENV would do does not happen."""
        monkeypatch.setenv("HANDED", "on")
        monkeypatch.setenv("BASH_ENV", str(bench.farm.directory / "startup"))
        (bench.farm.directory / "startup").write_text("echo startup\n")
        line = "echo $PROC_NUMBER $PYTASKFARMER_TASK_ID $PYTASKFARMER_ATTEMPT $HANDED $A$PS"
        options = {"engine": engine, "image": "im.sif", "env": "HANDED NOTHING A='b c'"}
        assert 0 == bench.run([line] * 3, **options), bench.farm.started[-1].output
        assert [f"{task} {task} 1 on b c\n" for task in range(3)] == [bench.log(task) for task in range(3)]

    def test_comes_after_the_setup(self, bench: Bench, engine: str) -> None:
        """What `setup` sets is there, and where it fails the task does not begin."""
        options = {"engine": engine, "image": "im.sif", "setup": "echo set up; x=$PROC_NUMBER; test $x != 1"}
        assert 1 == bench.run(["echo $x"] * 3, **options)
        assert ["set up\n0\n", f"set up\n{NOT_RUN}", "set up\n2\n"] == [bench.log(task) for task in range(3)]

    def test_has_a_directory_of_its_own(self, bench: Bench, engine: str) -> None:
        """With `tempdir` it begins in an empty directory, which is gone when the task has ended, well or not."""
        place = bench.farm.directory / "scratch"
        place.mkdir()
        tasks = ["pwd; ls -A; touch a", "pwd; ls -A; touch a; exit 3", "pwd; ls -A; touch a; kill -9 $$"]
        assert 1 == bench.run(tasks, engine=engine, image="im.sif", tempdir=place), bench.farm.started[-1].output
        assert [0, 3] == [bench.statuses()[task] for task in (0, 1)]
        first = [bench.log(task).splitlines()[0] for task in range(3)]
        assert 3 == len(set(first))
        assert all(directory.startswith(f"{place}/") for directory in first)
        assert [] == list(place.iterdir())

    def test_that_is_too_long_is_gone(self, bench: Bench, engine: str) -> None:
        """After a time limit nothing of its container runs, and the next task does."""
        options = {"engine": engine, "image": "im.sif", "workdir": bench.farm.directory}
        assert 1 == bench.run([SLEEPS, "echo next"], "-n", "1", "--task-timeout", "1", *QUICK, **options)
        assert [[1], [0]] == [bench.farm.ids("finished"), bench.farm.ids("failed")]
        assert "next\n" == bench.log(1)
        assert not alive(*begun(bench, 0))
        assert ([], []) == (bench.inside(), bench.containers())

    def test_is_stopped_with_the_farm(self, bench: Bench, engine: str) -> None:
        """After TERM to the farmer nothing of its containers runs, and the tasks are still to do."""
        bench.start([SLEEPS] * 2, "-n", "2", *QUICK, engine=engine, image="im.sif", workdir=bench.farm.directory)
        shells = begun(bench, 0, 1)
        bench.farm.started[-1].signal(signal.SIGTERM)
        assert 3 == bench.farm.started[-1].wait()
        assert [0, 1] == sorted(bench.farm.ids("toprocess"))
        assert [False, False] == [alive(shell) for shell in shells]
        assert ([], []) == (bench.inside(), bench.containers())

    def test_goes_with_a_killed_farmer(self, bench: Bench, engine: str) -> None:
        """After KILL to the farmer nothing of its containers runs when its guard has ended."""
        bench.start([SLEEPS] * 2, "-n", "2", engine=engine, image="im.sif", workdir=bench.farm.directory)
        shells = begun(bench, 0, 1)
        kill(bench.farm.started[-1].farmer)
        assert 137 == bench.farm.started[-1].wait()
        assert [False, False] == [alive(shell) for shell in shells]
        assert [] == bench.inside()


@pytest.mark.parametrize("engine", DETACHING)
class TestAContainerThatIsNoDescendant:
    def test_survives_its_client_but_not_the_task(self, bench: Bench, engine: str) -> None:
        """Where somebody kills the client, its container is removed before the slot is used again."""
        options = {"engine": engine, "image": "im", "workdir": bench.farm.directory}
        bench.start([SLEEPS, "ls bin/containers"], "-n", "1", **options)
        (shell,) = begun(bench, 0)
        client = int(bench.farm.directory.joinpath("bin/client").read_text())
        os.kill(client, signal.SIGKILL)
        assert 1 == bench.farm.started[-1].wait()
        assert [0] == bench.farm.ids("failed")
        assert 1 == len(bench.log(1).split()), "only the container of the second task is there while it runs"
        assert not alive(shell)
        assert ([], []) == (bench.inside(), bench.containers())

    def test_is_removed_by_the_farmer_only_if_need_be(self, bench: Bench, engine: str) -> None:
        """A container that ended well removes itself; after any failure the farmer makes sure."""
        assert 1 == bench.run(["true", "exit 3", "true"], engine=engine, image="im")
        assert 3 == len(bench.calls("run"))
        failed = next(call for call in bench.calls("run") if "exit 3" in call)
        name = failed[failed.index("--name") + 1]
        assert [[engine, "rm", "--force", "--ignore", "--time", "0", name]] == bench.calls("rm")


def test_modules_and_gpus_are_flags_of_the_engine(bench: Bench) -> None:
    """Those of podman-hpc, which the stand-in takes only if they are spelled as there."""
    options = {"engine": "podman-hpc", "image": "im", "modules": "mpi cvmfs", "gpu": "true"}
    assert 0 == bench.run(["true"], **options), bench.log(0)


def test_cleanenv_leaves_the_tasks_variables(bench: Bench) -> None:
    """With Apptainer's --cleanenv, the variables of the task and those of `env` are inside, and no others."""
    options = {"engine": "apptainer", "image": "im.sif", "arguments": "--cleanenv", "env": "A=1"}
    assert 0 == bench.run(["echo $PROC_NUMBER $A $USER$HOME"], **options), bench.log(0)
    assert "0 1\n" == bench.log(0)


def test_a_flag_that_the_engine_does_not_have_fails_the_task(bench: Bench) -> None:
    """What the engine says is in the task's log."""
    assert 1 == bench.run(["true"], engine="apptainer", image="im.sif", arguments="--volume=a:b")
    assert "option --volume not recognized" in bench.log(0)


def test_an_engine_that_is_not_there_ends_the_farm_at_once(bench: Bench) -> None:
    """In one line, before any task."""
    assert 2 == bench.run(["true"], engine="docker", image="im")
    assert "there is no container engine 'docker'" in bench.farm.started[-1].output
    assert 1 == bench.farm.started[-1].output.count("\n")
