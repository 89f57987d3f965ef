import string
import subprocess

import pytest
from shell_stage import BASH

from pytaskfarmer.runners.plain import SHELL_WORDS, plain_words

PLAIN = [
    ("true.sh", "one word"),
    ("sim-worker.sh out2.hepmc out2 10 0", "a script and its arguments"),
    ("  args \t a  ", "blanks around words"),
    ("./args ../a/b.txt", "paths"),
    ("args a=b --c=d,e", "an equals sign is an assignment only in the words before the command"),
    ("args %a 50% a%b", "a per cent sign is a job only as a command"),
    ("args -x +y", "options of the program"),
    ("args if then done time", "keywords are keywords only as the first word"),
    ("args user@host:/path", "extended patterns need a parenthesis"),
    ("echo.sh", "more than the builtin's name"),
    ("/bin/echo a", "a path is never a builtin"),
    ("./a+b", "a plus sign inside the command"),
]

PLAIN_CHARACTERS = string.ascii_letters + string.digits + "_./:=@%+,- \t"

NOT_PLAIN = [
    ("", "nothing to run"),
    (" \t", "only blanks"),
    ("a=b", "an assignment"),
    ("a=b args", "an assignment before a command"),
    ("a+=b", "an assignment that appends"),
    ("%1", "a job"),
    ("-x", "an option of bash"),
    ("+x args", "an option of bash"),
    ("--login", "an option of bash"),
    ("echo a", "a builtin, though there is a program of that name"),
    ("[ a", "a builtin of one odd character"),
    (": a", "a builtin of one plain character"),
    (". lib.sh", "a builtin of one plain character"),
    ("time args", "a keyword"),
    (" if args", "a keyword after a blank"),
    ("coproc args", "a keyword that came with bash 4"),
    ("args " + "a " * 33_000, "longer than `bash -c` is sure to take"),
]


@pytest.mark.parametrize(("line", "why"), PLAIN)
def test_a_plain_line_is_split_at_its_blanks(line: str, why: str) -> None:
    """Its words are what a shell would make of them."""
    assert line.split() == plain_words(line), why


@pytest.mark.parametrize(("line", "why"), NOT_PLAIN)
def test_any_other_line_is_left_to_the_shell(line: str, why: str) -> None:
    """A line that a shell might read otherwise has no plain words."""
    assert plain_words(line) is None, why


def test_every_other_character_is_left_to_the_shell() -> None:
    """Of all characters, only those that no shell gives a meaning may be in a plain line."""
    characters = map(chr, range(0x11_0000))

    plain = {character for character in characters if plain_words(f"args a{character}b") is not None}

    assert set(PLAIN_CHARACTERS) == plain


def test_the_builtins_and_keywords_of_this_bash_are_known() -> None:
    """The static table holds every word that the installed bash does not look up."""
    listed = subprocess.run([BASH, "-c", "compgen -bk"], check=True, capture_output=True, text=True).stdout.split()

    assert set() == {word for word in listed if plain_words(word) is not None}
    assert {"echo", "mapfile", "coproc", "time", ".", ":"} <= SHELL_WORDS
