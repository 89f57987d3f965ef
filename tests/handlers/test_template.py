from pathlib import Path

import pytest

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.handlers.template import Template, kind_of
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import LONGEST_TEXT, encode


def tasks(
    path: Path, content: str | bytes, command: str, kind: str = "auto", unused: str = "error", growing: bool = False
) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    handler = Template(command=command, kind=kind, unused=unused)
    return list(handler.tasks(Tasklist(str(path), str(path.parent), growing)))


def problem(path: Path, content: str | bytes, command: str, kind: str = "auto") -> tuple[int | None, str]:
    """Return line and message of the error that the list is."""
    with pytest.raises(TasklistError) as caught:
        tasks(path, content, command, kind)
    assert str(path) == caught.value.path
    assert "\n" not in str(caught.value)
    return caught.value.line, caught.value.message


class TestLines:
    def test_each_line_is_the_value_of_the_one_field(self, tmp_path: Path) -> None:
        """A line is a value as it is, wherever and however often the command has the field."""
        listed = "a.root\nb c.root\n\n# no\n   \n d \r\nlast"
        expected = ["a.root", "'b c.root'", "' d '", "last"]

        assert [f"cp {v} {v}.bak" for v in expected] == tasks(tmp_path / "list", listed, "cp {f} {f}.bak")

    def test_bytes_survive(self, tmp_path: Path) -> None:
        """A file name that is not UTF-8 stays what it is; a byte order mark is no part of the first."""
        (text, other) = tasks(tmp_path / "list", b"\xef\xbb\xbf\xff.root\n\xef\xbb\xbf\n", "gzip {f}")

        assert (b"gzip '\xff.root'", b"gzip '\xef\xbb\xbf'") == (encode(text), encode(other))

    def test_the_unfinished_line_of_a_growing_list_is_no_task_yet(self, tmp_path: Path) -> None:
        """What has no line end yet is left out."""
        assert ["gzip a"] == tasks(tmp_path / "list", "a\nb", "gzip {f}", growing=True)

    def test_two_fields_need_columns(self, tmp_path: Path) -> None:
        """A command with two fields says how to give values for both."""
        line, message = problem(tmp_path / "list", "a\n", "cp {a} {b}")

        assert line is None
        assert message.startswith("the command has 2 fields (a, b), and a plain line is the value of one; list values")
        assert "kind=csv" in message

    @pytest.mark.parametrize(
        ("value", "wrong"),
        [
            (b"a\0b", "this task has a NUL byte"),
            (b"x" * LONGEST_TEXT, f"this task is {LONGEST_TEXT + 5:,} bytes long"),
        ],
    )
    def test_a_task_that_cannot_run_is_found_with_its_line(self, tmp_path: Path, value: bytes, wrong: str) -> None:
        """What no command line can carry is an error of that line."""
        line, message = problem(tmp_path / "list", b"# a\nok\n" + value + b"\n", "gzip {f}")

        assert 3 == line
        assert message.startswith(wrong)

    def test_a_value_that_cannot_be_quoted_is_found_with_its_line(self, tmp_path: Path) -> None:
        """A value that must not stand where its field is, is an error of its line."""
        line, message = problem(tmp_path / "list", "3\na b\n", "echo $(({n}))")

        assert 2 == line
        assert message.startswith("the value 'a b' of the field {n} needs quotes")


