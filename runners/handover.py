"""What bash hands to the program that it executes, and when it does so without a word.

`bash -c 'prog arg'` becomes `prog` by execve. To leave bash out and have nobody notice, the program must be given the
environment that bash would have given it. Rules for that can be written down (SHLVL stays, or becomes 0; PWD is kept
while it names the current directory; PS1 is dropped; ...), but they differ between versions of bash, and they do not
foresee what bash has to *say* at its start: a locale that does not exist, a library that cannot be preloaded.

So we ask. Once for each environment, bash runs `cat /proc/self/environ`; each variable that came back unchanged is one
to leave alone, and anything unexpected, be it one more byte of output, means that lines in this environment are left to
bash. Asked is about everything but the variables that change with each task, which are ordinary to bash.

What cannot be seen that way is declined by name: start-up files, options, and variables that are a clock or a counter.
Directories are looked at before each use, since they may go away: PWD must still be the current one, and OLDPWD exist.

Where it still fails: a program may see the order of its environment, which bash shuffles and we do not.
"""

import itertools
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_OF_A_TASK = ("PROC_NUMBER", "PYTASKFARMER_")
_FUNCTION = "BASH_FUNC_"
_LEFT_TO_BASH = frozenset({
    "EXECIGNORE", "POSIXLY_CORRECT", "POSIX_PEDANTIC", "SHELLOPTS",  # change what a line means
    "EPOCHREALTIME", "EPOCHSECONDS", "RANDOM", "SECONDS", "SRANDOM",  # change by themselves
})  # fmt: skip
_MAY_CHANGE = frozenset({"PWD", "SHLVL", "_"})
_MAY_VANISH = frozenset({"OPTIND", "PS1"})

_ASKED = "/bin/cat"


@dataclass(frozen=True, slots=True)
class Handover:
    """How bash looks up programs in one environment, and what it changes for them.

    `directories` are those of PATH up to the first that is not absolute; `functions` are names that are no programs
    here. `changes` lacks `_`, which is the program's path; None means that bash takes the variable away.
    """

    directories: tuple[str, ...]
    functions: frozenset[str]
    changes: Mapping[str, str | None]
    pwd: str
    oldpwd: str | None

    def holds(self) -> bool:
        """Return whether bash would still find the directories as it did when it was asked."""
        try:
            here = os.getcwd() == self.pwd or os.path.samestat(os.stat(self.pwd), os.stat("."))
        except OSError:
            return False
        return here and (self.oldpwd is None or os.path.isdir(self.oldpwd))


class Handovers:
    """The handovers of one bash, each asked for once.

    After `questions` environments, new ones are left to bash: a variable that is new with each task must not cost each
    task a second start.
    """

    def __init__(self, bash: str, questions: int = 512) -> None:
        self._bash, self._questions = bash, questions
        self._names: tuple[str, ...] = ()
        self._lasting: tuple[str, ...] = ()
        self._values: Callable[[Mapping[str, str]], object] = len
        self._known: dict[tuple[tuple[str, ...], object], Handover | None] = {}

    def under(self, environment: Mapping[str, str]) -> Handover | None:
        """Return what programs are given under `environment`, or None where only bash itself can tell."""
        names = tuple(environment)
        if names != self._names:
            self._names = names
            self._lasting = tuple(name for name in names if not name.startswith(_OF_A_TASK))
            self._values = operator.itemgetter(*self._lasting) if self._lasting else len
        key = (self._lasting, self._values(environment))
        try:
            handover = self._known[key]
        except KeyError:
            if len(self._known) >= self._questions:
                return None
            handover = self._known[key] = _handover(self._bash, environment)
        return handover if handover is not None and handover.holds() else None


def _handover(bash: str, environment: Mapping[str, str]) -> Handover | None:
    if "PATH" not in environment or _needs_bash(environment):
        return None
    handed = _ask(bash, environment)
    if handed is None:
        return None
    changes = {name: value for name, value in handed.items() if environment.get(name) != value}
    vanished = environment.keys() - handed.keys()
    if not (vanished <= _MAY_VANISH and changes.keys() <= _MAY_CHANGE and "PWD" in handed):
        return None
    return Handover(
        directories=tuple(itertools.takewhile(os.path.isabs, environment["PATH"].split(":"))),
        functions=frozenset(
            name.removeprefix(_FUNCTION).removesuffix("%%").removesuffix("()")
            for name in environment
            if name.startswith(_FUNCTION)
        ),
        changes={name: value for name, value in changes.items() if name != "_"} | dict.fromkeys(vanished),
        pwd=handed["PWD"],
        oldpwd=handed.get("OLDPWD"),
    )


def _needs_bash(environment: Mapping[str, str]) -> bool:
    """Return whether bash does things under `environment` that its answer would not show."""
    for name, value in environment.items():
        if name.startswith("BASH") and not name.startswith(_FUNCTION):
            return True
        if name in _LEFT_TO_BASH:
            return True
        if value.startswith("() {") and not name.startswith(_FUNCTION):
            return True  # a function, to a bash of before 2014
    return _reads_bashrc(environment)


def _reads_bashrc(environment: Mapping[str, str]) -> bool:
    """Return whether bash may take itself for a login's first shell; some are built to read ~/.bashrc then."""
    if "SSH_CLIENT" not in environment and "SSH2_CLIENT" not in environment:
        return False
    level = environment.get("SHLVL", "")
    return not (level.isascii() and level.isdecimal() and int(level) >= 1)


def _ask(bash: str, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment that a program started by `bash` finds, or None where more or less than that was said."""
    import subprocess  # a list whose lines all need bash never asks

    try:
        said = subprocess.run(
            ["bash", "-c", f"{_ASKED} /proc/self/environ"],
            check=False,
            executable=bash,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ).stdout
    except (OSError, ValueError):
        return None
    *variables, rest = said.split(b"\0")
    pairs = [os.fsdecode(variable).partition("=")[::2] for variable in variables]
    handed = dict(pairs)
    if rest or len(handed) != len(pairs) or handed.get("_") != _ASKED:
        return None
    return handed
