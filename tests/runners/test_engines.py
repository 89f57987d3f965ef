"""The command line of each engine, word for word."""

import subprocess
from dataclasses import replace

import pytest

from pytaskfarmer.runners import engines
from pytaskfarmer.runners.engines import ENGINES, Launch
from pytaskfarmer.runners.shell import shell_words

LINE = "sim 1 'a b'"
BARE = Launch(image="im:1", command=("/bin/bash", "-c", LINE), name="n1")
FULL = replace(
    BARE,
    volumes=("/data:/data", "/x:/y"),
    variables=("PROC_NUMBER", "A=b c"),
    workdir="/w",
    arguments=("--odd", "-1"),
)
MODULES, GPU = {"modules": ("cvmfs", "mpi")}, {"gpu": True}

GOLDEN = [
    ("shifter", BARE, ["shifter", "--image=im:1", "--", "/bin/bash", "-c", LINE]),
    (
        "shifter",
        replace(FULL, **MODULES, **GPU),
        [
            *("shifter", "--image=im:1", "--module=cvmfs,mpi,gpu", "--volume=/data:/data", "--volume=/x:/y"),
            *("--workdir=/w", "--odd", "-1", "--", "/bin/bash", "-c", LINE),
        ],
    ),
    (
        "shifter",
        replace(BARE, modules=("gpu", "cvmfs"), **GPU),
        ["shifter", "--image=im:1", "--module=gpu,cvmfs", "--", "/bin/bash", "-c", LINE],
    ),
    (
        "shifter",
        replace(BARE, tempdir="/tmp/t"),
        ["shifter", "--image=im:1", "--workdir=/tmp/t", "--", "/bin/bash", "-c", LINE],
    ),
    ("podman-hpc", BARE, ["podman-hpc", "run", "--rm", "--name", "n1", "im:1", "/bin/bash", "-c", LINE]),
    (
        "podman-hpc",
        replace(FULL, **MODULES, **GPU),
        [
            *("podman-hpc", "run", "--rm", "--gpu", "--cvmfs", "--mpi", "--name", "n1", "--env", "PROC_NUMBER"),
            *("--env", "A=b c", "-v", "/data:/data", "-v", "/x:/y", "-w", "/w", "--odd", "-1", "im:1"),
            *("/bin/bash", "-c", LINE),
        ],
    ),
    (
        "podman-hpc",
        replace(BARE, tempdir="/tmp/t"),
        [
            *("podman-hpc", "run", "--rm", "--name", "n1", "-v", "/tmp/t:/tmp/t", "-w", "/tmp/t", "im:1"),
            *("/bin/bash", "-c", LINE),
        ],
    ),
    ("podman", BARE, ["podman", "run", "--rm", "--name", "n1", "im:1", "/bin/bash", "-c", LINE]),
    (
        "podman",
        replace(FULL, **GPU),
        [
            *("podman", "run", "--rm", "--device", "nvidia.com/gpu=all", "--name", "n1", "--env", "PROC_NUMBER"),
            *("--env", "A=b c", "-v", "/data:/data", "-v", "/x:/y", "-w", "/w", "--odd", "-1", "im:1"),
            *("/bin/bash", "-c", LINE),
        ],
    ),
    ("apptainer", BARE, ["apptainer", "exec", "im:1", "/bin/bash", "-c", LINE]),
    (
        "apptainer",
        replace(FULL, **GPU),
        [
            *("apptainer", "exec", "--nv", "--bind", "/data:/data", "--bind", "/x:/y", "--pwd", "/w", "--odd", "-1"),
            *("im:1", "/bin/bash", "-c", LINE),
        ],
    ),
    (
        "apptainer",
        replace(BARE, tempdir="/tmp/t"),
        ["apptainer", "exec", "--bind", "/tmp/t:/tmp/t", "--pwd", "/tmp/t", "im:1", "/bin/bash", "-c", LINE],
    ),
    ("charliecloud", BARE, ["ch-run", "im:1", "--", "/bin/bash", "-c", LINE]),
    (
        "charliecloud",
        FULL,
        [
            *("ch-run", "-b", "/data:/data", "-b", "/x:/y", "-c", "/w", "--odd", "-1", "im:1", "--"),
            *("/bin/bash", "-c", LINE),
        ],
    ),
    (
        "charliecloud",
        replace(BARE, tempdir="/tmp/t"),
        ["ch-run", "-b", "/tmp/t:/tmp", "-c", "/tmp", "im:1", "--", "/bin/bash", "-c", LINE],
    ),
]


