"""The default runner: a task is a line of shell.

The line runs exactly as `bash -c LINE` would run it; where there is no bash, as `sh -c LINE`. Starting bash takes about
as long as a short task does, and for a line of plain words it does nothing but look up a program and become it. Such a
line is started without bash, as make does; nobody can tell except by the clock. Whenever there is a doubt, bash runs:

- the line has a character that might mean something, or its first word is not a program (`plain`);
- bash would say something, or change the environment in a way that cannot be repeated (`handover`);
- the program is not found, or the kernel refuses it: the message and the status, 126 or 127, are bash's to give.
"""

import os

from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task

from .handover import Handovers
from .plain import executable, plain_words


class Shell:
    """Runs each task as `bash -c LINE`, or `sh -c LINE` where there is no bash on PATH.

    Raises `UsageError` where there is no `sh` either.
    """

    def __init__(self) -> None:
        directories = [directory or "." for directory in os.environ.get("PATH", os.defpath).split(":")]
        for name in ("bash", "sh"):
            if program := executable(name, directories):
                break
        else:
            raise UsageError("neither bash nor sh is on PATH, and tasks need one of them; add its directory to PATH")
        self._name, self._program = name, program
        self._handovers = Handovers(program) if name == "bash" else None

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the process that runs the line of `task` in the farmer's current directory."""
        shell = Command(argv=(self._name, "-c", task.text), program=self._program)
        return self._direct(task.text, context, shell) or shell

    def _direct(self, line: str, context: TaskContext, shell: Command) -> Command | None:
        """Return the program that `line` names, if `shell` would do nothing but become it."""
        if self._handovers is None or (words := plain_words(line)) is None:
            return None
        handover = self._handovers.under(context.environment)
        if handover is None or words[0] in handover.functions:
            return None
        program = executable(words[0], handover.directories)
        if program is None:
            return None
        return Command(tuple(words), program, {**handover.changes, "_": program}, fallback=shell)