class TestColumns:
    def test_columns_are_named_by_the_first_line(self, tmp_path: Path) -> None:
        """Values come from the columns of their field's name, in any order, quoted for the shell."""
        listed = "file,n\na.root,10\nb c.root,20\n"

        assert ["sim -n 10 a.root", "sim -n 20 'b c.root'"] == tasks(tmp_path / "x.csv", listed, "sim -n {n} {file}")

    def test_csv_as_programs_write_it(self, tmp_path: Path) -> None:
        """Quotes, quoted commas, byte order marks, CRLF, comments and blank lines are read as they are meant."""
        listed = b'\xef\xbb\xbf# made by x\r\na, b\r\n"1, 2","say ""x"""\r\n\r\n#3,4\r\n"#5", 6\r\n,""'
        expected = ["""r '1, 2' 'say "x"'""", "r '#5' 6", "r '' ''"]

        assert expected == tasks(tmp_path / "x.CSV", listed, "r {a} {b}")

    def test_blanks_around_a_value_of_csv(self, tmp_path: Path) -> None:
        """They are dropped on both sides, unless they are within quotes."""
        listed = ' a , b \n x y , "1 " \n" "" , ",2  \n" , ", "3" \n5",6 \n'
        expected = ["r 'x y' '1 '", """r ' " , ' 2""", "r ' , ' 3", """r '5"' 6"""]
        assert expected == tasks(tmp_path / "x.csv", listed, "r {a} {b}")

    def test_a_quote_within_a_value_of_csv(self, tmp_path: Path) -> None:
        """It is a sign like any other, and what is quoted behind it keeps its blanks."""
        listed = 'a,b\n 5" disk , "a , b"\n5" ,"6"" , " \n'
        expected = ["""r '5" disk' 'a , b'""", """r '5"' '6" , '"""]
        assert expected == tasks(tmp_path / "x.csv", listed, "r {a} {b}")

    @pytest.mark.timeout(20)
    def test_many_blanks_within_a_value_of_csv(self, tmp_path: Path) -> None:
        """A row with a hundred thousand blanks in a row takes no longer than any other of its length."""
        wide = "x" + " " * 100_000 + "y"
        assert [f"r '{wide}' 2"] == tasks(tmp_path / "x.csv", f"a,b\n{wide}  ,2", "r {a} {b}")

    def test_tabs_separate_where_asked(self, tmp_path: Path) -> None:
        """In TSV, blanks and commas are parts of a value."""
        assert ["r ' 1,2' 3"] == tasks(tmp_path / "x.tsv", "a\tb\n 1,2\t3\n", "r {a} {b}")

    def test_a_growing_list(self, tmp_path: Path) -> None:
        """Neither an unfinished row is a task, nor is an unfinished header an error."""
        assert ["r 1"] == tasks(tmp_path / "x.csv", "a\n1\n2", "r {a}", growing=True)
        assert [] == tasks(tmp_path / "x.csv", "a", "r {ab}", growing=True)

    def test_a_header_alone_has_no_tasks(self, tmp_path: Path) -> None:
        """Columns without rows are an empty list, yet they must be the right ones."""
        assert [] == tasks(tmp_path / "x.csv", "a\n", "r {a}")
        assert 1 == problem(tmp_path / "x.csv", "a\n", "r {b}")[0]

    @pytest.mark.parametrize(
        ("listed", "line", "message"),
        [
            ("", None, "is empty; its first line must name the columns."),
            (
                "a,b\n1,2\n3\n",
                3,
                "this row has 1 value, line 1 names 2 columns; add what is missing, with a comma also",
            ),
            (
                "#\na,b\n1,2,3\n",
                3,
                "this row has 3 values, line 2 names 2 columns; quote a value that has a comma in it.",
            ),
            ("a,b, a\n", 1, "2 columns are named 'a'; rename all but one."),
            ('a,b\n1,"2\n3"\n', 2, "a quoted value does not end in its line; close the quote, or remove the newline"),
            ("a,b\n1,2\r3\n", 2, "there is a carriage return within this line; end lines as Unix or Windows does."),
            ("a,b\r1,2\r", 1, "there is a carriage return within this line; end lines as Unix or Windows does."),
            ('a,b\n"1"x,2\n', 2, "cannot be read as CSV (',' expected after '\"'); inside a quoted value, write two"),
            ("#\nb,A\n", 2, "the field {a} has no column here (there are: b, A); correct its name, or write {{a}} if"),
            ("a,b,c\n", 1, "the column 'c' has no field in the command; use it in the command, remove it, or set"),
        ],
    )
    def test_a_list_that_does_not_fit(self, tmp_path: Path, listed: str, line: int | None, message: str) -> None:
        """What is wrong with the rows or columns is said with the line."""
        found = problem(tmp_path / "x.csv", listed, "r {a} {b}")

        assert (line, message) == (found[0], found[1][: len(message)])

    def test_unused_columns_may_be_allowed(self, tmp_path: Path) -> None:
        """With unused=allow, columns without a field are no error; a field without a column still is."""
        assert ["r 1"] == tasks(tmp_path / "x.csv", "a,b\n1,2\n", "r {a}", unused="allow")
        with pytest.raises(TasklistError, match="no column"):
            tasks(tmp_path / "x.csv", "a,b\n1,2\n", "r {c}", unused="allow")


