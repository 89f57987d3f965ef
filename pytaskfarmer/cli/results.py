"""`pytaskfarmer results TASKLIST|WORKDIR`: what the tasks have returned."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import click

from pytaskfarmer.errors import FarmError, UsageError
from pytaskfarmer.plugins import registry
from pytaskfarmer.views import state, words
from pytaskfarmer.workdir import records, results

_PICKLE = b"\x80"


@click.command("results", short_help="Print what tasks have returned, or one value merged from it.")
@click.argument("workdir")
@click.option(
    "--merge", metavar="MODULE:FUNCTION",
    help="Print one value: the results put together, two at a time and in the order of ids, by this function.",
)  # fmt: skip
def command(workdir: str, merge: str | None) -> int:
    """Print what the tasks that have finished returned, as one JSON object a line: {"id": 0, "result": ...}.

    Only tasks of runners such as `python` and `hep` return something; what calls of a `Pool` returned, the same calls
    return again. WORKDIR may also be the task list, if its work directory has the usual name. The exit status is 1 if a
    task of the list has no result.
    """
    layout = state.workdir_of(workdir)
    finished = frozenset(records.ids(layout.finished))
    found = {task_id: result for task_id, result in results.latest(layout).items() if task_id in finished}
    if merge is None:
        for task_id, value in _values(found):
            print(json.dumps({"id": task_id, "result": value}))
    elif found:
        sys.path.insert(0, os.getcwd())  # as for `python3 -m`
        with contextlib.redirect_stdout(sys.stderr):  # what the user's module prints is no part of the value
            value = _merged(merge, (value for _, value in _values(found)))
        print(json.dumps(value))
    now = state.read(layout)
    lacking = {
        "returned nothing": len(finished) - len(found),
        "failed": now.failed,
        "not finished": now.tasks - len(finished) - now.failed,
    }
    why = ", ".join(f"{number:,} {what}" for what, number in lacking.items() if number > 0)
    if not why:
        return 0
    sys.stdout.flush()  # what is missing is told below what is there
    of = f"{now.tasks - len(found):,} of {words.count(now.tasks, 'task')}"
    print(f"pytaskfarmer: {of} without a result: {why}", file=sys.stderr)
    return 1


def _values(found: Mapping[int, results.Result]) -> Iterator[tuple[int, Any]]:
    for task_id, result in found.items():
        data = result.read()
        assert data is not None
        if data.startswith(_PICKLE):
            raise UsageError(
                f"the result of task {task_id} is a Python object. In Python, the same calls of the same "
                "Pool(workdir=...) return it at once; printed here are results of runners such as python and hep."
            )
        try:
            yield task_id, json.loads(data)
        except ValueError:
            raise UsageError(f"the result of task {task_id} is not JSON; it can be read from {result.file}.") from None


def _merged(name: str, values: Iterator[Any]) -> Any:
    function = registry.function(name, "--merge")
    try:
        return reduce(function, values)
    except FarmError:
        raise
    except (Exception, SystemExit) as error:
        raise FarmError(f"--merge {name} failed: {type(error).__name__}: {error}") from error
