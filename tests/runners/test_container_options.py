"""What the options of the container runner are checked for, and what they become."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.runners.container import FreshContainer, container
from pytaskfarmer.runners.holding import HeldContainer
from pytaskfarmer.task import Task

TASK = Task(7, "sim # '")
ENVIRONMENT = {
    "PATH": "/bin",
    "USER": "u",
    "PROC_NUMBER": "7",
    "PYTASKFARMER_TASK_ID": "7",
    "HERE": "h",
    "BASH_ENV": "b",
}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return `install(*programs)`, which puts programs on a PATH on which there is nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(*programs: str) -> None:
        for program in programs:
            (tmp_path / program).touch(0o755)

    return install


def command(environment: dict[str, str] | None = None, **options: object) -> Command:
    made = container(image="im.sif", **options)  # type: ignore[arg-type]
    assert isinstance(made, FreshContainer)
    return made.command(TASK, TaskContext(0, 1, "/w", environment or ENVIRONMENT))


@pytest.mark.parametrize(
    ("programs", "found"),
    [
        (["podman", "shifter", "apptainer"], "shifter"),
        (["podman", "apptainer", "podman-hpc"], "podman-hpc"),
        (["podman", "ch-run", "apptainer"], "apptainer"),
        (["podman", "ch-run"], "ch-run"),
        (["podman"], "podman"),
    ],
)
def test_the_engine_is_found(install: Install, tmp_path: Path, programs: list[str], found: str) -> None:
    """Without a name, it is the first of the table that is installed."""
    install(*programs)

    assert (found, str(tmp_path / found)) == (command().argv[0], command().program)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "docker"}, "there is no container engine 'docker'; known are: shifter, podman-hpc, apptainer,"),
        ({"engine": "apptainer"}, "apptainer is not on PATH; install it,"),
        ({"engine": "charliecloud", "gpu": True}, "engine charliecloud has no gpu (engines that have: shifter,"),
        (
            {"engine": "podman", "modules": ("m",)},
            "engine podman has no modules (engines that have: shifter, podman-hpc)",
        ),
        (
            {"engine": "shifter", "hold": True},
            "engine shifter has no hold (engines that have: podman-hpc, podman); its",
        ),
        (
            {"engine": "shifter", "hold": True},
            "its options are: arguments, engine, env, gpu, image, keep, modules, setup,",
        ),
        ({"image": ""}, "image is empty; name the image"),
        ({"volumes": ("/a:/b", "/c")}, "volumes: '/c' is not of the form SOURCE:DESTINATION"),
        ({"volumes": (":/c",)}, "volumes: ':/c' is not"),
        ({"volumes": ("$NOWHERE/a:/b",)}, "volumes is '$NOWHERE/a', and the environment lacks a variable of it"),
        ({"env": ("A=1", "PROC_NUMBER=9")}, "env cannot set PROC_NUMBER, which is the farmer's"),
        ({"env": ("A", "1B=2")}, "env: '1B=2' is neither a variable's NAME nor NAME=VALUE"),
        ({"tempdir": True, "workdir": "/w"}, "tempdir and workdir are two places"),
        ({"keep": "failed"}, "keep is about the directories of tasks; it needs tempdir = true"),
        ({"engine": "podman", "hold": True, "tempdir": True, "keep": "failed"}, "keep does not go with hold"),
    ],
)
def test_an_option_that_cannot_be_obeyed_is_refused(install: Install, options: dict[str, object], message: str) -> None:
    """In one line that says which it is, and what there is instead."""
    install("shifter", "podman-hpc", "ch-run", "podman")

    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        container(**{"image": "im", **options})  # type: ignore[arg-type]

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("engine", ["charliecloud", "apptainer"])
def test_the_shell_must_be_in_the_image(install: Install, tmp_path: Path, engine: str) -> None:
    """Of an image that is a directory, a shell that is not there is known before a thousand tasks miss it."""
    install("ch-run", "apptainer")
    image = tmp_path / "image"
    (image / "usr/bin").mkdir(parents=True)
    (image / "bin").symlink_to("usr/bin")
    (image / "usr/bin/sh").symlink_to("/usr/bin/somewhere")
    (image / "opt").symlink_to("/no/such/place")
    expected = f"the image {image} has no /bin/bash; set the option shell to one that it has, such as /bin/sh"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        container(image=str(image), engine=engine)
    for shell in ("/bin/sh", "bash", "/opt/bash"):
        container(image=str(image), engine=engine, shell=shell)
    container(image=str(image), engine=engine, volumes=("/bin:/bin",))


def test_no_engine_at_all_is_said(install: Install) -> None:
    """The programs that would do are listed."""
    with pytest.raises(
        ValueError, match=r"no container engine is on PATH \(shifter, podman-hpc, apptainer, ch-run, po"
    ):
        container(image="im")


def test_hold_makes_another_kind_of_runner(install: Install) -> None:
    """With `hold`, a runner of workers; without, one of commands; never both."""
    install("podman")

    held, fresh = (container(image="im", engine="podman", hold=hold) for hold in (True, False))

    assert isinstance(held, HeldContainer)
    assert [True, False] == [hasattr(each, "worker") for each in (held, fresh)]
    assert [False, True] == [hasattr(each, "command") for each in (held, fresh)]


@pytest.mark.parametrize("engine", ["shifter", "podman-hpc", "apptainer", "charliecloud", "podman"])
class TestEveryEngine:
    def test_is_given_the_variables_of_the_task(self, install: Install, engine: str) -> None:
        """The task's own variables and those asked for are set inside; a name that is not set is left out."""
        install("shifter", "podman-hpc", "ch-run", "podman", "apptainer")
        made = command(engine=engine, env=("HERE", "NOWHERE", "A=b c", "PATH=/opt"))

        prefix = "APPTAINERENV_" if engine == "apptainer" else ""
        wanted = {"PROC_NUMBER": "7", "PYTASKFARMER_TASK_ID": "7", "HERE": "h", "A": "b c", "PATH": "/opt"}
        if engine.startswith("podman"):
            words = [made.argv[at + 1] for at, word in enumerate(made.argv) if word == "--env"]
            assert ["HERE", "PROC_NUMBER", "PYTASKFARMER_TASK_ID", "A=b c", "PATH=/opt"] == words
            assert {"BASH_ENV": ""} == made.environment
        else:
            assert {"BASH_ENV": "", **{prefix + name: value for name, value in wanted.items()}} == made.environment

    def test_is_told_who_the_user_is(self, install: Install, engine: str) -> None:
        """Where the environment does not have USER, it is set."""
        install("shifter", "podman-hpc", "ch-run", "podman", "apptainer")

        assert command({"PATH": "/bin"}, engine=engine).environment["USER"]

    def test_is_given_absolute_sources_of_volumes(
        self, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
    ) -> None:
        """A relative one is meant from where the farmer is, and never the name of a volume that an engine keeps."""
        install("shifter", "podman-hpc", "ch-run", "podman", "apptainer")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/h")
        words = command(engine=engine, volumes=("data:/data", "../b:/b:ro", "/z:/z", "~/e:/e", "$HOME/f:/f")).argv

        volumes = [word.removeprefix("--volume=") for word in words if ":/" in word]
        assert [f"{tmp_path}/data:/data", f"{tmp_path}/../b:/b:ro", "/z:/z", "/h/e:/e", "/h/f:/f"] == volumes

    def test_leaves_its_tidying_to_the_farmer_or_does_it(self, install: Install, engine: str) -> None:
        """Where containers are no descendants, one is removed by its name unless its program ended with 0."""
        install("shifter", "podman-hpc", "ch-run", "podman", "apptainer")
        made = command(engine=engine)

        if not engine.startswith("podman"):
            assert made.finish is None
            return
        assert made.finish is not None
        name = made.argv[made.argv.index("--name") + 1]
        assert made.finish(0) is None
        for status in (1, 126, 143, -9, -15):
            removal = made.finish(status)
            assert removal is not None
            assert (engine, "rm", "--force", "--ignore", "--time", "0", name) == removal.argv


