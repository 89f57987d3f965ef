"""The container runner with a real runtime: Charliecloud, and an image that is a directory with a busybox."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_bench import NOT_RUN, Bench
from farm_driver import alive, until

QUICK = ("--grace", "0.3")
SLEEPS = "echo $$ > /mnt/0/pid.$PROC_NUMBER.new; mv /mnt/0/pid.$PROC_NUMBER.new /mnt/0/pid.$PROC_NUMBER; sleep 600"
DAEMON = "setsid sh -c 'echo $$ > /mnt/0/daemon; exec sleep 600' & until test -s /mnt/0/daemon; do sleep 0.01; done"
DIRECTORIES = ("bin", "dev", "proc", "sys", "tmp", "etc", "mnt/0")
FILES = ("passwd", "group", "hosts", "resolv.conf")
APPLETS = ("sh", "echo", "ls", "env", "cat", "mv", "sleep", "setsid", "test", "touch", "pwd")


@pytest.fixture
def image(tmp_path: Path, require: Callable[[str], str]) -> Path:
    """Return an image; without Charliecloud, the test is skipped, and in CI fails."""
    require("ch-run")
    image = tmp_path / "image"
    for directory in DIRECTORIES:
        (image / directory).mkdir(parents=True)
    for file in FILES:
        (image / "etc" / file).touch()
    (image / "only-inside").touch()
    shutil.copy(require("busybox"), image / "bin/busybox")
    for applet in APPLETS:
        (image / "bin" / applet).symlink_to("busybox")
    return image


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    (tmp_path / "data").mkdir()
    yield bench
    bench.end()


@pytest.fixture
def options(image: Path, bench: Bench) -> dict[str, object]:
    """Return the options of the runner that all tests have; `data` of the bench is /mnt/0 inside."""
    return {
        "engine": "charliecloud",
        "image": image,
        "shell": "/bin/sh",
        "volumes": f"{bench.farm.directory}/data:/mnt/0",
    }


def begun(bench: Bench, *tasks: int) -> list[int]:
    """Wait until tasks of `SLEEPS` have begun; return the pids of their shells, which are the host's."""
    paths = [bench.farm.directory / f"data/pid.{task}" for task in tasks]
    started = bench.farm.started[-1]
    assert until(lambda: all(path.exists() for path in paths) or started.over(), 20), started.output
    return [int(path.read_text()) for path in paths]


def test_a_task_runs_inside(bench: Bench, options: dict[str, object]) -> None:
    """It sees the image's files, not the host's."""
    assert 0 == bench.run(["ls /; test -e /usr || echo no host"], **options), bench.log(0)
    assert {"only-inside", "no", "host"} <= set(bench.log(0).split())


def test_a_task_ends_as_its_line_does(bench: Bench, options: dict[str, object]) -> None:
    """Exit status, signal and output are those of the line; a comment or open quote does no more than it says."""
    tasks = ["echo out; echo err >&2", "exit 3", "kill -9 $$", "echo 'a # b' # c", "nosuchprogram", "echo 'open"]
    assert 1 == bench.run(tasks, **options)
    bench.farm.balance(len(tasks))
    assert ["out\nerr\n", "a # b\n"] == [bench.log(0), bench.log(3)]
    assert [0, 3, "SIGKILL", 0, 127, 2] == [bench.statuses()[task] for task in range(6)]


def test_volumes_are_seen_and_written(bench: Bench, options: dict[str, object]) -> None:
    """What is on the host is inside, and what is written inside is on the host."""
    (bench.farm.directory / "data/in").write_text("from outside\n")
    assert 0 == bench.run(["cat /mnt/0/in; echo from inside > /mnt/0/out"], **options), bench.log(0)
    assert "from outside\n" == bench.log(0)
    assert "from inside\n" == (bench.farm.directory / "data/out").read_text()


