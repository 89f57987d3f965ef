"""The Python runner: a task is a call of a Python function, in a worker that is there already.

Starting Python and importing what a function needs takes longer than many a function does. A worker pays it once, and
is then handed task after task.
"""

import os
import shutil

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task, encode
from pytaskfarmer.worker.servant import command

from .calls import check_counts, check_functions, directories


class Python:
    """Calls a Python function for each task, in one worker a slot that starts and imports once.

    A task's line is `module:function` and the arguments:

        fits:fit data/run7.csv 20 0.5 model=gauss 'bins=[10, 20]' 'title="5"'

    calls `fit("data/run7.csv", 20, 0.5, model="gauss", bins=[10, 20], title="5")` of the module `fits`.

    - Words are separated by blanks. Quotes and backslashes work as in a shell, and nothing else does: no variables, no
      wildcards, no comments.
    - A word that is a Python identifier, `=` and a value is a keyword argument. Any other is a positional one.
    - A value that is JSON is what it says: a number, `true`, `false`, `null`, a list, an object, a text in double
      quotes. Any other value is text as it stands: `run7`, `010`, `.5`, `True`, `NaN`, the empty one. The quotes of
      JSON need quotes around them: `'"5"'` is the text 5, and `'"a=b"'` is positional.

    If `function` is given, the whole line is its one argument, as text.

    What a function prints goes to its task's log. What it returns is the task's result, if it is not None; it must be
    what JSON can say, or have a `tolist` that gives such, as numbers and arrays of numpy do. An exception makes the
    task fail, with the traceback in its log; so does an exit status other than 0 given to `sys.exit`.

    Options:

    - `function`: `module:function` to call with each line, instead of the one that the line names.
    - `setup`: `module:function` to call without arguments when a worker starts; not `async def`.
    - `concurrency`: how many calls of `async def` functions one worker may hold in flight. Above 1, other functions
      are refused, since they would run one after another.
    - `max_tasks`: after how many tasks a worker is replaced by a new one; by default, never.
    - `python`: the interpreter, which must have this package installed; by default, the farmer's own.
    - `path`: directories to import from, after the current directory and before where Python looks.
    """

    def __init__(
        self,
        *,
        function: str | None = None,
        setup: str | None = None,
        concurrency: int = 1,
        max_tasks: int | None = None,
        python: str | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        check_functions(function=function, setup=setup)
        check_counts(concurrency=concurrency, max_tasks=max_tasks)
        if python is not None and shutil.which(python := os.path.expanduser(python)) is None:
            raise ValueError(f"python is {python!r}, but there is no such program; give the path of an interpreter")
        self.concurrency = concurrency
        self.max_tasks = max_tasks
        self._python = python
        self._options = {
            "function": function,
            "setup": setup,
            "path": directories(path),
            "concurrency": concurrency,
        }

    def worker(self, context: TaskContext) -> Command:
        """Return the process that calls functions, in the farmer's current directory."""
        return command("pytaskfarmer.runners.calls:Calls", self._options, self._python)

    def request(self, task: Task, context: TaskContext) -> bytes:
        """Return the line of `task`."""
        return encode(task.text)