def test_no_two_containers_have_the_same_name(install: Install) -> None:
    """Neither of one runner nor of two that run the same task."""
    install("podman")
    made = container(image="im", engine="podman")
    assert isinstance(made, FreshContainer)
    context = TaskContext(0, 1, "/w", ENVIRONMENT)

    commands = [made.command(TASK, context) for _ in range(20)] + [command(engine="podman") for _ in range(20)]

    assert 40 == len({each.argv[each.argv.index("--name") + 1] for each in commands})


def test_tempdir_is_a_new_directory_and_goes(install: Install, tmp_path: Path) -> None:
    """Each command has a directory of its own, which is there until the command is finished."""
    install("apptainer")
    place = tmp_path / "scratch"
    place.mkdir()
    made = container(image="im.sif", tempdir=str(place))
    assert isinstance(made, FreshContainer)
    context = TaskContext(0, 1, "/w", ENVIRONMENT)

    commands = [made.command(TASK, context) for _ in range(2)]
    directories = [each.argv[each.argv.index("--pwd") + 1] for each in commands]

    assert 2 == len(set(directories))
    assert [True, True] == [os.path.isdir(directory) for directory in directories]
    for each in commands:
        assert each.finish is not None
        assert each.finish(0) is None
    assert [False, False] == [os.path.exists(directory) for directory in directories]
    made.close()
    assert [] == list(place.iterdir())
