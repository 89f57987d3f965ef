"""The Shifter runner of PyTaskFarmer 0.1.0, under its old name and with its exact command line.

It differs in what was broken there. Without a `setup`, 0.1.0 handed ` && TASK` to the shell, which is a syntax error;
of several modules, each in an option of its own, Shifter obeyed the last; and the directories of `tempdir` were never
removed.
"""

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task

from .recipe import check_volumes, finisher, installed, surroundings
from .scratch import Scratch


class ShifterRunner:
    """Runs each task inside a Shifter container, with the command line of PyTaskFarmer 0.1.0.

    Options:

    - `image`: the image, such as `docker:user/name:tag`.
    - `setup`: shell commands to run before each task (`SETUP && TASK`).
    - `volumes`: directories to be seen inside, as `SOURCE:DESTINATION`, separated by blanks.
    - `modules`: Shifter modules, separated by blanks.
    - `tempdir`: whether each task begins in a fresh directory, which is removed afterwards; it is made in $TMPDIR or
      /tmp, which the site's configuration must mount.

    The runner `container` with `engine = shifter` has more options.
    """

    def __init__(
        self,
        image: str,
        setup: str = "",
        volumes: tuple[str, ...] = (),
        modules: tuple[str, ...] = (),
        tempdir: bool = False,
    ) -> None:
        self._program = installed("shifter")
        check_volumes(volumes)
        self._image, self._setup, self._volumes, self._modules = image, setup, volumes, modules
        self._scratch = Scratch.wanted(tempdir, "never")

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the process that runs the line of `task`."""
        directory = self._scratch.fresh(task, context) if self._scratch else ""
        argv = (
            *("shifter", "--image", self._image),
            *([f"--workdir={directory}"] if directory else []),
            *(f"-V{volume}" for volume in self._volumes),
            *([f"-m{','.join(self._modules)}"] if self._modules else []),
            *("--", "/bin/bash", "-c", f"{self._setup} && {task.text}" if self._setup.strip() else task.text),
        )
        finish = finisher(self._scratch, directory, None)
        return Command(argv, self._program, surroundings(context), finish=finish)

    def close(self) -> None:
        """Remove the directories that are left."""
        if self._scratch:
            self._scratch.close()