class TestJson:
    def test_values_are_as_they_are_written(self, tmp_path: Path) -> None:
        """Numbers keep every digit, true and false are words, texts are what they mean."""
        listed = (
            '{"a": 1.50, "b": 12345678901234567890123}\n\n# no\n{"b": true, "a": "x\\u0020y"}\n{"a": 1E3, "b": NaN}\n'
        )
        expected = ["r 1.50 12345678901234567890123", "r 'x y' true", "r 1E3 NaN"]

        assert expected == tasks(tmp_path / "x.jsonl", listed, "r {a} {b}")

    def test_unused_members_may_be_allowed(self, tmp_path: Path) -> None:
        """With unused=allow, what has no field may be anything."""
        assert ["r 1"] == tasks(tmp_path / "x.jsonl", '{"a": 1, "b": [null]}\n', "r {a}", unused="allow")

    def test_a_growing_list(self, tmp_path: Path) -> None:
        """An object that is still being written is no task yet."""
        assert ["r 1"] == tasks(tmp_path / "x.ndjson", '{"a": 1}\n{"a": ', "r {a}", growing=True)

    @pytest.mark.parametrize(
        ("listed", "message"),
        [
            ("{", "cannot be read as JSON (Expecting property name"),
            ("[" * 100_000, "cannot be read as JSON ("),
            ("[1]", "is no JSON object; write one such as"),
            ('{"a": 1, "a": 2}', "cannot be read as JSON ('a' is there twice)"),
            ('{"a": null}', "'a' is null; a field needs a text, a number, true or false."),
            ('{"a": [1]}', "'a' is a list; a field needs a text"),
            ('{"a": {}}', "'a' is an object; a field needs a text"),
            ('{"b": 1}', "the field {a} has no column here (there are: b)"),
            ('{"a": 1, "b": 1}', "the column 'b' has no field in the command"),
            ('{"a": "x\\ny"}', "this task has a newline; a task is one line."),
            ('{"a": "\\u0000"}', "this task has a NUL byte"),
            ('{"a": "\\ud800"}', "this task has half of a surrogate pair"),
        ],
    )
    def test_a_list_that_does_not_fit(self, tmp_path: Path, listed: str, message: str) -> None:
        """An object that has no value for each field is an error of its line, though those before it were right."""
        found = problem(tmp_path / "x.jsonl", '{"a": 1}\n' + listed + "\n", "r {a}")

        assert (2, message) == (found[0], found[1][: len(message)])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "csv"), ("a.TSV", "tsv"), ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.grid", "grid"),
     ("csv", "lines"), ("a.csv.txt", "lines"), ("-", "lines")],
)  # fmt: skip
def test_the_ending_says_what_a_list_holds(name: str, kind: str) -> None:
    """A list is read by the ending of its name, and as lines without one."""
    assert kind == kind_of(name)


def test_the_option_overrides_the_ending(tmp_path: Path) -> None:
    """A given kind counts, whatever the file is called."""
    assert ["r a,b"] == tasks(tmp_path / "x.csv", "a,b\n", "r {v}", kind="lines")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"command": "true"},
            "the command has no field, so all tasks would be the same; write {file}, say, for a value",
        ),
        ({"command": ""}, "the command is empty; write one such as gzip {file}"),
        ({"command": "r {a}", "kind": "json"}, "kind is 'json'; it can be auto, lines, csv, tsv, jsonl, grid, zip"),
        ({"command": "r {a}", "unused": "yes"}, "unused is 'yes'; it can be error or allow"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, str], message: str) -> None:
    """A wrong option is refused before a list is read, and the message says what it can be."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Template(**options)

    assert message == str(caught.value)


@pytest.mark.parametrize(("name", "content"), [("x.csv", "a\n1\n2\nx y\n"), ("x.jsonl", '{"a":1}\n{"a":2}\n')])
def test_rows_are_read_one_at_a_time(tmp_path: Path, name: str, content: str) -> None:
    """The first task is there before a wrong row further down is looked at."""
    path = tmp_path / name
    path.write_text(content + "'\"'\n,,,\n")
    stream = Template(command="r {a}").tasks(Tasklist(str(path), str(tmp_path)))

    assert "r 1" == next(stream)
