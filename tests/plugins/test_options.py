from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.options import REQUIRED, OptionError, Options, options_of, pairs, text_of

if TYPE_CHECKING:
    from somewhere import Unknown


class Plugin:
    def __init__(
        self,
        image: str,
        *,
        tempdir: bool = False,
        count: int = 1,
        factor: float = 1.0,
        volumes: tuple[str, ...] = (),
        most: int | None = None,
        share: Optional[float] = None,  # noqa: UP045 - people write it so
        name: str | None = None,
        odd: str | bool = False,
        bare=None,
    ) -> None:
        pass


def read(text: object, option: str, of: Callable[..., object] = Plugin) -> object:
    """Return what an option is given for `text`."""
    return options_of(of).read({"image": "x", option: text})[option]


def complaint(given: dict[str, object], of: Callable[..., object] = Plugin) -> tuple[str, str]:
    """Return the option at fault and what is said about it."""
    with pytest.raises(OptionError) as caught:
        options_of(of).read(given)
    assert "\n" not in str(caught.value)
    return caught.value.option, str(caught.value)


class TestTexts:
    @pytest.mark.parametrize(
        ("option", "text", "value"),
        [
            *[("tempdir", word, True) for word in ("true", "True", "YES", "on", "1", " true ")],
            *[("tempdir", word, False) for word in ("false", "False", "NO", "off", "0")],
            ("count", "64", 64),
            ("count", "-3", -3),
            ("factor", "2", 2.0),
            ("factor", "1e-3", 0.001),
            ("image", "docker:a/b:c ", "docker:a/b:c "),
            ("image", "", ""),
            ("volumes", "/a:/b '/c d:/e'", ("/a:/b", "/c d:/e")),
            ("volumes", "/a:/b\n/c:/d", ("/a:/b", "/c:/d")),
            ("volumes", "", ()),
            ("most", "100", 100),
            ("most", "", None),
            ("share", "0.5", 0.5),
            ("share", " ", None),
            ("name", "x", "x"),
            ("name", "", ""),
            ("odd", "true", "true"),
            ("bare", "3", "3"),
        ],
    )
    def test_become_what_the_parameter_is_annotated_with(self, option: str, text: str, value: object) -> None:
        """Each annotation of the contract has its values; under any other, and none, the text stays."""
        found = read(text, option)
        assert (value, type(value)) == (found, type(found))

    @pytest.mark.parametrize(
        ("option", "text", "demand"),
        [
            ("tempdir", "maybe", "true or false, not 'maybe'"),
            ("tempdir", "", "true or false, not ''"),
            ("count", "abc", "a whole number, not 'abc'"),
            ("count", "1.5", "a whole number, not '1.5'"),
            ("count", "", "a whole number, not ''"),
            ("factor", "1,5", "a number, not '1,5'"),
            ("most", "many", "a whole number, not 'many'"),
            ("volumes", "'a", 'words, quoted as in a shell, not "\'a"'),
        ],
    )
    def test_of_another_type_are_refused(self, option: str, text: str, demand: str) -> None:
        """What the option must be and what it was is said in one line."""
        assert (option, f"the option {option!r} must be {demand}") == complaint({"image": "x", option: text})

    def test_what_is_shown_of_a_long_or_wild_text_fits_a_line(self) -> None:
        """A text of several lines, or a very long one, does not break the line of the error."""
        _, told = complaint({"image": "x", "count": "\n\x1b" * 1000})
        assert len(told) < 120
        assert told.isprintable()

    @pytest.mark.parametrize("value", [True, 3, None, ("a",), 0.5])
    def test_a_value_that_is_no_text_is_given_as_it_is(self, value: object) -> None:
        """Callers in Python have the values already."""
        assert value is read(value, "count")

    @given(st.lists(st.text(st.characters(exclude_characters="\0"))).map(tuple))
    def test_words_come_back(self, words: tuple[str, ...]) -> None:
        """Words that are written as a listing shows them are those words again."""
        assert words == read(text_of(words), "volumes")

    @given(st.booleans() | st.integers() | st.floats(allow_nan=False))
    def test_values_come_back(self, value: bool | int | float) -> None:
        """So are the other values."""
        option = {bool: "tempdir", int: "count", float: "factor"}[type(value)]
        assert value == read(text_of(value), option)


