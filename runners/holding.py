"""One container that is kept, and the worker that runs tasks in it.

Starting a container may take longer than a task does, and a node starts few at a time. So the worker starts one that
idles, and runs each task in it by the engine's `exec`.

What does not work: ending a task from outside. A client of `exec` that is killed leaves its command running in the
container. So with a task that has to be killed the worker goes, the farmer removes the container (`finish`), and the
next task gets a new one. If it is only the client that dies, or if the container no longer answers, the worker replaces
it by itself: a broken container fails one task, not all that come after.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytaskfarmer.errors import FarmError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task, decode, encode, printable
from pytaskfarmer.worker.servant import TaskFacts
from pytaskfarmer.worker.servant import command as worker_command

from . import engines
from .engines import ENGINES
from .recipe import Recipe, finisher, new_name, surroundings
from .scratch import Scratch
from .shell import shell_words

_PATIENCE = 30.0
"""Seconds for which a container that has started may fail to answer."""


class HeldContainer:
    """Runs tasks in a container that its slot keeps."""

    concurrency = 1
    max_tasks: int | None = None

    def __init__(self, recipe: Recipe, scratch: Scratch | None = None) -> None:
        self._recipe, self._scratch = recipe, scratch

    def worker(self, context: TaskContext) -> Command:
        """Return the process that starts a container and runs tasks in it; with its end the container goes."""
        recipe = self._recipe
        name = new_name()
        # One directory for all tasks of this container: it is mounted before the first of them is known.
        directory = self._scratch.fresh(Task(context.slot, ""), context) if self._scratch else ""
        launch = recipe.launch(name, _idle(recipe.shell), (), directory)
        command = worker_command(
            "pytaskfarmer.runners.holding:Holder",
            {
                "engine": recipe.engine.name,
                "name": name,
                "start": engines.hold(recipe.engine, launch),
                "shell": recipe.shell,
                "setup": recipe.setup,
                "assignments": recipe.assignments(),
                "tempdir": directory,
            },
        )

        def removal(status: int) -> Command:
            return recipe.removal(name)

        finish = finisher(self._scratch, directory, removal)
        return replace(command, environment={**command.environment, **surroundings(context)}, finish=finish)

    def request(self, task: Task, context: TaskContext) -> bytes:
        """Return the line of `task` and the variables that it must find."""
        return encode(json.dumps([task.text, self._recipe.handed_on(context)], ensure_ascii=False))

    def close(self) -> None:
        """Remove the directories that are left."""
        if self._scratch:
            self._scratch.close()


class Holder:
    """Starts a container and runs tasks in it, one at a time.

    `start` is the command line that starts it, under the name `name`. If there is a `tempdir`, a directory that the
    container sees too, each task has a fresh one in there. Raises `FarmError` if the container does not start.
    """

    def __init__(
        self,
        *,
        engine: str,
        name: str,
        start: Sequence[str],
        shell: str,
        setup: str,
        assignments: Mapping[str, str],
        tempdir: str,
    ) -> None:
        self._engine, self._name, self._start = ENGINES[engine], name, start
        self._shell, self._setup, self._assignments, self._tempdir = shell, setup, assignments, tempdir
        self._begin()

    def perform(self, request: bytes, task: TaskFacts) -> None:
        """Run the line of a request; raises `SystemExit` with its status if that is not 0."""
        line, handed_on = json.loads(decode(request))
        variables = engines.variable_words(handed_on, self._assignments)
        words = shell_words(self._shell, line, self._setup)
        with self._directory() as directory:
            argv = engines.enter(self._engine, self._name, variables, directory, words)
            status = _status(argv, {**os.environ, **handed_on})
        if status < 0 or (status and not self._answers()):
            _status(engines.remove(self._engine, self._name), output=subprocess.DEVNULL)
            self._begin()
        if status:
            raise SystemExit(status if status > 0 else 128 - status)

    def _begin(self) -> None:
        program = self._engine.program
        with tempfile.TemporaryFile() as said:  # no pipe: whoever watches the container may keep it open
            if status := _status(self._start, output=said.fileno()):
                said.seek(0)
                last = decode(said.read().strip().rpartition(b"\n")[2]) or "it said nothing"
                raise FarmError(f"{program} cannot start a container (status {status}): {printable(last)}")
        give_up = time.monotonic() + _PATIENCE
        while not self._answers():
            if time.monotonic() > give_up:
                raise FarmError(f"the container {self._name} runs, but in {_PATIENCE} s `{program} exec` never worked")
            time.sleep(0.1)

    def _answers(self) -> bool:
        argv = engines.enter(self._engine, self._name, (), "", (self._shell, "-c", ":"))
        return _status(argv, output=subprocess.DEVNULL) == 0

    @contextlib.contextmanager
    def _directory(self) -> Iterator[str]:
        """Yield a fresh directory for one task, or "" if tasks have none."""
        if not self._tempdir:
            yield ""
            return
        directory = tempfile.mkdtemp(dir=self._tempdir)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _status(argv: Sequence[str], environment: Mapping[str, str] | None = None, output: int | None = None) -> int:
    """Run a program to its end and return its status, or minus a signal's number."""
    words = [encode(word) for word in argv]
    try:
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    except OSError as error:
        raise FarmError(f"cannot start {argv[0]}: {error.strerror}") from error
    return done.returncode


def _idle(shell: str) -> tuple[str, ...]:
    """Return a command that keeps a container alive until it is removed."""
    return (shell, "-c", "while :; do sleep 3600; done")
