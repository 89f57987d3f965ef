import itertools
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.handlers import grids
from pytaskfarmer.handlers.template import Template
from pytaskfarmer.plugins.contracts import Tasklist


def tasks(path: Path, content: str, command: str, kind: str = "grid", unused: str = "error") -> list[str]:
    path.write_text(content)
    return list(Template(command=command, kind=kind, unused=unused).tasks(Tasklist(str(path), str(path.parent))))


def values(path: Path, text: str) -> list[str]:
    """Return the values that a parameter written as `text` has."""
    path.write_text(f"a = {text}\n")
    (parameter,) = grids.read(Tasklist(str(path), str(path.parent)))
    assert len(parameter) == len(list(parameter))
    return list(parameter)


def problem(
    path: Path, content: str, command: str, kind: str = "grid", unused: str = "error"
) -> tuple[int | None, str]:
    with pytest.raises(TasklistError) as caught:
        tasks(path, content, command, kind, unused)
    assert str(path) == caught.value.path
    return caught.value.line, caught.value.message


def test_every_combination_is_a_task_and_the_last_name_changes_fastest(tmp_path: Path) -> None:
    """The order is that of nested loops, the first line outermost, whatever the order of the fields."""
    listed = "# scan\nenergy = 10 20\n\nparticle=e- 'pi +'\nseed = 1..3\n"
    expected = [f"g {s} -e {e} {p}" for e in (10, 20) for p in ("e-", "'pi +'") for s in (1, 2, 3)]

    assert expected == tasks(tmp_path / "x.grid", listed, "g {seed} -e {energy} {particle}", kind="auto")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1..4", ["1", "2", "3", "4"]),
        ("0..10..5", ["0", "5", "10"]),
        ("0..9..5", ["0", "5"]),
        ("3..1", ["3", "2", "1"]),
        ("9..0..5", ["9", "4"]),
        ("-1..1", ["-1", "0", "1"]),
        ("7..7", ["7"]),
        ("08..11", ["08", "09", "10", "11"]),
        ("1..003", ["001", "002", "003"]),
        ("a 1..2 b c 4..5", ["a", "1", "2", "b", "c", "4", "5"]),
        ("'1..3' \"4..6\" 7\\..8", ["1..3", "4..6", "7..8"]),
        ("0.1 1e-3 -5 1.5.2", ["0.1", "1e-3", "-5", "1.5.2"]),
        ("../x a..b file1..2 1/2", ["../x", "a..b", "file1..2", "1/2"]),
        ("'a b'c\"d\" ''  x=y #z", ["a bcd", "", "x=y", "#z"]),
    ],
)
def test_values_are_words_and_ranges(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Words are a shell's, ranges are of integers, and what is quoted is no range."""
    assert expected == values(tmp_path / "x.grid", text)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60))
def test_a_range_holds_its_first_integer_and_stays_within_its_last(first: int, last: int, step: int) -> None:
    """Every value is a step from the one before, none is beyond the end, and one more step would be."""
    (span,) = grids.parts(f"{first}..{last}..{step}")
    found = [int(value) for value in span]
    sign = 1 if first <= last else -1

    assert first == found[0]
    assert {sign * step} >= {after - before for before, after in itertools.pairwise(found)}
    assert 0 <= sign * (last - found[-1]) < step


def test_lists_are_taken_side_by_side(tmp_path: Path) -> None:
    """The n-th task of a zip has the n-th value of each name."""
    assert ["cp 1 a", "cp 2 b", "cp 3 c"] == tasks(tmp_path / "x", "x = 1..3\ny = a b c\n", "cp {x} {y}", "zip")


def test_a_name_without_a_field_may_be_allowed_only_side_by_side(tmp_path: Path) -> None:
    """In a zip it changes nothing; in a grid it would repeat tasks, so that nothing allows it."""
    listed = "x = 1 2\ny = a b\n"

    assert ["r 1", "r 2"] == tasks(tmp_path / "x", listed, "r {x}", "zip", unused="allow")
    assert 2 == problem(tmp_path / "x", listed, "r {x}", unused="allow")[0]


