"""Containers that a slot keeps, in a real farm; the engine is a stand-in whose containers are daemons."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import NOT_RUN, Bench
from farm_driver import alive, until

QUICK = ("--grace", "0.3")
SLEEPS = "echo $$ > pid.new; mv pid.new pid; sleep 600"
WHERE = "tr '\\0' '\\n' < /proc/$$/environ | grep ^STAND_IN_CONTAINER"
"""Prints which container runs it."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Return a farm with stand-ins for Podman on its PATH; whatever is left in a container is an error."""
    bench = Bench(tmp_path)
    bench.install("podman-hpc", "podman")
    monkeypatch.setenv("PATH", str(bench.bin), prepend=":")
    yield bench
    bench.end()


def held(bench: Bench, tasks: list[str], *options: str, **runner: object) -> int:
    """Run tasks in held containers, one slot unless the options say otherwise; return the farmer's exit status."""
    start(bench, tasks, *options, **runner)
    return bench.farm.started[-1].wait(30)


def start(bench: Bench, tasks: list[str], *options: str, **runner: object) -> None:
    runner = {"engine": "podman-hpc", "image": "im", "hold": "true", "workdir": bench.farm.directory, **runner}
    bench.start(tasks, *(options or ("-n", "1")), **{name: value for name, value in runner.items() if value})


def begun(bench: Bench) -> int:
    """Wait until the task of `SLEEPS` has begun; return the pid of its shell."""
    path, started = bench.farm.directory / "pid", bench.farm.started[-1]
    assert until(lambda: path.exists() or started.over(), 20), started.output
    return int(path.read_text())


@pytest.mark.parametrize("engine", ["podman-hpc", "podman"])
def test_a_slot_runs_all_its_tasks_in_one_container(bench: Bench, engine: str) -> None:
    """Twelve tasks in two slots start two containers, which are gone when the farmer has ended."""
    assert 0 == held(bench, [WHERE] * 12, "-n", "2", engine=engine), bench.farm.started[-1].output
    assert len(bench.calls("run")) <= 2
    assert len(bench.calls("run")) == len({bench.log(task) for task in range(12)})
    assert ([], []) == (bench.inside(), bench.containers())


def test_a_task_is_as_it_would_be_in_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status, output, variables and setup are those of each task."""
    monkeypatch.setenv("HANDED", "on")
    tasks = [
        "echo $PROC_NUMBER $PYTASKFARMER_TASK_ID $HANDED $A $x",
        "exit 3",
        "kill -9 $$",
        "echo 'a # é'; echo b >&2",
    ]
    assert 1 == held(bench, tasks, env="HANDED A=1", setup="x=2")
    assert [0, 3, 137, 0] == [bench.statuses()[task] for task in range(4)]
    assert "0 0 on 1 2\n" == bench.log(0)
    assert ["a", "#", "é", "b"] == bench.log(3).split()


def test_a_failed_setup_fails_the_task(bench: Bench) -> None:
    """The line does not run, and the container stays for the next."""
    assert 1 == held(bench, ["echo a", "echo b"], setup="test $PROC_NUMBER = 1")
    assert [[1], [0]] == [bench.farm.ids("finished"), bench.farm.ids("failed")]
    assert [NOT_RUN, "b\n"] == [bench.log(task) for task in range(2)]
    assert 1 == len(bench.calls("run"))


def test_a_task_that_is_too_long_takes_its_container_with_it(bench: Bench) -> None:
    """Nothing of it runs on, and the next task gets a new container."""
    assert 1 == held(bench, [WHERE, SLEEPS, WHERE], "-n", "1", "--task-timeout", "1", *QUICK)
    assert [[0, 2], [1]] == [sorted(bench.farm.ids("finished")), bench.farm.ids("failed")]
    assert not alive(begun(bench))
    assert bench.log(0) != bench.log(2)
    assert ([], []) == (bench.inside(), bench.containers())


def test_a_stopped_farm_leaves_nothing(bench: Bench) -> None:
    """After TERM to the farmer no container is left, and the task is still to do."""
    start(bench, [SLEEPS], "-n", "1", *QUICK)
    shell = begun(bench)
    bench.farm.started[-1].signal(signal.SIGTERM)
    assert 3 == bench.farm.started[-1].wait()
    assert [0] == bench.farm.ids("toprocess")
    assert not alive(shell)
    assert ([], []) == (bench.inside(), bench.containers())


def test_a_killed_farmer_leaves_no_process(bench: Bench) -> None:
    """After KILL to the farmer its guard ends what is in the container."""
    start(bench, [SLEEPS])
    shell = begun(bench)
    farmer = bench.farm.started[-1].farmer
    assert farmer is not None
    os.kill(farmer, signal.SIGKILL)
    assert 137 == bench.farm.started[-1].wait()
    assert not alive(shell)
    assert [] == bench.inside()


def test_a_container_that_dies_costs_one_task(bench: Bench) -> None:
    """The task that runs in it fails; those after it run in a new one."""
    kills_all = "kill -9 $(cat bin/containers/*/first)"
    assert 1 == held(bench, [WHERE, f"{kills_all}; sleep 600", WHERE, WHERE])
    assert [1] == bench.farm.ids("failed")
    assert bench.log(2) == bench.log(3)
    assert 2 == len(bench.calls("run"))


def test_a_client_that_dies_takes_its_container_with_it(bench: Bench) -> None:
    """What it had started does not run on beside the next task."""
    start(bench, [SLEEPS, "echo next"])
    shell = begun(bench)
    os.kill(int((bench.bin / "client").read_text()), signal.SIGKILL)
    assert 1 == bench.farm.started[-1].wait()
    assert [[1], [0]] == [bench.farm.ids("finished"), bench.farm.ids("failed")]
    assert 137 == bench.statuses()[0]
    assert not alive(shell)
    assert 2 == len(bench.calls("run"))


def test_each_task_has_a_directory_of_its_own(bench: Bench) -> None:
    """With `tempdir` a task begins in an empty directory, which is gone before the next begins."""
    place = bench.farm.directory / "scratch"
    place.mkdir()
    tasks = ["pwd; ls -A; touch a; ls ..", "pwd; ls -A; touch a; ls ..; exit 3", "pwd; ls -A; ls .."]
    assert 1 == held(bench, tasks, tempdir=place, workdir=None), bench.farm.started[-1].output
    logs = [bench.log(task).splitlines() for task in range(3)]
    assert [2, 2, 2] == [len(lines) for lines in logs]
    assert 3 == len({directory for directory, _ in logs})
    assert [os.path.basename(directory) for directory, _ in logs] == [only for _, only in logs]
    assert not [path for path in place.rglob("*") if path.is_file() or path.parent.parent == place]


def test_an_image_that_cannot_be_started_ends_the_farm(bench: Bench) -> None:
    """What the engine says is said in one line, and every task is still to do."""
    assert held(bench, ["true"] * 3, image="missing") not in (0, 1)
    assert "podman-hpc cannot start a container (status 125)" in bench.farm.started[-1].output
    assert "missing: image not known" in bench.farm.started[-1].output
    assert "Traceback" not in bench.farm.started[-1].output
    assert [0, 1, 2] == sorted(bench.farm.ids("toprocess"))
