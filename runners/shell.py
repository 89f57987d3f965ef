"""The default runner: a task is a line of shell.

The line runs exactly as `bash -c LINE` would run it; where there is no bash, as `sh -c LINE`. Starting bash takes about
as long as a short task does, and for a line of plain words it does nothing but look up a program and become it. Such a
line is started without bash, as make does; nobody can tell except by the clock. Whenever there is a doubt, bash runs:

- the line has a character that might mean something, or its first word is not a program (`plain`);
- bash would say something, or change the environment in a way that cannot be repeated (`handover`);
- the program is not found, or the kernel refuses it: the message and the status, 126 or 127, are bash's to give;
- an option asks for what only a shell can do, or gives each task a directory, on which what bash hands over depends.

With `setup`, the shell runs a script that ends with the line, and finds the setup as a word of its own. Shells read
what they run line by line, so neither text can be taken for a part of the other: a comment or an open quote at the end
of the setup does not swallow the task, and nothing of the task is read before the setup has succeeded. The word is
cleared first, since a file that the setup sources would take it for its own argument. A trap is set meanwhile, for a
setup that says `exit 0` would make every task look done. It must be gone when the line begins: bash becomes the last
program of a line only where no trap is set. But a trap that the setup put in its place is the user's, and stays.

Where it fails: a setup that replaces that trap, or the shell itself, and then ends well is not noticed. The longest
lines that the kernel takes are too long with the script before them.
"""

import os
import re
import sys
import zlib
from collections.abc import Iterable
from dataclasses import replace

from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task, encode

from .handover import Handovers
from .plain import executable, plain_words
from .scratch import Finish, Scratch, expanded

_SET_UP = """\
_pytaskfarmer_setup=
trap 'case $?,${_pytaskfarmer_setup+unfinished} in
0,unfinished) echo "pytaskfarmer: the setup ended the shell, so the task was not run" >&2; exit 1 ;;
*,unfinished) echo "pytaskfarmer: the setup failed, so the task was not run" >&2 ;;
esac' EXIT
eval "set --
$1"
_pytaskfarmer_setup=$?
[ "$_pytaskfarmer_setup" = 0 ] || exit "$_pytaskfarmer_setup"
unset _pytaskfarmer_setup
case $(trap) in *_pytaskfarmer_setup*) trap - EXIT ;; esac
"""
_NOT_OF_POSIX = frozenset({"csh", "fish", "tcsh"})
_COPYOUT = os.path.join(os.path.dirname(__file__), "copyout.py")


