"""A desk at which a user types commands: a directory, a home without definitions, and what is seen afterwards."""

import contextlib
import io
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytaskfarmer.cli.main import main

_SCRIPTS = Path(sysconfig.get_path("scripts"))
FARM = str(_SCRIPTS / "pytaskfarmer.py")
"""`pytaskfarmer.py TASKLIST`"""
COMMAND = str(_SCRIPTS / "pytaskfarmer")
"""`pytaskfarmer status WORKDIR` and its kin"""

NO_TASKS = "the list has no tasks"
ERROR = "pytaskfarmer: error: "


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said; bytes that are not UTF-8 are lone surrogates."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What stands on standard output, by lines."""
        return self.out.splitlines()


@dataclass
class Desk:
    """Runs commands in `place`; `prefix` stands before each, and `environment` is added to that of the tests."""

    place: Path
    home: Path
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __truediv__(self, name: str) -> Path:
        return self.place / name

    def write(self, name: str, *lines: str) -> str:
        """Write a file of lines and return its name."""
        (self / name).write_text("".join(line + "\n" for line in lines), errors="surrogateescape")
        return name

    def start(self, *words: str | Path, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        """Start a command, with its output in pipes; what still runs at the end of the test is killed."""
        process = subprocess.Popen(
            [*self.prefix, *words],
            cwd=self.place,
            env={**os.environ, **self.environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self.started.append(process)
        return process

    def end(self, process: "subprocess.Popen[str]", send: int | None = None, stdin: str | None = None) -> Ended:
        """Wait for a command, after sending it a signal. No command may ever show a traceback."""
        if send is not None:
            process.send_signal(send)
        out, err = process.communicate(stdin, timeout=40)
        assert "Traceback" not in out + err, err.splitlines()[-1]
        return Ended(process.returncode, out, err)

    def run(self, *words: str | Path, stdin: str | None = None) -> Ended:
        """Run a command to its end."""
        return self.end(self.start(*words, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE), stdin=stdin)

    def farm(self, *words: str | Path, status: int = 0, stdin: str | None = None, warning: str = "") -> Ended:
        """Run `pytaskfarmer.py ...`; it must exit with this status and say only this on standard error."""
        ended = self.run(FARM, *words, stdin=stdin)
        said = f"pytaskfarmer: {warning}\n" if warning else ""
        assert (status, said) == (ended.status, ended.err), ended
        return ended

    def look(self, *words: str) -> Ended:
        """Give `words` to the function behind `pytaskfarmer`: what starts no farmer needs no process either."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True) for _ in range(2))
        with contextlib.chdir(self.place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
        said = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err)]
        return Ended(status, *said)

    def error(self, *words: str | Path, stdin: str | None = None) -> str:
        """Run a command that must fail, and return what it says: see `complaint`."""
        return self.complaint(lambda: self.run(*words, stdin=stdin))

    def complaint(self, act: Callable[[], Ended]) -> str:
        """Return the one line of what must fail: with status 2, and with not a byte of any file changed."""
        before = self.tree()
        ended = act()
        assert (2, "") == (ended.status, ended.out), ended
        assert ended.err.startswith(ERROR), ended
        assert ended.err.count("\n") == 1, ended
        assert before == self.tree()
        return ended.err.removeprefix(ERROR).strip()

    def tree(self) -> dict[str, bytes | str | None]:
        """Return every file below the desk with its contents, links with their targets, directories with None."""
        return dict(_tree(self.place, ""))

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file; none if it is not there."""
        path = self / name
        return path.read_text(errors="surrogateescape").splitlines() if path.exists() else []

    def ids(self, name: str) -> list[int]:
        """Return the ids in a book, sorted."""
        return sorted(int(line.split(" ")[0]) for line in self.lines(name))

    def clear(self) -> None:
        """Kill what was started and has not ended."""
        for process in self.started:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()


def _tree(directory: Path, name: str) -> Iterator[tuple[str, bytes | str | None]]:
    for entry in os.scandir(directory / name):
        path = os.path.join(name, entry.name)
        if entry.is_symlink():
            yield path, os.readlink(directory / path)
        elif entry.is_dir():
            yield path, None
            yield from _tree(directory, path)
        elif entry.is_file():
            yield path, (directory / path).read_bytes()
        else:
            yield path, "special"
