"""The container runner: a task is a line of shell, run by the shell of an image.

`container` reads the options and returns one of two runners. `FreshContainer` starts one for each task, and the
process of the engine is the task's process. `HeldContainer` keeps one container a slot, in which a worker runs task
after task (see `holding`).

Invariant: when a slot is free, nothing of its container runs. Where the container's processes descend from the engine's
program, the farmer kills them as it kills those of any task. Where they do not, the command's `finish` removes the
container by its name. A program that ended with 0 has seen its container end. After anything else the container may
live, or be half made: a client that is told to stop while it starts one exits as if it had failed by itself.

Where it fails: if the farmer is killed, nobody calls `finish`. Its guard then kills the container's processes, since
their monitor has become its child; but not those that belong to another user id inside, and the engine's own record of
the container stays until `ENGINE rm NAME`.
"""

import os
import re
import shutil

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task

from . import engines
from .engines import ENGINES, Engine
from .holding import HeldContainer
from .recipe import Recipe, check_volumes, finisher, from_here, installed, new_name, surroundings
from .scratch import Scratch
from .shell import shell_words

_TAKEN_BY_ALL = ("arguments", "engine", "env", "image", "keep", "setup", "shell", "tempdir", "volumes", "workdir")
_OF_DIRECTORIES = ("apptainer", "charliecloud")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class FreshContainer:
    """Runs each task in a container of its own."""

    def __init__(self, recipe: Recipe, scratch: Scratch | None = None) -> None:
        self._recipe, self._scratch = recipe, scratch

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the engine's process that runs the line of `task`."""
        recipe = self._recipe
        name = new_name()
        directory = self._scratch.fresh(task, context) if self._scratch else ""
        handed_on, assignments = recipe.handed_on(context), recipe.assignments()
        variables = engines.variable_words(handed_on, assignments)
        words = shell_words(recipe.shell, task.text, recipe.setup)
        argv = engines.run(recipe.engine, recipe.launch(name, words, variables, directory))
        environment = {**surroundings(context), **engines.inside(recipe.engine, handed_on | assignments)}

        def removal(status: int) -> Command | None:
            return recipe.removal(name) if status else None

        return Command(
            argv, recipe.program, environment,
            finish=finisher(self._scratch, directory, removal if recipe.engine.detaches else None),
        )  # fmt: skip

    def close(self) -> None:
        """Remove the directories that are left."""
        if self._scratch:
            self._scratch.close()


