import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.handlers.fields import Fields
from pytaskfarmer.task import decode, encode

UNTOUCHED = [
    "awk '{print $1}' data.txt",
    "awk '{if ($1) {print $2}}'",
    "cp ${HOME}/a ${name:-b} ${name}",
    "echo {a,b} {1..3} {} {a.b} {a-b} {1a} { a }",
    "podman ps --format '{{.ID}}' '{{json .}}'",
    "find . -exec grep x {} +",
    "python3 -c 'print({1: {2}})'",
    "{name:03d} {name!r} {name:} {name:raw:raw} {:raw}",
    "}} {{ }{ {name",
]

NASTY = [
    "it's",
    'a "b" c',
    "$HOME",
    "$(touch run)",
    "`touch run`",
    "'; touch run; '",
    '"; touch run; "',
    "a\\b",
    "\\",
    "",
    " ",
    "*",
    "#",
    "-n",
    "~",
    "{v}",
    "{{v}}",
    "!!",
    "ä\tö",
    "plain",
]

WORDS: list[tuple[str, Callable[[str], str]]] = [
    ("{v}", lambda v: v),
    ("'{v}'", lambda v: v),
    ('"{v}"', lambda v: v),
    ("a{v}{v}b", lambda v: f"a{v}{v}b"),
    ("'a {v} b'", lambda v: f"a {v} b"),
    ('"a {v}{v} b"', lambda v: f"a {v}{v} b"),
    ("'say \"{v}\"'", lambda v: f'say "{v}"'),
    ('"it\'s {v}"', lambda v: f"it's {v}"),
    ('"\\"{v}"', lambda v: f'"{v}'),
    ("\\'{v}", lambda v: f"'{v}"),
    ("\\\\{v}", lambda v: f"\\{v}"),
    ("$'\\'{v}\\''", lambda v: f"'{v}'"),
    ("x\"{v}\"'{v}'{v}", lambda v: f"x{v}{v}{v}"),
    ('"$(printf %s {v})"', lambda v: v),
    ('"$(printf %s "(" "{v}" \')\'){v}"', lambda v: f"({v}){v}"),
    ("\"$( (printf %s '{v}') )\"", lambda v: v),
    ('"$((1 + 1)){v}"', lambda v: f"2{v}"),
    ('"${x:-b}{v}"', lambda v: f"b{v}"),
    ('"`printf %s "b\'"`"{v}', lambda v: f"b'{v}"),
    ("{{v}}{v}", lambda v: f"{{v}}{v}"),
]

ODD_PLACES = [
    "`printf %s {v}`",
    '"`printf %s "{v}"`"',
    "${x:-{v} }",
    '"${x#"{v}"}"',
    "$(({v} + 1))",
    "\\{v}",
    '"\\{v}"',
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_braces_that_hold_no_name_are_no_field(text: str) -> None:
    """What shells, awk and format strings do with braces needs no escape."""
    fields = Fields(text)

    assert ((), text) == (fields.names, fields.fill({"name": "no"}))


@given(st.text("{}$:rawx1_ '\"\\`(", min_size=1).filter(str.strip))
def test_a_command_without_a_name_in_braces_never_changes(text: str) -> None:
    """Unless `{identifier}` or `{identifier:raw}` stands in it, a command comes out as it is."""
    if not re.search(r"\{[^\W\d]\w*(:raw)?\}", text):
        assert ((), text) == (Fields(text).names, Fields(text).fill({}))


def test_names_are_in_order_and_unique() -> None:
    """The names are those of the fields, raw or not, each once, in the order in which they first appear."""
    assert ("b", "a", "größe_2") == Fields("{b} {a:raw} {b} ${c} {{d}} {größe_2} {a}").names


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{v}}", "{v}"),
        ("{{v:raw}}", "{v:raw}"),
        ("${{v}}", "${v}"),
        ("{{{v}}}", "{{v}}"),
        ('{"v": {v}}', '{"v": 1}'),
        ("{{v},b}", "{1,b}"),
        ("awk '{if (x) {{print}}}'", "awk '{if (x) {print}}'"),
    ],
)
def test_two_braces_around_a_name_stand_for_one(text: str, filled: str) -> None:
    """`{{name}}` is `{name}`, and nothing else is an escape."""
    assert filled == Fields(text).fill({"v": "1"})


@given(st.lists(st.binary().map(decode), min_size=1))
def test_every_value_is_one_word(values: list[str]) -> None:
    """A shell's words of the filled command are the values, whatever bytes are in them."""
    names = [f"v{i}" for i in range(len(values))]
    fields = Fields(" ".join(f"{{{name}}} '{{{name}}}' \"{{{name}}}\"" for name in names))

    filled = fields.fill(dict(zip(names, values, strict=True)))

    assert [value for value in values for _ in range(3)] == shlex.split(filled)


@pytest.mark.parametrize(("word", "meaning"), WORDS)
def test_a_value_arrives_as_it_is_inside_any_quotes(
    word: str, meaning: Callable[[str], str], tmp_path: Path, require: Callable[[str], str]
) -> None:
    """Bash sees each value unchanged and runs nothing of it, whatever quotes the field stands in."""
    fields = Fields(f"printf '%s\\0' {word}")
    script = "\n".join(fields.fill({"v": value}) for value in NASTY)

    ran = subprocess.run([require("bash"), "-c", script], cwd=tmp_path, capture_output=True, check=True)

    assert ([meaning(value) for value in NASTY], b"") == (decode(ran.stdout).split("\0")[:-1], ran.stderr)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ODD_PLACES)
def test_where_quotes_mean_something_else_only_harmless_values_are_taken(text: str) -> None:
    """In backquotes, `${...}` and arithmetic, or after a backslash, a value that needs quotes is refused."""
    fields = Fields(text)

    assert text.replace("{v}", "a1.root") == fields.fill({"v": "a1.root"})
    with pytest.raises(ValueError, match=r"the value 'a b' of the field \{v\} needs quotes"):
        fields.fill({"v": "a b"})


def test_a_raw_value_is_put_in_as_it_is() -> None:
    """`{name:raw}` is neither quoted nor refused anywhere."""
    assert "x 'a b' a b `a b`" == Fields("x {v} {v:raw} `{v:raw}`").fill({"v": "a b"})


def test_a_field_without_a_value() -> None:
    """A field that no value is for is an error that says which values there are, and how to write braces."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Fields("{a} {b}").fill({"a": "1", "c": "2"})

    assert "the field {b} has no value (there are: a, c); correct its name, or write {{b}} if it is no field" == str(
        caught.value
    )


@pytest.mark.parametrize(("text", "problem"), [("", "empty"), (" \t", "empty"), ("a\nb", "newline"), ("a\0", "NUL")])
def test_a_command_that_no_task_can_have(text: str, problem: str) -> None:
    """A command that is empty or more than a line is refused."""
    with pytest.raises(ValueError, match=problem):
        Fields(text)


def test_bytes_survive() -> None:
    """A value that is not UTF-8 comes out as the bytes that it was."""
    assert b"cat '\xff x'" == encode(Fields("cat {f}").fill({"f": decode(b"\xff x")}))