@pytest.mark.parametrize(
    ("listed", "line", "message"),
    [
        ("", None, "the grid is empty; write a line such as `energy = 10 20 50` for each field."),
        ("# x = 1\n", None, "the grid is empty; write a line such as"),
        ("x = 1\ny =  \n", 2, "there are no values, so the grid is empty; write them after the `=`."),
        ("x = 1\ny 2\n", 2, "'y 2' is not of the form `name = values`; a name is one of letters, digits and _."),
        ("beam-energy = 2\n", 1, "'beam-energy = 2' is not of the form `name = values`"),
        ("x = 1\ny = 2\nx = 3\n", 3, "'x' has values already, in line 1; join the two."),
        ("x = 'a\n", 1, "a quote or backslash has no end"),
        ("x = a\\\n", 1, "a quote or backslash has no end"),
        (
            "x = 0..1..0.1\n",
            1,
            "0..1..0.1 is no range of integers such as 1..9 or 0..100..5; list the values, or quote",
        ),
        ("x = 0.5..2\n", 1, "0.5..2 is no range of integers"),
        ("x = 1...3\n", 1, "1...3 is no range of integers"),
        ("x = 1..9..0\n", 1, "the step of the range 1..9..0 is 0; it must be 1 or more."),
        ("x = 1..1000000000000000000000\n", 1, "1..1000000000000000000000 is no range of integers"),
        ("x = 1\n", None, "the field {y} has no values here (there are: x); correct its name, or write {{y}} if"),
        ("x = 1\ny = 2\nz = 3\n", 3, "'z' has no field in the command; use it there, or remove this line."),
    ],
)
def test_a_grid_that_does_not_fit(tmp_path: Path, listed: str, line: int | None, message: str) -> None:
    """What is wrong with a grid is said with the line, before the first task."""
    found = problem(tmp_path / "x.grid", listed, "r {x} {y}")

    assert (line, message) == (found[0], found[1][: len(message)])


def test_lists_of_unequal_length_are_not_taken_side_by_side(tmp_path: Path) -> None:
    """A zip does not drop what is left over."""
    found = problem(tmp_path / "x", "x = 1..1000000\ny = a b\n", "r {x} {y}", "zip")

    assert (2, "'y' has 2 values, and 'x' in line 1 has 1,000,000; side by side, all must have as many.") == found


def test_half_a_grid_is_not_read_as_a_smaller_one(tmp_path: Path) -> None:
    """The last line of a grid counts also while the file grows: without it, there would be other tasks."""
    (tmp_path / "x.grid").write_text("x = 1\ny = 2")

    assert ["r 1 2"] == list(Template(command="r {x} {y}").tasks(Tasklist(str(tmp_path / "x.grid"), "", growing=True)))


@pytest.mark.parametrize(
    ("kind", "listed", "number", "last"),
    [
        ("grid", "a = 1..10000\nb = 1..1000\n", 200_000, "r 200 1000"),
        ("grid", "a = 1..10000000\nb = x\n", 20_000, "r 20000 x"),
        ("zip", "a = 1..10000000\nb = 10000001..20000000\n", 20_000, "r 20000 10020000"),
    ],
)
def test_ten_million_tasks_are_never_a_list(tmp_path: Path, kind: str, listed: str, number: int, last: str) -> None:
    """The first of ten million tasks cost neither a list of them nor memory for each."""
    (tmp_path / "x").write_text(listed)
    handler = Template(command="r {a} {b}", kind=kind)
    text = ""
    tracemalloc.start()
    try:
        for text in itertools.islice(handler.tasks(Tasklist(str(tmp_path / "x"), str(tmp_path))), number):  # noqa: B007
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert last == text
    assert peak < 500_000