def container(
    *,
    image: str,
    engine: str | None = None,
    volumes: tuple[str, ...] = (),
    modules: tuple[str, ...] = (),
    setup: str = "",
    shell: str = "/bin/bash",
    env: tuple[str, ...] = (),
    gpu: bool = False,
    workdir: str = "",
    tempdir: str | bool = False,
    keep: str = "never",
    arguments: tuple[str, ...] = (),
    hold: bool = False,
) -> FreshContainer | HeldContainer:
    """Runs each task inside a container: shifter, podman-hpc, apptainer, charliecloud or podman.

    A task is a line of shell. If there is a `setup`, its lines run first, in the same shell, and unless they succeed
    the task does not begin. Nothing in the task's line can change how `setup` is read. The variables of a task
    (`PROC_NUMBER`, `PYTASKFARMER_...`) are set inside, whatever the engine; `BASH_ENV` is empty.

    Options:

    - `image`: what the engine calls an image: a name, a file, a directory.
    - `engine`: one of the above. Without it, the first of them that is installed.
    - `volumes`: directories to be seen inside, as `SOURCE:DESTINATION`, separated by blanks. A relative source is meant
      from the directory in which the farmer is started.
    - `modules`: modules of shifter; for podman-hpc, its options of that name (`cvmfs` is `--cvmfs`).
    - `setup`: shell commands to run before each task.
    - `shell`: the shell in the image. Small images may have only /bin/sh.
    - `env`: variables to be set inside, as NAME (handed on) or NAME=VALUE, separated by blanks.
      Shifter and charliecloud are started with them too; what a shifter image sets itself, it keeps.
    - `gpu`: whether the node's GPUs are to be seen inside; not for charliecloud, whose images hold the drivers.
    - `workdir`: the directory inside where tasks begin. The default is the engine's: shifter and apptainer go where the
      farmer is, if they can, podman to what the image says, charliecloud to `/`.
    - `tempdir`: true for a fresh directory of each task, in which it begins and which is removed afterwards. It is made
      in $TMPDIR or /tmp of the node; an absolute path is another place. It has the same path inside, except that
      charliecloud shows it as /tmp. Shifter does not mount it: the site's configuration must, as it does with /tmp.
    - `keep`: which of these directories are kept: `never` (the default), `failed` for those of attempts that failed or
      were stopped, or `always`. The task's log says where.
    - `arguments`: words for the engine, to stand before the image. Podman's `--init` lets a task end at the stop
      signal; without, what runs first in a container of Podman's does not hear it, and is killed after the grace.
    - `hold`: whether each slot keeps one container, in which its tasks run one after another (podman-hpc, podman).
      That is for engines that start containers slowly. What a task leaves running goes with the container, not before;
      and the image's entry point sees none of the tasks.
    """
    row, program = _engine(engine)
    for option, value in (("modules", modules), ("gpu", gpu), ("hold", hold)):
        if value and option not in row.takes:
            takes = ", ".join(sorted({*_TAKEN_BY_ALL, *row.takes}))
            able = ", ".join(other.name for other in ENGINES.values() if option in other.takes)
            raise ValueError(f"engine {row.name} has no {option} (engines that have: {able}); its options are: {takes}")
    if not image:
        raise ValueError("image is empty; name the image to run tasks in")
    check_volumes(volumes)
    if row.name in _OF_DIRECTORIES and "/" in image and not volumes:
        _check_shell(image, shell)
    for word in env:
        if not _VARIABLE.fullmatch(word.partition("=")[0]):
            raise ValueError(f"env: {word!r} is neither a variable's NAME nor NAME=VALUE")
        if word.startswith(("PROC_NUMBER=", "PYTASKFARMER_")) and "=" in word:
            raise ValueError(f"env cannot set {word.partition('=')[0]}, which is the farmer's")
    scratch = Scratch.wanted(tempdir, keep)
    if scratch and workdir:
        raise ValueError("tempdir and workdir are two places to begin in; keep one of them")
    if hold and keep != "never":
        raise ValueError(
            "keep does not go with hold, since a held container's directory goes with it; drop one of them"
        )
    recipe = Recipe(row, program, image, from_here(volumes), modules, setup, shell, env, gpu, workdir, arguments)
    return HeldContainer(recipe, scratch) if hold else FreshContainer(recipe, scratch)


def _check_shell(image: str, shell: str) -> None:
    """Raise `ValueError` if the image is a directory that does not have the shell: every task would fail."""
    root, where = os.path.realpath(image), os.path.realpath(image + os.path.dirname(shell))
    if not os.path.isdir(root) or not shell.startswith("/") or not where.startswith(root + os.sep):
        return  # nothing to look at, or a link that leads elsewhere from outside the container
    if not os.path.lexists(os.path.join(where, os.path.basename(shell))):
        raise ValueError(f"the image {image} has no {shell}; set the option shell to one that it has, such as /bin/sh")


def _engine(name: str | None) -> tuple[Engine, str]:
    """Return the engine of that name, or the first that is installed, and the path of its program."""
    if name:
        if name not in ENGINES:
            raise ValueError(f"there is no container engine {name!r}; known are: {', '.join(ENGINES)}")
        remedy = "install it, add its directory to PATH, or choose another engine"
        return ENGINES[name], installed(ENGINES[name].program, remedy)
    for engine in ENGINES.values():
        if path := shutil.which(engine.program):
            return engine, path
    programs = ", ".join(engine.program for engine in ENGINES.values())
    raise ValueError(f"no container engine is on PATH ({programs}); install one, or add its directory to PATH")
