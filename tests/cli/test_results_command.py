import json
import time

import pytest
from desk import COMMAND, FARM, Desk

from pytaskfarmer import Pool
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.results import Results

CALLS = """
print('imported')

def double(number):
    return 2 * number

def nothing():
    pass

def add(a, b):
    print('adding')
    return a + b
"""


@pytest.fixture
def ended(desk: Desk) -> Desk:
    """A desk with a run of which some tasks have returned something."""
    (desk / "sums.py").write_text(CALLS)
    desk.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    desk.write("tasks.txt", "sums:double 1", "sums:double 2", "sums:nothing", "sums:double", "sums:double 3")
    assert 1 == desk.run(FARM, "tasks.txt", "-r", "python", "-n", "1").status
    return desk


def test_what_is_not_there_is_counted_by_its_reason(ended: Desk) -> None:
    """The status is 1 if a task has no result, and whether it returned none, failed or did not run is told."""
    found = ended.look("results", "tasks.txt")
    assert (1, [(0, 2), (1, 4), (4, 6)]) == (
        found.status,
        [(row["id"], row["result"]) for row in map(json.loads, found.lines)],
    )
    assert "pytaskfarmer: 2 of 5 tasks without a result: 1 returned nothing, 1 failed\n" == found.err
    ended.look("retry", "tasks.txt")
    assert (
        "pytaskfarmer: 2 of 5 tasks without a result: 1 returned nothing, 1 not finished\n"
        == ended.look("results", "tasks.txt").err
    )


def test_results_of_a_pool(desk: Desk) -> None:
    """Are Python objects: one line says how to have them, and the status is that of an error."""
    with Pool(1, workdir=desk / "calls") as pool:
        assert [1] == pool.map(abs, [-1])
    found = desk.run(COMMAND, "results", "calls")
    assert (2, "") == (found.status, found.out)
    assert (
        "pytaskfarmer: error: the result of task 0 is a Python object. In Python, the same calls of the same "
        "Pool(workdir=...) return it at once; printed here are results of runners such as python and hep.\n"
    ) == found.err


def test_a_result_of_other_bytes(ended: Desk) -> None:
    """What a runner of somebody's own has returned may be anything: one line names the file, and it is no traceback."""
    layout = Layout(str(ended / "tasks.txt_workdir"))
    results = Results(layout, "elsewhere-1-s1-0")
    results.keep(Attempt(Task(2, "sums:nothing"), 2, 0, Outcome.SUCCESS, 0, time.time(), 0.1), b"\xff")
    results.close()
    found = ended.look("results", "tasks.txt")
    assert (2, 2) == (found.status, len(found.lines))
    told = f"pytaskfarmer: error: the result of task 2 is not JSON; it can be read from {layout.results}"
    assert found.err.startswith(told)


def test_what_a_merging_module_prints_is_no_part_of_the_value(ended: Desk) -> None:
    """Standard output is the merged value alone; what the user's code prints goes to standard error."""
    merged = ended.run(COMMAND, "results", "tasks.txt", "--merge", "sums:add")
    assert ["12"] == merged.lines
    assert ["imported", "adding", "adding"] == merged.err.splitlines()[:3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nosuch:add",
            "--merge: function 'nosuch:add': there is no module 'nosuch' in the current directory or on Python's ",
        ),
        ("sums", "--merge: function 'sums': 'sums' is not of the form module:function"),
        ("sums:nosuch", "--merge: function 'sums:nosuch': module 'sums' ("),
    ],
)
def test_a_function_that_cannot_merge(ended: Desk, name: str, message: str) -> None:
    """What is wrong with its name is one line."""
    found = ended.run(COMMAND, "results", "tasks.txt", "--merge", name)
    assert (2, "") == (found.status, found.out)
    assert found.err.removeprefix("imported\n").startswith(f"pytaskfarmer: error: {message}")
