"""The command line of 0.1.0, turned into words that click can parse. Pure functions on words.

Two options there had a value that could be left out, which click cannot express without guessing from the next word:
`--proc tasks.txt` and `-v tasks.txt` must not eat the task list. So each takes a following word only where it can be
nothing else (in `--proc x tasks.txt` the list is known to be another word, so `x` is a wrong number), and what leaves
here says `--proc=VALUE` or is a plain flag. The parser of 0.1.0 also understood
`-w=DIR` and unambiguous beginnings of long options.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence

ORIGINAL: Mapping[str, bool] = {
    "-h": False,
    "--help": False,
    "-n": True,
    "--proc": True,
    "--timeout": True,
    "-w": True,
    "--workdir": True,
    "-v": False,
    "--verbose": False,
    "-r": True,
    "--runner": True,
    "-t": True,
    "--tasklist": True,
}
"""The options of 0.1.0, and whether a value follows each."""

_SLOTS = re.compile(r"[+-]?[0-9]+|auto")
_IsValue = Callable[[str], bool]
_TRUTH = {"True": "--verbose", "true": "--verbose", "1": "--verbose"}
_TRUTH |= {"False": "--no-verbose", "false": "--no-verbose", "0": "--no-verbose"}


def legacy(
    argv: Sequence[str],
    options: Mapping[str, bool] = ORIGINAL,
    is_list: Callable[[str], bool] = lambda word: False,
) -> list[str]:
    """Return `argv` with `--proc` and `--verbose` made explicit, and beginnings of 0.1.0's long options completed.

    `options` has every spelling of every option that the command has now, and whether a value follows it. Values of
    other options, and what follows `--`, are left as they are. Nothing is refused: what is wrong stays wrong, for the
    parser to name. `is_list` tells whether a word names a file that may be the task list.
    """
    has_list = any(map(is_list, argv))

    def is_slots(word: str) -> bool:
        return bool(_SLOTS.fullmatch(word)) or (has_list and word[:1] not in {"", "-"} and not is_list(word))

    left = deque(argv)
    words: list[str] = []
    while left:
        word = left.popleft()
        if word == "--":
            return [*words, word, *left]
        if word.startswith("--"):
            words += _long(word, left, options, is_slots)
        elif word.startswith("-") and word != "-":
            words += _short(word[1:], left, options, is_slots)
        else:
            words.append(word)
    return words


def _long(word: str, left: deque[str], options: Mapping[str, bool], is_slots: _IsValue) -> list[str]:
    given, equals, value = word.partition("=")
    name = _complete(given, options)
    if name == "--proc":
        return [f"--proc={value if equals else _slots(left, is_slots)}"]
    if name == "--verbose" and (value in _TRUTH or not equals):
        return [_TRUTH[value] if equals else _verbosity(left)]
    if options.get(name) and not equals and left:
        return [name, left.popleft()]
    return [name + equals + value]


def _short(letters: str, left: deque[str], options: Mapping[str, bool], is_slots: _IsValue) -> list[str]:
    """Take a word like `-qvn8` apart: flags, up to the first letter that has a value or that nobody knows."""
    words: list[str] = []
    while letters:
        name, rest = "-" + letters[0], letters[1:]
        value = rest.removeprefix("=")
        if name == "-n":
            return [*words, f"--proc={value if rest else _slots(left, is_slots)}"]
        if name == "-v" and (value in _TRUTH or not rest):
            return [*words, _TRUTH[value] if rest else _verbosity(left)]
        if name not in options or (options[name] and not (rest or left)):
            return [*words, "-" + letters]
        if options[name]:
            return [*words, name, value if rest else left.popleft()]
        words.append("--verbose" if name == "-v" else name)
        letters = rest
    return words


def _slots(left: deque[str], is_slots: _IsValue) -> str:
    return left.popleft() if left and is_slots(left[0]) else "all"


def _verbosity(left: deque[str]) -> str:
    return _TRUTH[left.popleft()] if left and left[0] in _TRUTH else "--verbose"


def _complete(given: str, options: Mapping[str, bool]) -> str:
    """Return the long option of 0.1.0 that begins with `given`, where no option of today begins so as well.

    An option whose name goes on where that of 0.1.0 ends, as `--runner-option`, does not count.
    """
    if given in options:
        return given
    matches = [name for name in options if name.startswith(given)]
    shortest = min(matches, key=len, default=given)
    alone = all(name == shortest or name.startswith(f"{shortest}-") for name in matches)
    return shortest if alone and shortest in ORIGINAL else given
