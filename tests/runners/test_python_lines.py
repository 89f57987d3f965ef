"""How a line of the Python runner is read."""

import json
import shlex
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import FarmError
from pytaskfarmer.runners.calls import Call, parse, parse_value
from pytaskfarmer.task import decode

texts = st.binary().map(lambda line: decode(line.translate(None, b"\0\n")))
identifiers = st.text(string.ascii_letters + "_é", min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)

TEXTS = [
    ("run7", "a word"),
    ("010", "a number that begins with 0 is a name of something"),
    ("+1", "JSON has no plus sign"),
    (".5", "nor a bare point"),
    ("5.", "at either end"),
    ("0x10", "nor other bases"),
    ("1_000", "nor underscores"),
    ("1,5", "nor commas"),
    ("True", "Python's words are not JSON"),
    ("None", "Python's words are not JSON"),
    ("NaN", "what Python reads beyond JSON"),
    ("Infinity", "what Python reads beyond JSON"),
    ("-Infinity", "what Python reads beyond JSON"),
    ("[1, NaN]", "what Python reads beyond JSON, inside a list"),
    ("[a-z]*.root", "brackets without JSON in them"),
    ("{a}", "braces without JSON in them"),
    ("'5'", "JSON's quotes are double"),
    ("", "nothing"),
    ("caf\udce9.root", "bytes that are not UTF-8"),
]

VALUES: list[tuple[str, object]] = [
    ("5", 5),
    ("-5", -5),
    ("0.5", 0.5),
    ("1e3", 1000.0),
    ("true", True),
    ("null", None),
    ("[1, 2]", [1, 2]),
    ('{"a": {"b": []}}', {"a": {"b": []}}),
    ('"5"', "5"),
    ('"caf\\u00e9"', "café"),
    (" 5 ", 5),
]

UNREADABLE = [
    ("m:f 'a", "the line cannot be split into words (no closing quotation); close each quote, and double a backslash"),
    ("m:f a\\", "the line cannot be split into words (no escaped character); close each quote, and double a backslash"),
    ("", "the line starts with '', not with module:function"),
    ("'' m:f", "the line starts with '', not with module:function"),
    ("echo m:f", "the line starts with 'echo', not with module:function"),
    ("m: f", "the line starts with 'm:', not with module:function"),
    ("m:f:g", "the line starts with 'm:f:g', not with module:function"),
    (".m:f", "the line starts with '.m:f', not with module:function"),
    ("dir/m.py:f", "the line starts with 'dir/m.py:f', not with module:function"),
    ("x=m:f", "the line starts with 'x=m:f', not with module:function"),
    ("m:f a=1 b=2 a=1", "the line gives 'a' twice; leave one of them out"),
]


def refusal(line: str) -> str | None:
    """Return what is said against a line; None if it can be read."""
    try:
        parse(line)
    except FarmError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("text", "why"), TEXTS)
def test_what_is_not_json_stays_text(text: str, why: str) -> None:
    """A value that is not JSON is handed over as it stands."""
    assert text == parse_value(text), why


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_json_is_what_it_says(text: str, expected: object) -> None:
    """A value that is JSON is handed over as what it says, with the type that it says."""
    value = parse_value(text)
    assert (type(expected), expected) == (type(value), value)


@given(json_values)
def test_any_json_can_be_handed_over(value: Any) -> None:
    """Whatever JSON can say arrives, by position and by keyword, if it is quoted."""
    text = json.dumps(value)
    assert Call("m:f", (value,), {"k": value}) == parse(f"m:f {shlex.quote(text)} {shlex.quote('k=' + text)}")


@given(st.lists(texts))
def test_any_text_can_be_handed_over(words: list[str]) -> None:
    """Whatever a text looks like, a number, a keyword or a quote, it arrives as that text if it is written as JSON."""
    line = " ".join(shlex.quote(json.dumps(word)) for word in words)
    assert Call("m:f", tuple(words)) == parse(f"m:f {line}")


@given(st.lists(st.tuples(identifiers, st.integers()), unique_by=lambda pair: pair[0]), st.lists(st.integers()))
def test_keywords_may_stand_anywhere(keywords: list[tuple[str, int]], arguments: list[int]) -> None:
    """Keywords before positional arguments are keywords nevertheless."""
    words = [f"{name}={value}" for name, value in keywords] + [str(value) for value in arguments]
    assert Call("m:f", tuple(arguments), dict(keywords)) == parse(" ".join(["m:f", *words]))


@given(texts | st.text(st.sampled_from("m:f.=\"'\\[]{}1eNan- \t#$\udce9é")))
def test_any_line_is_read_or_refused(line: str) -> None:
    """No line brings anything but a call or an error of one printable line."""
    for whole in (line, f"m:f {line}"):
        if complaint := refusal(whole):
            assert complaint.isprintable()


@pytest.mark.parametrize(("line", "message"), UNREADABLE)
def test_an_unreadable_line(line: str, message: str) -> None:
    """It is said what is wrong with the line."""
    assert message == refusal(line)


def test_a_shell_would_do_more() -> None:
    """Variables, wildcards, comments and operators are text; quotes and backslashes are as in a shell."""
    call = parse(r"""m:f $HOME * # a|b >c ~ 'a b'"c d"\ e "\"" name.x=1 --n=2 "x"="y z" """)
    words = ("$HOME", "*", "#", "a|b", ">c", "~", "a bc d e", '"', "name.x=1", "--n=2")
    assert Call("m:f", words, {"x": "y z"}) == call


def test_names_with_dots() -> None:
    """Modules of packages and functions of classes have dots in their names."""
    assert Call("a.b:C.d") == parse("a.b:C.d")


def test_a_value_nested_too_deeply() -> None:
    """JSON that Python cannot read for its depth is an error, not text."""
    expected = f"'{'[' * 39}…' is nested too deeply; put it into a file, and name that"
    assert expected == refusal("m:f " + "[" * 50_000 + "]" * 50_000)