@pytest.mark.parametrize(("name", "launch", "words"), GOLDEN)
def test_a_container_is_started(name: str, launch: Launch, words: list[str]) -> None:
    """The words, and their order, are those that the engine documents."""
    assert words == list(engines.run(ENGINES[name], launch))


def test_every_engine_is_in_the_table_of_command_lines() -> None:
    """No engine is without a test of its command line."""
    assert set(ENGINES) == {name for name, _, _ in GOLDEN}


@pytest.mark.parametrize("name", ["podman-hpc", "podman"])
def test_a_container_is_held_entered_and_removed(name: str) -> None:
    """One that is held is detached; tasks enter it by its name, and by its name it is removed without waiting."""
    engine = ENGINES[name]
    idle = replace(BARE, command=("/bin/sh", "-c", "idle"))

    assert (name, "run", "--detach", "--rm", "--name", "n1", "im:1", "/bin/sh", "-c", "idle") == engines.hold(
        engine, idle
    )
    assert (name, "exec", "--env", "A", "--env", "B=1", "-w", "/w", "n1", "true") == engines.enter(
        engine, "n1", ["A", "B=1"], "/w", ["true"]
    )
    assert (name, "exec", "n1", "true") == engines.enter(engine, "n1", [], "", ["true"])
    assert (name, "rm", "--force", "--ignore", "--time", "0", "n1") == engines.remove(engine, "n1")


def test_variables_reach_the_inside() -> None:
    """By the engine's environment, by a prefix in it, or by words of the command line that show only given values."""
    variables = {"PROC_NUMBER": "7", "A": "b c"}

    assert ("PROC_NUMBER", "A=b c") == engines.variable_words(["PROC_NUMBER"], {"A": "b c"})
    assert variables == engines.inside(ENGINES["shifter"], variables)
    assert variables == engines.inside(ENGINES["charliecloud"], variables)
    assert {"APPTAINERENV_PROC_NUMBER": "7", "APPTAINERENV_A": "b c"} == engines.inside(ENGINES["apptainer"], variables)
    assert {} == engines.inside(ENGINES["podman"], variables)


SHELL_LINES = [
    ("", "echo a", 0, "a\n"),
    ("", "echo a # b", 0, "a\n"),
    (" ", "exit 3", 3, ""),
    ("x=1", "echo $x", 0, "1\n"),
    ("x=1 # ' ( {", "echo $x", 0, "1\n"),
    ("x=1; f() { echo f$x; }", "f # ; )", 0, "f1\n"),
    ("false; x=1", "echo $x", 0, "1\n"),
    ("x=1; (exit 4)", "echo $x", 4, ""),
    ("exit 5", "echo no", 5, ""),
    ("echo $#", "echo $#", 0, "0\n0\n"),
    ("echo begun", "echo 'a", 2, "begun\n"),
    ("echo begun", "}; echo b; {", 2, "begun\n"),
    ("echo (", "echo no", 2, ""),
]


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize(("setup", "line", "status", "output"), SHELL_LINES)
def test_setup_comes_before_the_line(shell: str, setup: str, line: str, status: int, output: str) -> None:
    """The line runs in the same shell, if `setup` succeeded; no quote or comment of one reaches the other."""
    ended = subprocess.run(
        shell_words(shell, line, setup), check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )

    assert (status, output) == (ended.returncode, ended.stdout.decode())
