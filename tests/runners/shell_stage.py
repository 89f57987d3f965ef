"""A stage to run a line on twice, by the runner and by bash alone, and what is seen of each run."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.runners.shell import Shell
from pytaskfarmer.task import Task, encode

BASH = shutil.which("bash") or "bash"

_FILES = {
    "a.txt": "one\ntwo\nthree\n",
    "b.txt": "four\n",
    "c d.txt": "five\n",
    ".hidden": "",
    "dir/inner.txt": "six\n",
    "home/.bashrc": "echo bashrc was read; sl() { echo a function of bashrc; }\n",
    "lib.sh": "greeting=hello; greet() { echo $greeting $1; }\n",
    "env.sh": "echo BASH_ENV was read; late() { echo a function of BASH_ENV; }\n",
}
_PROGRAMS = {
    "bin/args": '#!/bin/sh\nprintf "<%s>" "$0" "$@"\necho\n',
    "bin/seen": "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\n",
    "bin/exit3": "#!/bin/sh\nexit 3\n",
    "bin/killed": "#!/bin/sh\nkill -KILL $$\n",
    "bin/noshebang": 'echo "$0" "$#" "$*" "$BASH_VERSION"; exit 4\n',
    "bin/nointerpreter": "#!/no/such/interpreter\n",
    "bin/empty": "",
    "bin/garbage": "\x7fELF, or so it says\n",
}


@dataclass(frozen=True)
class Seen:
    """What a run leaves to look at: status is the exit status, or minus the signal's number."""

    status: int
    output: bytes
    files: Mapping[str, tuple[int, bytes]]

    def sorted(self) -> "Seen":
        """Return the same with the lines of the output in order, for what may write them in any."""
        return Seen(self.status, b"\n".join(sorted(self.output.split(b"\n"))), self.files)


class Stage:
    """A directory that is the same at the start of each run, and the current one during it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "stage"
        self._output = directory / "output"
        self.shell = Shell()

    def environment(self, **more: str) -> dict[str, str]:
        """Return an ordinary environment, with the stage's programs on PATH, and the mark of this test's processes."""
        marks = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_MARK_")}
        return {
            "HOME": f"{self.directory}/home",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{self.directory}/bin:/usr/bin:/bin",
            "PROC_NUMBER": "17",
            "PWD": f"{self.directory}",
            "SHLVL": "2",
            **marks,
            **more,
        }

    def command(self, line: str, environment: Mapping[str, str]) -> Command:
        """Return what the runner makes of `line` in the current directory."""
        return self.shell.command(Task(17, line), TaskContext(0, 1, f"{self.directory}_workdir", environment))

    def by_runner(self, line: str, environment: Mapping[str, str]) -> Seen:
        """Run what the runner makes of `line`, the way a farmer starts a task."""
        with self.set(), open(self._output, "wb") as output:
            pid = _spawn(self.command(line, environment), environment, output.fileno())
            _end_group(pid)
            _, status, _ = os.wait4(pid, 0)
            return self._seen(os.waitstatus_to_exitcode(status))

    def by_bash(self, line: str, environment: Mapping[str, str]) -> Seen:
        """Run `bash -c LINE`."""
        with self.set(), open(self._output, "wb") as output:
            bash = subprocess.Popen(
                ["bash", "-c", encode(line)],
                executable=BASH,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            _end_group(bash.pid)
            return self._seen(bash.wait())

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """Build the directory and enter it; leave and remove it at the end."""
        for content, mode in ((_FILES, 0o644), (_PROGRAMS, 0o755)):
            for name, text in content.items():
                path = self.directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                path.chmod(mode)
        try:
            with contextlib.chdir(self.directory):
                yield
        finally:
            shutil.rmtree(self.directory)

    def _seen(self, status: int) -> Seen:
        files = {
            str(path.relative_to(self.directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in self.directory.rglob("*")
        }
        return Seen(status, self._output.read_bytes(), files)


def _spawn(command: Command, environment: Mapping[str, str], output: int) -> int:
    try:
        return os.posix_spawn(
            command.program or command.argv[0],
            [encode(word) for word in command.argv],
            {name: value for name, value in {**environment, **command.environment}.items() if value is not None},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError:
        if command.fallback is None:
            raise
        return _spawn(command.fallback, environment, output)


def _end_group(leader: int) -> None:
    """Wait for the leader, and kill what it left behind while its pid, not being reaped, is still the group's."""
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    os.killpg(leader, signal.SIGKILL)
