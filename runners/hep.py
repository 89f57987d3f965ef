"""The runner for data of particle physics: a task is a range of events, or a chunk of cut settings.

Opening a data set takes longer than much of what is asked about it. A worker opens it once and answers task after task,
so that tasks may be small: a farm hands those out evenly, and loses little of them when it is killed.
"""

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task, encode
from pytaskfarmer.worker.servant import command

from .calls import check_counts, check_functions, directories

OVER = ("events", "settings")


class Hep:
    """Runs a function over ranges of events of CSV and ROOT files, in one worker a slot that opens each file once.

    A task's line is `FILE[:TREE] FIRST COUNT`, and `key=value` words if the function knows any:

        data/zee.root:events 20000 10000 region=barrel

    FIRST counts from 0. TREE may be left out where the file has one tree only. Words are separated by blanks, quotes
    work as in a shell, and values are read as the `python` runner reads them: JSON, or else text.

    The function is called as `process(events, task)`. For a ROOT file, `events` is an awkward array. For a CSV file, a
    header and one event a line, it is a table: `events["name"]` is a column of doubles, of which
    `numpy.asarray(events["name"])` is a view; `len(events)`, `events.fields` and `events[a:b]` are what they are for an
    awkward array. `task` has `file`, `tree`, `first`, `count`, `id`, `attempt` and `options`, a dict of the line's
    keys and values. What it returns is the task's result, as with the `python` runner; `pytaskfarmer results WORKDIR
    --merge module:function` puts the results together.

    Without `function` the tasks are chunks of the settings of the built-in scan of rectangular cuts, over all events
    of the file; `pytaskfarmer.runners.cut_scan:merge` merges its results.

    Options:

    - `function`: `module:function` to call for each task; by default, the cut scan.
    - `setup`: `module:function` to call without arguments when a worker starts.
    - `over`: what FIRST and COUNT are about. `events` (the default): a range of events, and the function gets these.
      `settings` (always so for the cut scan): whatever the function counts, and it gets all events.
    - `cuts`: for the cut scan, the places tried for the cut in each of the eight variables; by default 3. There are
      cuts**8 settings.
    - `branches`: the branches or columns to read, separated by blanks; by default, all.
    - `keep`: how many data sets a worker keeps open.
    - `max_tasks`: after how many tasks a worker is replaced by a new one; by default, never.
    - `path`: directories to import from, after the current directory and before where Python looks.
    """

    concurrency = 1

    def __init__(
        self,
        *,
        function: str | None = None,
        setup: str | None = None,
        over: str | None = None,
        cuts: int | None = None,
        branches: tuple[str, ...] = (),
        keep: int = 4,
        max_tasks: int | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        check_functions(function=function, setup=setup)
        check_counts(cuts=cuts, keep=keep, max_tasks=max_tasks)
        if over is not None and over not in OVER:
            raise ValueError(f"over is {over!r}; it must be {' or '.join(OVER)}")
        if function is None and (over == "events" or branches):
            raise ValueError(
                f"{'branches' if branches else 'over = events'} is for a function of your own, and without the option "
                "function this is the cut scan, which reads what it needs of all events"
            )
        if function is not None and cuts is not None:
            raise ValueError("cuts is for the cut scan, which the option function replaces; leave out one of the two")
        self.max_tasks = max_tasks
        self._options = {
            "function": function,
            "setup": setup,
            "over": over or "events",
            "cuts": cuts or 3,
            "branches": branches,
            "keep": keep,
            "path": directories(path),
        }

    def worker(self, context: TaskContext) -> Command:
        """Return the process that opens data sets, in the farmer's current directory."""
        return command("pytaskfarmer.runners.hep_servant:HepServant", self._options)

    def request(self, task: Task, context: TaskContext) -> bytes:
        """Return the line of `task`."""
        return encode(task.text)
