"""Lines that need no shell: which they are, and which file their first word names.

A line is plain when every shell would split it at its blanks and do nothing else to it. What may appear is listed,
not what may not: a character that is missing here costs a millisecond, a character too many a wrong result.
"""

import os
import re
from collections.abc import Iterable

_OTHER = re.compile(r"[^A-Za-z0-9_./:=@%+, \t-]")

# In characters. The kernel refuses `bash -c LINE` from 128 KiB on: a line must not run or fail by what its words are.
_LONGEST = 65_536

_BUILTINS = """
    . : alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo enable
    eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd
    pwd read readarray readonly return set shift shopt source suspend test times trap true type typeset ulimit umask
    unalias unset wait
"""
_KEYWORDS = """
    case coproc do done elif else esac fi for function if in select then time until while
"""

SHELL_WORDS = frozenset((_BUILTINS + _KEYWORDS).split())
"""The first words that bash 3.2 to 5.3 would not look up on PATH, as far as they are spelled in plain characters."""


def plain_words(line: str) -> list[str] | None:
    """Return the words of `line` if it is a command that needs no shell, else None.

    Declined as a first word: builtins and keywords, an assignment (`=`), a job (`%`), and an option, since
    `bash -c -x` takes the line `-x` for one.
    """
    if _OTHER.search(line) or len(line) > _LONGEST:
        return None
    words = line.split()
    if not words or words[0] in SHELL_WORDS or words[0][0] in "-+%" or "=" in words[0]:
        return None
    return words


def executable(word: str, directories: Iterable[str]) -> str | None:
    """Return the path of the program that `word` names, as bash would hand it to execve, or None.

    A word with a slash is a path already; any other is looked up in `directories`, anew at each call, since the task
    before may have installed it.
    """
    if "/" in word:
        return word if _executes(word) else None
    for directory in directories:
        path = f"{directory}{word}" if directory.endswith("/") else f"{directory}/{word}"
        if _executes(path):
            return path
    return None


def _executes(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.isdir(path)