class Shell:
    """Runs each task as `bash -c LINE`, or `sh -c LINE` where there is no bash on PATH.

    Options:

    - `shell`: another shell, by its name on PATH or its path; it is run as `SHELL -c LINE`.
    - `setup`: shell commands to run before each task, in the same shell. If they fail, the task is not run,
      and has failed.
    - `env`: words NAME=VALUE, added to the environment as they are (where `$` is to mean something, use `setup`).
    - `umask`: that of the task, in octal digits.
    - `tempdir`: true for a fresh directory of each task, in which it begins and which is removed afterwards. It is made
      in $TMPDIR or /tmp of the node; an absolute path is another place (`~` and `$NAME` are replaced). $OLDPWD is the
      farmer's directory.
    - `keep`: which of these directories are kept: `never` (the default), `failed` for those of attempts that failed or
      were stopped, or `always`. The task's log says where.
    - `copyout`: globs (`**` for directories of any depth) of what is moved out of that directory when the task has
      succeeded. It fails if one matches nothing.
    - `copyout_to`: the directory to which that is moved; by default, the farmer's. Paths stay the same: `out/*.root`
      arrives as `out/a.root`. The directory is made if needed, `~` and `$NAME` are replaced, and `{id}` is the task's
      id. What is there under the same name is replaced, so tasks whose results have equal names need `{id}`.
    """

    def __init__(
        self,
        shell: str | None = None,
        setup: str = "",
        env: tuple[str, ...] = (),
        umask: str = "",
        tempdir: str | None = None,
        keep: str = "never",
        copyout: tuple[str, ...] = (),
        copyout_to: str = ".",
    ) -> None:
        self._environment = _environment(env)
        self._globs = _globs(copyout)
        self._scratch = Scratch.wanted(tempdir, keep)
        if self._globs and self._scratch is None:
            raise ValueError("copyout is about the directories of tasks; it needs tempdir = true")
        if copyout_to != "." and not self._globs:
            raise ValueError("copyout_to says where things go, but not which; it needs copyout = GLOB...")
        self._target = expanded("copyout_to", copyout_to) if self._globs else ""
        if not re.fullmatch("[0-7]{0,4}", umask):
            raise ValueError(f"umask is {umask!r}; it must be octal digits, such as 027")
        self._name, self._program = _found(shell)
        self._setup, self._umask = setup if setup.strip() else "", umask
        base = os.path.basename(self._name)
        if (self._setup or umask) and base in _NOT_OF_POSIX:
            raise ValueError(f"setup and umask need a shell that reads what sh reads, and {base} does not")
        direct = base == "bash" and not (self._setup or umask or self._scratch)
        self._handovers = Handovers(self._program) if direct else None

    def command(self, task: Task, context: TaskContext) -> Command:
        """Return the process that runs the line of `task` in the farmer's current directory, or in a fresh one."""
        argv = shell_words(self._name, task.text, self._setup, self._umask)
        shell = Command(argv, self._program, self._environment)
        if self._scratch is None:
            return self._direct(task.text, context, shell) or shell
        here = os.getcwd()
        directory = self._scratch.fresh(task, context)
        return replace(
            shell,
            program=os.path.join(here, self._program),
            environment={**self._environment, "PWD": directory, "OLDPWD": here},
            cwd=directory,
            finish=self._scratch.finish(directory, self._copyout(directory, task, context)),
        )

    def close(self) -> None:
        """Remove what is left of the tasks' directories."""
        if self._scratch is not None:
            self._scratch.close()

    def _direct(self, line: str, context: TaskContext, shell: Command) -> Command | None:
        """Return the program that `line` names, if `shell` would do nothing but become it."""
        if self._handovers is None or (words := plain_words(line)) is None:
            return None
        environment = {**context.environment, **self._environment} if self._environment else context.environment
        handover = self._handovers.under(environment)
        if handover is None or words[0] in handover.functions:
            return None
        program = executable(words[0], handover.directories)
        if program is None:
            return None
        changes = {**self._environment, **handover.changes, "_": program}
        return Command(tuple(words), program, changes, fallback=shell)

    def _copyout(self, directory: str, task: Task, context: TaskContext) -> Finish | None:
        if not self._globs:
            return None
        target = self._target.replace("{id}", str(task.id))
        # Several farms, and users, may have one target.
        tag = f"{task.id}-{zlib.crc32(encode(context.workdir)):08x}-{os.geteuid()}"
        move = Command((sys.executable, "-I", "-S", _COPYOUT, directory, target, tag, *self._globs))
        return lambda status: move if status == 0 else None


def shell_words(shell: str, line: str, setup: str = "", umask: str = "") -> tuple[str, ...]:
    """Return the command by which a shell runs `line`, under this umask and after `setup`, if that succeeds."""
    script = f"umask {umask}\n" if umask else ""
    if not setup.strip():
        return (shell, "-c", script + line)
    return (shell, "-c", script + _SET_UP + line, shell, setup)


def _found(shell: str | None) -> tuple[str, str]:
    """Return name and path of the shell that is asked for, or of the best there is."""
    directories = [directory or "." for directory in os.environ.get("PATH", os.defpath).split(":")]
    for name in [shell] if shell else ["bash", "sh"]:
        if program := executable(name, directories):
            return name, program
    if shell:
        raise UsageError(f"the shell {shell!r} is no program; give its path, or its name on PATH, and nothing else")
    raise UsageError("neither bash nor sh is on PATH, and tasks need one of them; add its directory to PATH")


def _environment(words: Iterable[str]) -> dict[str, str]:
    environment = {}
    for word in words:
        name, is_set, value = word.partition("=")
        if not is_set or not name:
            raise ValueError(
                f"env has the word {word!r}; it must be NAME=VALUE, with quotes around a value with blanks"
            )
        if name == "PROC_NUMBER" or name.startswith("PYTASKFARMER_"):
            raise ValueError(f"env cannot set {name}, which is the farmer's")
        environment[name] = value
    return environment


def _globs(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not pattern.strip("./") or pattern.startswith("/") or ".." in pattern.split("/"):
            raise ValueError(f"copyout has the word {pattern!r}; it must be a glob below the task's own directory")
    return patterns
