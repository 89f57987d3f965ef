"""The `hep` runner: its options, and what a worker of it answers, in this process."""

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytaskfarmer.errors import FarmError
from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.hep import Hep
from pytaskfarmer.runners.hep_servant import HepServant
from pytaskfarmer.task import Task, encode
from pytaskfarmer.worker import TaskFacts

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hep_cuts" / "data" / "sample.csv"
CONTEXT = TaskContext(0, 1, "/w", {})
FACTS = TaskFacts(id=7, attempt=2, slot=0)

ANALYSIS = """\
    begun = []

    def begin():
        begun.append(True)

    def total(events, task):
        return [len(begun), len(events), sum(events["x"])]

    def told(events, task):
        facts = {name: getattr(task, name) for name in task.__slots__}
        return {**facts, "fields": events.fields, "seen": len(events)}

    def numbers(events, task):
        import numpy
        return {"n": numpy.int64(len(events)), "x": numpy.asarray(events["x"]).sum()}

    def unsayable(events, task):
        return {1, 2}

    def nothing(events, task):
        return None
    """

Serve = Callable[..., HepServant]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return `serve(option=value)`: a servant in a directory with a module `analysis` and ten events."""
    (tmp_path / "analysis.py").write_text(textwrap.dedent(ANALYSIS))
    (tmp_path / "ten.csv").write_text("x,y\n" + "".join(f"{i},{-i}\n" for i in range(10)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def serve(**options: Any) -> HepServant:
        command = Hep(**options).worker(CONTEXT)
        assert "pytaskfarmer.runners.hep_servant:HepServant" == command.argv[-2]
        return HepServant(**json.loads(command.argv[-1]))

    yield serve
    sys.modules.pop("analysis", None)


def answer(servant: HepServant, line: str) -> Any:
    returned = servant.perform(encode(line), FACTS)
    return None if returned is None else json.loads(returned)


def refusal(servant: HepServant, line: str) -> str:
    with pytest.raises(FarmError) as error:
        servant.perform(encode(line), FACTS)
    assert 1 == len(str(error.value).splitlines())
    return str(error.value)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"function": "total"}, "function is 'total'; write it as module:function"),
            ({"setup": "analysis.begin"}, "setup is 'analysis.begin'; write it as module:function"),
            ({"cuts": 0}, "cuts is 0; it must be 1 or more"),
            ({"keep": 0}, "keep is 0; it must be 1 or more"),
            ({"max_tasks": -1}, "max_tasks is -1; it must be 1 or more"),
            ({"function": "a:f", "over": "files"}, "over is 'files'; it must be events or settings"),
            ({"function": "a:f", "cuts": 2}, "cuts is for the cut scan, which the option function replaces"),
            ({"over": "events"}, "over = events is for a function of your own"),
            ({"branches": ("x",)}, "branches is for a function of your own"),
            ({"path": ("/no/such",)}, "path names '/no/such', but there is no such directory; correct it"),
        ],
    )
    def test_value_that_cannot_be_used(self, options: dict[str, Any], message: str) -> None:
        """It is refused before anything runs, in one line."""
        with pytest.raises(ValueError, match=f"^{re.escape(message)}[^\n]*$"):
            Hep(**options)

    def test_what_the_farmer_asks(self) -> None:
        """A worker holds one task, lives for as many as is said, and is told the line byte by byte."""
        runner = Hep(max_tasks=9)
        assert (1, 9, None) == (runner.concurrency, runner.max_tasks, Hep().max_tasks)
        assert b"caf\xe9.csv 0 1" == runner.request(Task(0, "caf\udce9.csv 0 1"), CONTEXT)

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"function": "absent:f"}, "there is no module 'absent'"),
            ({"function": "analysis:f"}, "has no 'f'"),
            ({"setup": "analysis:ANALYSIS"}, "has no 'ANALYSIS'"),
        ],
    )
    def test_function_that_is_not_there(self, serve: Serve, options: dict[str, str], complaint: str) -> None:
        """A worker that cannot find what the options name is unfit, and says so in one line."""
        with pytest.raises(FarmError, match=complaint):
            serve(**options)


class TestAFunction:
    def test_gets_the_events_of_its_range(self, serve: Serve) -> None:
        """FIRST and COUNT choose events; `setup` has run once."""
        servant = serve(function="analysis:total", setup="analysis:begin")
        assert [1, 3, 9.0] == answer(servant, "ten.csv 2 3")
        assert [1, 10, 45.0] == answer(servant, "ten.csv 0 10")

    def test_is_told_the_task(self, serve: Serve) -> None:
        """The task has the words of the line, read as JSON or else text, and which attempt it is."""
        told = answer(serve(function="analysis:told"), "'ten.csv' 9 1 region=barrel scale=0.5 bins='[1, 2]' empty=")
        assert {
            "file": "ten.csv",
            "tree": None,
            "first": 9,
            "count": 1,
            "id": 7,
            "attempt": 2,
            "options": {"region": "barrel", "scale": 0.5, "bins": [1, 2], "empty": ""},
            "fields": ["x", "y"],
            "seen": 1,
        } == told

    def test_gets_only_the_branches_named(self, serve: Serve) -> None:
        """With `branches`, other columns are not read."""
        assert ["y"] == answer(serve(function="analysis:told", branches=("y",)), "ten.csv 0 10")["fields"]

    def test_over_settings_gets_all_events(self, serve: Serve) -> None:
        """Over settings, FIRST and COUNT are the function's own, whatever the number of events."""
        told = answer(serve(function="analysis:told", over="settings"), "ten.csv 4000 500")
        assert (4000, 500, 10) == (told["first"], told["count"], told["seen"])

    def test_may_return_numbers_of_numpy_or_nothing(self, serve: Serve) -> None:
        """Numbers of numpy are written as numbers; None is no result."""
        assert {"n": 2, "x": 17.0} == answer(serve(function="analysis:numbers"), "ten.csv 8 2")
        assert answer(serve(function="analysis:nothing"), "ten.csv 8 2") is None

    def test_returning_what_json_cannot_say_fails_its_task(self, serve: Serve) -> None:
        """Such a result is one line that names the function."""
        assert "the result of analysis:unsayable cannot be written" in refusal(
            serve(function="analysis:unsayable"), "ten.csv 0 1"
        )

    def test_sees_a_file_that_changed(self, serve: Serve, tmp_path: Path) -> None:
        """A data set that grew since it was opened is opened anew."""
        servant = serve(function="analysis:total")
        assert [0, 10, 45.0] == answer(servant, "ten.csv 0 10")
        with (tmp_path / "ten.csv").open("a") as file:
            file.write("10,-10\n")
        assert [0, 11, 55.0] == answer(servant, "ten.csv 0 11")