class TestNames:
    def test_an_unknown_one(self) -> None:
        """An option that is not there is named, with the closest and all others."""
        listed = "image, tempdir, count, factor, volumes, most, share, name, odd, bare"
        expected = "tempdri", f"there is no option 'tempdri'. Did you mean 'tempdir'? Its options: {listed}."
        assert expected == complaint({"image": "x", "tempdri": "yes"})

    def test_a_missing_one(self) -> None:
        """An option without a default must be given."""
        option, told = complaint({"count": "1"})
        assert "image" == option
        assert told.startswith("the option 'image' is missing. Its options: image, ")

    def test_an_unknown_one_comes_before_a_missing_one(self) -> None:
        """A misspelt option is the likelier reason for a missing one."""
        assert "imgae" == complaint({"imgae": "x"})[0]

    def test_of_a_class_that_takes_any(self) -> None:
        """Keys that a class collects are texts; those that it names are what they are annotated with."""

        class Collects:
            def __init__(self, n: int, **rest: str) -> None:
                pass

        assert {"n": 3, "postInclude": "a,b", "x-y": "1"} == options_of(Collects).read(
            {"n": "3", "postInclude": "a,b", "x-y": "1"}
        )
        assert "n" == complaint({"postInclude": "x"}, Collects)[0]


class TestConstructors:
    def test_a_class_without_one(self) -> None:
        """It takes no options, and says so."""

        class Plain:
            pass

        assert Options(()) == options_of(Plain)
        assert ("x", "there is no option 'x'. It takes no options.") == complaint({"x": "1"}, Plain)

    def test_an_inherited_one(self) -> None:
        """A class has the options of the class that it derives from."""

        class Derived(Plugin):
            pass

        assert options_of(Plugin) == options_of(Derived)

    def test_a_dataclass(self) -> None:
        """The fields of a dataclass are its options."""

        @dataclass
        class Data:
            count: int = 3

        assert {"count": 4} == options_of(Data).read({"count": "4"})

    def test_a_function(self) -> None:
        """A function that makes a plug-in has options as a class has."""

        def make(count: int = 3, /, most: int = 3, *words: str) -> Plugin:
            raise NotImplementedError

        (option,) = options_of(make).known
        assert ("most", "whole number", 3) == (option.name, option.kind.word, option.default)

    def test_annotations_that_are_texts(self) -> None:
        """Annotations written as texts count, as under `from __future__ import annotations`."""

        class Late:
            def __init__(self, count: "int", most: "int | None" = None) -> None:
                pass

        assert {"count": 3, "most": None} == options_of(Late).read({"count": "3", "most": ""})

    def test_annotations_that_cannot_be_evaluated(self) -> None:
        """Where a name is there for type checkers only, the class still works, and gets texts."""

        class Checked:
            def __init__(self, count: "int", other: "Unknown" = None) -> None:
                pass

        assert {"count": "3", "other": "x"} == options_of(Checked).read({"count": "3", "other": "x"})

    def test_one_that_cannot_be_looked_into(self) -> None:
        """A class written in C is given what is there."""
        assert {"a": "1"} == options_of(dict).read({"a": "1"})

    def test_what_a_listing_needs(self) -> None:
        """Name, type in words and default of every option can be told without an instance."""
        facts = [(option.name, option.kind.word, option.default) for option in options_of(Plugin).known]
        assert [
            ("image", "text", REQUIRED),
            ("tempdir", "true/false", False),
            ("count", "whole number", 1),
            ("factor", "number", 1.0),
            ("volumes", "words", ()),
            ("most", "whole number", None),
        ] == facts[:6]


class TestPairs:
    def test_words_with_a_value(self) -> None:
        """Only the first `=` separates, and a value is taken as it stands."""
        expected = {"a": "1", "command": "x=1 y = 2 ", "empty": ""}
        assert expected == pairs("-R", ["a=1", "command=x=1 y = 2 ", "empty="])

    @pytest.mark.parametrize("word", ["image", "=x", " =x", ""])
    def test_words_without(self, word: str) -> None:
        """The form that is wanted is shown, with the flag that was used."""
        with pytest.raises(UsageError) as caught:
            pairs("-T", [word])
        assert f"-T {word}: is not an option with a value; write -T KEY=VALUE." == str(caught.value)

    def test_the_same_twice(self) -> None:
        """Of two values for one key none is dropped in silence."""
        with pytest.raises(UsageError) as caught:
            pairs("-R", ["a=1", "b=1", "a=2"])
        assert "-R a=2: 'a' has a value already; write it once." == str(caught.value)


def test_how_values_are_written() -> None:
    """Values are shown as they would stand in an INI file."""
    values: list[Any] = [None, True, False, 3, 0.5, "a b", (), ("a b", "c")]
    assert ["", "true", "false", "3", "0.5", "a b", "", "'a b' c"] == [text_of(value) for value in values]