def test_variables_are_set(bench: Bench, options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the task, of the farmer, and those given; Charliecloud has a user even where the farmer has none."""
    monkeypatch.setenv("HANDED", "on")
    monkeypatch.delenv("USER", raising=False)
    line = "echo $PROC_NUMBER $PYTASKFARMER_TASK_ID $HANDED $A"
    assert 0 == bench.run([line] * 2, env="HANDED A='b c'", **options), bench.log(0)
    assert ["0 0 on b c\n", "1 1 on b c\n"] == [bench.log(0), bench.log(1)]


def test_setup_comes_first(bench: Bench, options: dict[str, object]) -> None:
    """In the shell of the task, which does not begin if it fails."""
    setup = ". /mnt/0/setup; test $PROC_NUMBER = 0"
    (bench.farm.directory / "data/setup").write_text("f() { echo f $#; }\n")
    assert 1 == bench.run(["f '# '", "f"], setup=setup, **options)
    assert ["f 1\n", NOT_RUN] == [bench.log(0), bench.log(1)]


def test_a_workdir_is_where_tasks_begin(bench: Bench, options: dict[str, object]) -> None:
    """A directory of the container."""
    assert 0 == bench.run(["pwd"], workdir="/mnt/0", **options), bench.log(0)
    assert "/mnt/0\n" == bench.log(0)


def test_each_task_has_a_directory_of_its_own(bench: Bench, options: dict[str, object]) -> None:
    """With `tempdir` it is empty, can be written to, is /tmp inside, and gone when the task has ended."""
    place = bench.farm.directory / "scratch"
    place.mkdir()
    tasks = [f"pwd; ls -A; touch a; ls -A; ls -A /mnt/0; exit {status}" for status in (0, 3)]
    assert 1 == bench.run(tasks, tempdir=place, **options)
    assert ["/tmp\na\n"] * 2 == [bench.log(task) for task in range(2)]
    assert [0, 3] == [bench.statuses()[task] for task in range(2)]
    assert [] == list(place.iterdir())


def test_a_kept_directory_has_what_the_task_left(bench: Bench, options: dict[str, object]) -> None:
    """With `keep = failed`, that of a task which failed stays on the node, and its log says where."""
    place = bench.farm.directory / "scratch"
    place.mkdir()
    assert 1 == bench.run(["echo 0 > a", "echo 1 > a; exit 3"], tempdir=place, keep="failed", **options)
    assert ["1\n"] == [path.read_text() for path in place.glob("*/a")]
    assert str(next(place.glob("*/a")).parent) in bench.log(1)


def test_a_task_that_is_too_long_is_gone(bench: Bench, options: dict[str, object]) -> None:
    """After a time limit neither it nor its daemon is alive, and the next task runs."""
    tasks = [f"{DAEMON}; {SLEEPS}", "echo next"]
    assert 1 == bench.run(tasks, "-n", "1", "--task-timeout", "1", *QUICK, **options)
    assert [[1], [0]] == [bench.farm.ids("finished"), bench.farm.ids("failed")]
    assert "next\n" == bench.log(1)
    daemon = int((bench.farm.directory / "data/daemon").read_text())
    assert [False, False] == [alive(pid) for pid in (*begun(bench, 0), daemon)]


def test_a_stopped_farm_leaves_nothing(bench: Bench, options: dict[str, object]) -> None:
    """After TERM to the farmer its tasks are gone, and still to do."""
    bench.start([SLEEPS, f"{DAEMON}; {SLEEPS}"], "-n", "2", *QUICK, **options)
    shells = begun(bench, 0, 1)
    bench.farm.started[-1].signal(signal.SIGTERM)
    assert 3 == bench.farm.started[-1].wait()
    assert [0, 1] == sorted(bench.farm.ids("toprocess"))
    daemon = int((bench.farm.directory / "data/daemon").read_text())
    assert [False] * 3 == [alive(pid) for pid in (*shells, daemon)]


def test_a_killed_farmer_leaves_nothing(bench: Bench, options: dict[str, object]) -> None:
    """After KILL to the farmer its guard ends what is in its containers, and the next farmer does all tasks."""
    bench.start([SLEEPS, f"{DAEMON}; {SLEEPS}"], "-n", "2", **options)
    shells = begun(bench, 0, 1)
    farmer = bench.farm.started[-1].farmer
    assert farmer is not None
    os.kill(farmer, signal.SIGKILL)
    assert 137 == bench.farm.started[-1].wait()
    daemon = int((bench.farm.directory / "data/daemon").read_text())
    assert [False] * 3 == [alive(pid) for pid in (*shells, daemon)]

    assert 0 == bench.run(["echo again", "echo again"], "--update", **options), bench.farm.started[-1].output
    assert [0, 1] == sorted(bench.farm.ids("finished"))


def test_an_image_that_is_not_there_fails_the_task(bench: Bench, options: dict[str, object]) -> None:
    """What Charliecloud says is in the log."""
    assert 1 == bench.run(["true"], **{**options, "image": "/nowhere"})
    assert "/nowhere: No such file or directory" in bench.log(0)