class TestTheCutScan:
    @pytest.mark.parametrize(("cuts", "k", "correct"), [(2, 255, 281), (3, 6227, 293)])
    def test_is_the_function_of_no_function(self, serve: Serve, cuts: int, k: int, correct: int) -> None:
        """Without a function, FIRST and COUNT choose settings of the cut scan."""
        found = answer(serve(cuts=cuts), f"{SAMPLE} 0 {cuts**8}")
        assert (k, correct, [[0, cuts**8]]) == (found["k"], found["correct"], found["settings"])

    def test_time_of_preparing_is_in_the_first_result_only(self, serve: Serve, tmp_path: Path) -> None:
        """Times add up to what was spent: preparing is counted once a worker and data set."""
        (tmp_path / "many.csv").write_text(
            "\n".join([SAMPLE.read_text().splitlines()[0], *SAMPLE.read_text().splitlines()[1:] * 20])
        )
        servant = serve(cuts=2)
        first, second = (answer(servant, "many.csv 0 1")["microseconds"] for _ in range(2))
        assert first > second

    def test_knows_no_words(self, serve: Serve) -> None:
        """A key and value on the line of a cut scan is refused."""
        complaint = refusal(serve(), f"{SAMPLE} 0 1 cuts=2")
        assert "the cut scan knows no option 'cuts'; leave it out" == complaint

    def test_needs_its_columns(self, serve: Serve) -> None:
        """A file of something else is refused with the column that is missing."""
        assert refusal(serve(), "ten.csv 0 1").startswith("ten.csv: has no column 'averageInteractionsPerCrossing'")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ten.csv 0", "the line is 'ten.csv 0'; expected FILE[:TREE] FIRST COUNT"),
        ("ten.csv zero 1", "the line has 'zero' where a number from 0 on should stand; expected FILE[:TREE]"),
        ("ten.csv 0 -1", "the line has '-1' where a number"),
        (f"ten.csv 0 1{'0' * 5000}", "the line has '1000"),
        ("ten.csv 0 0", "COUNT is 0; it must be 1 or more"),
        ("ten.csv 0 1 barrel", "the line has the word 'barrel'; expected"),
        ("ten.csv 0 1 a=1 a=2", "the line gives 'a' twice; leave one of them out"),
        ("'ten.csv 0 1", "the line cannot be split into words (no closing quotation); expected"),
        ("ten.csv 8 3", "ten.csv: the task asks for events 8 to 10, and there are 10; correct FIRST and COUNT"),
        ("ten.csv 10 1", "ten.csv: the task asks for events 10 to 10, and there are 10; correct FIRST and COUNT"),
        ("ten.csv:t 0 1", "ten.csv: is no ROOT file, so there is no tree 't' in it; leave out ':t'"),
        ("absent.csv 0 1", "absent.csv: No such file or directory"),
    ],
)
def test_line_that_cannot_be_obeyed(serve: Serve, line: str, complaint: str) -> None:
    """A line at fault fails its task, in one line, and the worker goes on."""
    servant = serve(function="analysis:total")
    assert refusal(servant, line).startswith(complaint)
    assert [0, 1, 9.0] == answer(servant, "ten.csv 9 1")
