"""Inputs by events."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.handlers.naming import Naming
from pytaskfarmer.handlers.split import Split, pieces
from pytaskfarmer.plugins.contracts import Tasklist

SIM = "sim {input} {output} {first} {count} {index}"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(content: str, name: str = "list.txt", growing: bool = False) -> Tasklist:
    Path(name).write_bytes(content.encode("utf-8", "surrogateescape"))
    return Tasklist(name, "/nowhere/work", growing)


def tasks(content: str, name: str = "list.txt", command: str = SIM, **options: Any) -> list[str]:
    return list(Split(command=command, **options).tasks(listed(content, name)))


def problem(content: str, name: str = "list.txt", command: str = SIM, **options: Any) -> tuple[int | None, str]:
    """Return line and message of the error that the list is."""
    with pytest.raises(TasklistError) as caught:
        tasks(content, name, command, **options)
    assert name == caught.value.path
    assert "\n" not in str(caught.value)
    return caught.value.line, caught.value.message


def refusal(**options: Any) -> str:
    """Return the error that the options are."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        Split(**{"command": SIM, **options})
    return str(caught.value)


def csv(name: str, events: int) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("x\n" + "".join(f"{i}\n" for i in range(events)))


@given(st.integers(0, 500), st.integers(1, 600))
def test_pieces_cover_every_event_once(events: int, size: int) -> None:
    """Pieces are full but for the last, numbered from 0, and together are all events in order."""
    found = list(pieces(events, size))
    covered = [event for p in found for event in range(p.first, p.first + (p.count or 0))]
    assert list(range(events)) == covered
    assert list(range(-(-events // size))) == [p.index for p in found]
    assert all(size == p.count for p in found[:-1])
    assert all(p.count for p in found)


class TestNumbersOfEvents:
    def test_the_option_events_counts_for_every_input(self) -> None:
        """With `events`, every input has so many, and nobody looks at it."""
        assert [
            "sim a.root a.0.0.root 0 100 0",
            "sim a.root a.0.1.root 100 100 1",
            "sim a.root a.0.2.root 200 50 2",
            "sim d/b.root b.1.0.root 0 100 0",
            "sim d/b.root b.1.1.root 100 100 1",
            "sim d/b.root b.1.2.root 200 50 2",
        ] == tasks("a.root\nd/b.root\n", events=250, events_per_task=100)

    def test_an_exact_split_has_no_empty_piece(self) -> None:
        """200 events in pieces of 100 are two tasks."""
        assert ["sim a a.0.0 0 100 0", "sim a a.0.1 100 100 1"] == tasks("a\n", events=200, events_per_task=100)

    def test_a_small_input_is_one_piece(self) -> None:
        """An input with fewer events than a task may have is one task, with those."""
        assert ["sim a a.0.0 0 7 0"] == tasks("a\n", events=7, events_per_task=100)

    def test_a_column_counts_each_input(self) -> None:
        """With `events_column`, each row says how many events its input has."""
        content = "input,n\na.root,3\nb.root,2\n"
        assert [
            "sim a.root a.0.0.root 0 2 0",
            "sim a.root a.0.1.root 2 1 1",
            "sim b.root b.1.0.root 0 2 0",
        ] == tasks(content, "list.csv", events_column="n", events_per_task=2)

    @pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1e3", "²"])
    def test_a_column_needs_whole_numbers(self, text: str) -> None:
        """What is no whole number in the column is an error with its line."""
        line, message = problem(f"input,n\na,2\nb,{text}\n", "list.csv", events_column="n", events_per_task=2)
        assert (3, f"b: its number of events is {text!r} here, which is no whole number.") == (line, message)

    def test_a_tree_is_counted(self) -> None:
        """With `tree`, the events are the entries of that tree of each file."""
        for name, entries in (("a.root", 5), ("b.root", 2)):
            with uproot.recreate(name) as file:
                file.mktree("events", {"x": np.int64})
                file["events"].extend({"x": np.arange(entries)})
        assert [
            "sim a.root a.0.0.root 0 2 0",
            "sim a.root a.0.1.root 2 2 1",
            "sim a.root a.0.2.root 4 1 2",
            "sim b.root b.1.0.root 0 2 0",
        ] == tasks("a.root\nb.root\n", tree="events", events_per_task=2)
        line, message = problem("a.root\n\nb.root\n", tree="hits", events_per_task=2)
        assert (1, "a.root: has no tree 'hits' (there are: events)") == (line, message.partition(";")[0])

    def test_rows_of_csv_are_counted(self) -> None:
        """Without any of these options, rows of CSV inputs are counted, each input once for all readings."""
        csv("a.csv", 3)
        csv("b.csv", 1)
        handler = Split(command=SIM, events_per_task=2)
        tasklist = listed("a.csv\nb.csv\n")
        expected = ["sim a.csv a.0.0.csv 0 2 0", "sim a.csv a.0.1.csv 2 1 1", "sim b.csv b.1.0.csv 0 1 0"]
        assert expected == list(handler.tasks(tasklist))
        Path("a.csv").unlink()
        assert expected == list(handler.tasks(tasklist))

    def test_what_cannot_be_counted_is_named(self) -> None:
        """An input whose events cannot be counted is an error with its line."""
        line, message = problem("# inputs\na.slcio\n", events_per_task=2)
        assert (2, "a.slcio: events can be counted in") == (line, message.partition(" .root")[0])
        assert message.endswith("; set the option events, events_column or tree.")

    def test_no_events_is_an_error_unless_allowed(self) -> None:
        """An input without events is an error; with `empty=skip` it is no task, and others keep their numbers."""
        csv("a.csv", 0)
        csv("b.csv", 1)
        line, message = problem("b.csv\na.csv\n", events_per_task=2)
        assert (2, "a.csv: has no events; leave it out, or set the option empty=skip.") == (line, message)
        assert ["sim b.csv b.1.0.csv 0 1 0"] == tasks("a.csv\nb.csv\n", events_per_task=2, empty="skip")


class TestWhole:
    def test_without_pieces_an_input_is_a_task_and_is_not_opened(self) -> None:
        """Without `events_per_task` each line is one task, also of a file that is not there."""
        assert ["gzip a.root a.0.root 0", "gzip b.root b.1.root 0"] == tasks(
            "a.root\nb.root\n", command="gzip {input} {output} {first}"
        )

    def test_count_needs_the_number(self) -> None:
        """A command with `{count}` gets the number of all events."""
        csv("a.csv", 3)
        assert ["sim a.csv a.0.csv 0 3 0"] == tasks("a.csv\n")
        assert ["sim a.csv a.0.csv 0 2 0"] == tasks("a.csv\n", events=2)

    def test_no_events_is_an_error_here_too(self) -> None:
        """An input of which a column says that it has no events is no task."""
        assert 2 == problem("input\tn\na\t0\n", "list.tsv", events_column="n")[0]
        assert [] == tasks("input\tn\na\t0\n", "list.tsv", events_column="n", empty="skip")


class TestLists:
    def test_every_column_is_a_field(self) -> None:
        """Columns are fields, in the command and in the output, and one without a field is no error."""
        content = "input\tseed\tnote\nd/a b.root\t7\tx\n"
        command = "sim {input} {output} {seed} {dir} {stem} {suffix} {file_index}"
        expected = ["sim 'd/a b.root' 'out/a b.7' 7 d 'a b' .root 0"]
        assert expected == tasks(content, "list.tsv", command, output="out/{stem}.{seed}")
        assert expected == tasks(content, "list", command, output="out/{stem}.{seed}", kind="tsv")

    def test_another_column_may_be_the_input(self) -> None:
        """With `input_column`, that column is the input."""
        content = "file,n\na.root,3\n"
        options = {"input_column": "file", "events_column": "n", "events_per_task": 2}
        assert ["sim a.root 0", "sim a.root 2"] == tasks(content, "l.csv", "sim {input} {first}", **options)

    def test_plain_lines_are_inputs_without_the_blanks_around_them(self) -> None:
        """Comments and blank lines are left out, and file names may be strange."""
        content = "\ufeff# no\n a b.root \r\n\n-x.root\n\udcff.root"
        expected = ["ls 'a b.root'", "ls ./-x.root", "ls '\udcff.root'"]
        assert expected == tasks(content, command="ls {input}")

    def test_a_growing_list_ends_at_its_last_line_end(self) -> None:
        """What has no line end yet is left out."""
        assert ["ls a"] == list(Split(command="ls {input}").tasks(listed("a\nb", growing=True)))

    @pytest.mark.parametrize(
        ("content", "name", "options", "line", "message"),
        [
            (
                "a\n",
                "l.txt",
                {"command": "x {input} {seed}"},
                None,
                "the field {seed} has no column in a list of plain",
            ),
            ("input\na\n", "l.csv", {"command": "x {seed}"}, 1, "the field {seed} has no column (there are: input); "),
            (
                "input\na\n",
                "l.csv",
                {"output": "{stem}_{seed}"},
                1,
                "the field {seed} has no column (there are: input)",
            ),
            (
                "file\na\n",
                "l.csv",
                {},
                1,
                "the column 'input' of the option input_column is not here (there are: file).",
            ),
            (
                "input\na\n",
                "l.csv",
                {"events_column": "n"},
                1,
                "the column 'n' of the option events_column is not here",
            ),
            (
                "a\n",
                "l.txt",
                {"events_column": "n"},
                None,
                "the column 'n' of the option events_column is not here in a",
            ),
            ("input,first\na,1\n", "l.csv", {}, 1, "the column 'first' has the name of a field; rename it."),
            ("input,n\na,1\n,1\n", "l.csv", {"events_column": "n"}, 3, "the column 'input' is empty here."),
            (
                "input,n\na,1\nb\n",
                "l.csv",
                {"events_column": "n"},
                3,
                "this row has 1 value, line 1 names 2 columns; add what",
            ),
        ],
    )
    def test_lists_that_do_not_fit(
        self, content: str, name: str, options: dict[str, Any], line: int | None, message: str
    ) -> None:
        """What is wrong with a list is an error that names the line, and what is there."""
        at, told = problem(content, name, **options)
        assert (line, message) == (at, told[: len(message)])

    def test_the_column_of_events_may_be_called_count(self) -> None:
        """A column named as a field is accepted where it is the number of events, and the field is the piece's."""
        content = "input,count\na,3\n"
        assert ["sim a 0 2", "sim a 2 1"] == tasks(
            content, "l.csv", "sim {input} {first} {count}", events_column="count", events_per_task=2
        )


class TestOutputs:
    def test_inputs_of_the_same_name_have_different_outputs(self) -> None:
        """By default, no two tasks have the same output."""
        found = tasks("x/a.root\ny/a.root\na\na.0\n", command="{output} {first}", events=2, events_per_task=1)
        assert [
            *("a.0.0.root 0", "a.0.1.root 1", "a.1.0.root 0", "a.1.1.root 1"),
            *("a.2.0 0", "a.2.1 1", "a.3.0.0 0", "a.3.1.0 1"),
        ] == found
        assert len(found) == len(set(found))

    def test_the_same_output_twice_is_an_error(self) -> None:
        """An `output` that two inputs share is an error with the line of the second, and names the remedy."""
        options: dict[str, Any] = {"events": 5, "events_per_task": 2, "output": "{stem}_{index}.root"}
        line, message = problem("x/a.root\nb.root\ny/a.root\n", **options)
        told = "its output 'a_0.root' is also that of an input above; put {file_index} into the option output."
        assert (3, f"y/a.root: {told}") == (line, message)
        options["output"] = "{file_index}_{stem}_{index}.root"
        assert 9 == len(tasks("x/a.root\nb.root\ny/a.root\n", **options))

    @pytest.mark.parametrize(
        ("content", "output"),
        [
            ("input,tag\nzee.root,1_x\nzee_1.root,x\n", "{stem}_{index}_{tag}.txt"),
            ("input,tag\na.root,1_x\na_0.root,x\n", "{stem}_{file_index}_{tag}_{index}.txt"),
        ],
    )
    def test_columns_may_make_pieces_the_same(self, content: str, output: str) -> None:
        """What a column adds to a number may be the name of another piece; this is an error, too."""
        options: dict[str, Any] = {"events": 2, "events_per_task": 1, "name": "l.csv"}
        line, message = problem(content, output=output, **options)
        assert line == 3
        assert message.endswith("is also that of a task above; put {file_index} into the option output, last.")
        del options["name"]
        assert 4 == len(set(tasks(content, "l.csv", output="{stem}_{index}_{tag}_{file_index}", **options)))

    def test_an_output_is_not_made_of_itself(self) -> None:
        """The field {output} is for the command only."""
        assert "which is itself; use {stem}" in refusal(output="{output}.root", command="{input} {output}")

    def test_a_directory_is_no_option(self) -> None:
        """Nor does a directory that begins with a dash become one."""
        assert ["sim ./-d/a ./-d/a.out"] == tasks("-d/a\n", command="sim {input} {dir}/{stem}.out")

    def test_spellings_of_one_output_are_the_same(self) -> None:
        """Outputs are compared as paths."""
        assert 2 == problem("a\n./a\n", events=1, output="o/{dir}/{stem}")[0]

    @pytest.mark.parametrize(
        ("listed", "output"),
        [
            ("d/a.root", "{dir}/{stem}{suffix}"),
            ("a.root", "{dir}/{stem}{suffix}"),
            ("./a.root", "{stem}{suffix}"),
            ("d//a.root", "./{dir}/{stem}{suffix}"),
            ("-a.root", "{stem}{suffix}"),
        ],
    )
    def test_an_output_is_not_the_input(self, listed: str, output: str) -> None:
        """A task that would write the file it reads, by this or another spelling of its name, is an error."""
        line, message = problem(f"{listed}\n", events=1, output=output)
        assert (1, f"{listed}: its output would be the file itself") == (line, message.partition(";")[0])

    @pytest.mark.parametrize(("content", "at"), [("a.root\n./a.0.root\n", 1), ("a.1.root\na.root\n", 2)])
    def test_an_output_is_not_another_input(self, content: str, at: int) -> None:
        """A task that would write what another one reads is an error, whichever of them is listed first."""
        told = (
            f"a.root: its output 'a.{at - 1}.root' is also an input of the list; set the option output to other names."
        )
        assert (at, told) == problem(content, command="{input} {output}")
        assert 2 == len(tasks(content, command="{input} {first}"))

    def test_an_output_is_not_mistaken_for_an_option(self) -> None:
        """A name that begins with a dash is written as a path, as that of an input is."""
        assert ["cp ./-x.root ./-x.0.root"] == tasks("-x.root\n", command="cp {input} {output}")

    def test_outputs_are_quoted_whole(self) -> None:
        """An output with blanks is one argument."""
        assert ["sim 'a b' 'o/a b_0' 0 1 0"] == tasks("a b\n", events=1, events_per_task=1, output="o/{stem}_{index}")

    @pytest.mark.parametrize("output", ["{stem}{index}", "{index}{stem}", "{stem}_1{index}", "a{file_index}{index}"])
    def test_numbers_may_not_run_into_others(self, output: str) -> None:
        """Piece 10 of run1 and piece 0 of run11 would both be run110."""
        told = "output needs a sign between a number and what is beside it, as in {stem}_{index}"
        assert told == refusal(output=output, events=1, events_per_task=1)

    @given(
        st.lists(st.from_regex(r"[a1]{1,2}(\.[a1]{0,2})?", fullmatch=True), min_size=2, max_size=12),
        st.sampled_from(["", "{stem}_{index}{suffix}", "{index}.{stem}{suffix}", "{stem}.{file_index}.{first}"]),
    )
    def test_no_two_tasks_have_the_same_output(self, names: list[str], output: str) -> None:
        """Whatever the inputs are called, their outputs differ, or the list is refused."""
        content = "".join(f"d{place}/{name}\n" for place, name in enumerate(names))
        try:
            found = tasks(content, command="{output} {first}", output=output, events=12, events_per_task=1)
        except TasklistError:
            return
        assert 12 * len(names) == len({text.partition(" ")[0] for text in found})


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"command": "sim"}, "the command has no field, so all tasks would be the same"),
            ({"command": " "}, "the command is empty"),
            ({"command": "sim {input}", "output": "x"}, "there is an output, but the command has no field {output}"),
            ({"events_per_task": 0}, "events_per_task is 0; it must be 1 or more"),
            ({"events": -1}, "events is -1; it must be 1 or more"),
            ({"events": 1, "tree": "t"}, "events, events_column and tree exclude each other; keep one"),
            (
                {"command": "sim {input} {count}", "events_per_task": 2},
                "with events_per_task, the command needs {first}",
            ),
            ({"command": "sim {input}", "events": 2}, "the number of events is of no use without events_per_task"),
            ({"output": "{stem}", "events_per_task": 2}, "output needs {index}, else every piece of an input has the"),
            ({"output": "{stem"}, "output has a brace that makes no field: {stem; write a field as {stem}"),
            ({"output": "{stem:raw}"}, "output has a brace that makes no field"),
            ({"kind": "json"}, "kind is 'json'; it can be auto or lines or csv or tsv"),
            ({"empty": "no"}, "empty is 'no'; it can be error or skip"),
        ],
    )
    def test_options_that_cannot_be_used(self, options: dict[str, Any], message: str) -> None:
        """A wrong option is an error of one line that names it."""
        assert message == refusal(**options)[: len(message)]

    def test_names_of_outputs_are_plain(self) -> None:
        """Values are put into an output as they are."""
        assert "a b_$x" == Naming("{stem}_{y}").fill({"stem": "a b", "y": "$x"})


def test_the_pieces_run_together_are_the_whole() -> None:
    """The commands, run by a shell, read every event once: their outputs together are the input."""
    csv("d/it's a.csv", 25)
    command = "tail -n +2 {input} | tail -n +$(({first} + 1)) | head -n {count} > {output}"
    found = tasks("d/it's a.csv\n", command=command, events_per_task=10)
    for text in found:
        subprocess.run(["bash", "-c", text], check=True)
    outputs = [Path(shlex.split(text)[-1]).read_text() for text in found]
    assert [10, 10, 5] == [output.count("\n") for output in outputs]
    assert Path("d/it's a.csv").read_text() == "x\n" + "".join(outputs)


def test_tasks_stream() -> None:
    """The first task is there before the second input is looked at."""
    csv("a.csv", 10_000_000 // 1000)
    stream = Split(command="sim {input} {first}", events_per_task=1).tasks(listed("a.csv\nnone.csv\n"))
    assert "sim a.csv 0" == next(stream)
    with pytest.raises(TasklistError, match=r"none\.csv: cannot be read"):
        list(stream)
