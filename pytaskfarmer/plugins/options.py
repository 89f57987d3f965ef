"""Options of plug-ins: which there are, and texts as the values that their constructors expect. Pure functions.

The options of a plug-in are the keyword parameters of its constructor. A text becomes what its parameter is annotated
with: `bool`, `int`, `float`, `str` or `tuple[str, ...]`, each also `| None`. Under any other annotation, and under
none, the constructor is given the text; a value that is no text is given as it is.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pytaskfarmer.errors import UsageError
from pytaskfarmer.task import printable

REQUIRED = inspect.Parameter.empty
"""The default of an option that has none."""


class OptionError(ValueError):
    """An option that a constructor does not take, lacks, or cannot be given as it is written; `option` is its name."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(option, message)
        self.option, self.message = option, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Kind:
    """What an option's values are: in a `word`, as the `demand` of an error, and how a text becomes one."""

    word: str
    demand: str
    read: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Option:
    """One option; an empty text is None to one that is `empty_is_none`."""

    name: str
    kind: Kind
    default: object = REQUIRED
    empty_is_none: bool = False

    def read(self, value: object) -> object:
        """Return the value that the constructor is given. Raises `OptionError` for a text that is none."""
        if not isinstance(value, str):
            return value
        if self.empty_is_none and not value.strip():
            return None
        try:
            return self.kind.read(value)
        except (ValueError, KeyError):
            shown = printable(repr(value), 60)
            raise OptionError(self.name, f"the option {self.name!r} must be {self.kind.demand}, not {shown}") from None


@dataclass(frozen=True, slots=True)
class Options:
    """What a constructor takes; `others` tells whether it takes any other key as well."""

    known: tuple[Option, ...]
    others: bool = False

    def read(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the values for the constructor. Raises `OptionError` for the first that is wrong, or is missing."""
        known = {option.name: option for option in self.known}
        for name in given:
            if name not in known and not self.others:
                raise OptionError(name, f"there is no option {name!r}.{_close(name, known)} {self._list()}")
        for option in self.known:
            if option.default is REQUIRED and option.name not in given:
                raise OptionError(option.name, f"the option {option.name!r} is missing. {self._list()}")
        return {name: known[name].read(value) if name in known else value for name, value in given.items()}

    def _list(self) -> str:
        names = ", ".join(option.name for option in self.known)
        return f"Its options: {names}." if names else "It takes no options."


def options_of(factory: Callable[..., object]) -> Options:
    """Return the options of a class, or of a function that makes a plug-in."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C
        return Options((), others=True)
    hints = _hints(factory)
    named = (p for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY})
    return Options(
        tuple(_option(p.name, hints.get(p.name, p.annotation), p.default) for p in named),
        others=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def pairs(flag: str, words: Iterable[str]) -> dict[str, str]:
    """Return what the words `KEY=VALUE` after a `flag` of the command line say. Raises `UsageError`."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{flag} {printable(word, 60)}: is not an option with a value; write {flag} KEY=VALUE.")
        if key in found:
            raise UsageError(f"{flag} {printable(word, 60)}: {key!r} has a value already; write it once.")
        found[key] = value
    return found


def text_of(value: object) -> str:
    """Return a value as it would be written in an INI file; nothing for None."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple() | list():
            import shlex

            return shlex.join(map(str, value))
        case _:
            return str(value)


def _option(name: str, hint: object, default: object) -> Option:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    optional = False
    if origin in {typing.Union, types.UnionType} and types.NoneType in arguments and len(arguments) == 2:
        optional = True
        hint = next(argument for argument in arguments if argument is not types.NoneType)
    kind = next((kind for known, kind in _KINDS if known == hint), _TEXT)
    return Option(name, kind, default, empty_is_none=optional and kind in {_TRUTH, _WHOLE, _NUMBER})


def _hints(factory: Callable[..., object]) -> dict[str, object]:
    """Return annotations as types, as far as they can be evaluated: a name may be there for type checkers only."""
    try:
        return typing.get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    except Exception:
        return {}


def _close(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _truth(text: str) -> bool:
    return _WORDS[text.strip().lower()]


def _words(text: str) -> tuple[str, ...]:
    import shlex

    return tuple(shlex.split(text))


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TEXT = Kind("text", "a text", str)
_TRUTH = Kind("true/false", "true or false", _truth)
_WHOLE = Kind("whole number", "a whole number", int)
_NUMBER = Kind("number", "a number", float)
_KINDS = (
    (str, _TEXT),
    (bool, _TRUTH),
    (int, _WHOLE),
    (float, _NUMBER),
    (tuple[str, ...], Kind("words", "words, quoted as in a shell", _words)),
)
