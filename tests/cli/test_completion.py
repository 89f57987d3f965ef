"""What TAB does, in the shells themselves."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from desk import COMMAND, FARM, Desk

BIN = os.path.dirname(COMMAND)
SETUP = {"bash": 'eval "$(pytaskfarmer completion bash)"', "zsh": 'eval "$(pytaskfarmer completion zsh)"'}
START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
CASES = [
    ("pytaskfarmer sta", "pytaskfarmer status"),
    ("pytaskfarmer submit --task-t", "pytaskfarmer submit --task-timeout"),
    ("pytaskfarmer show -t tem", "pytaskfarmer show -t template"),
    ("pytaskfarmer runners my", "pytaskfarmer runners mylab"),
    ("pytaskfarmer logs lo", "pytaskfarmer logs longlist.txt"),
    ("pytaskfarmer.py lo", "pytaskfarmer.py longlist.txt"),
    ("pytaskfarmer.py longlist.txt --retry-", "pytaskfarmer.py longlist.txt --retry-failed"),
    ("pytaskfarmer.py -n 8 longlist.txt --runner my", "pytaskfarmer.py -n 8 longlist.txt --runner mylab"),
    ("pytaskfarmer.py --logs p", "pytaskfarmer.py --logs pack"),
    ("pytaskfarmer.py longlist.txt -w old", "pytaskfarmer.py longlist.txt -w olddir"),
]
"""What stands before the cursor when TAB is pressed, and afterwards."""


@pytest.fixture
def place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk with a list, a directory, a file that is none, and a runner of one's own."""
    desk.write("longlist.txt", "true")
    (desk / "olddir").mkdir()
    (desk / "old.txt").touch()
    (desk.home / ".pytaskfarmer").mkdir()
    (desk.home / ".pytaskfarmer/runners.d").mkdir()
    (desk.home / ".pytaskfarmer/runners.d/mylab.ini").write_text("[mylab]\nRunner = shell\n")
    (desk / "others.ini").write_text("[mystranger]\nRunner = shell\n")
    (desk / "others.ini").chmod(0o666)
    monkeypatch.setenv("PATH", os.pathsep.join([BIN, os.environ["PATH"]]))
    return desk


class Shell:
    """An interactive shell at a terminal."""

    def __init__(self, argv: list[str], desk: Desk) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "PS1": "", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            argv, cwd=desk.place, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""

    def type(self, keys: str, until: str) -> re.Match[str]:
        """Press keys, and return the match of what appears then on a line of its own."""
        start = len(self.seen)
        os.write(self._ours, keys.encode())
        end = time.monotonic() + 30
        while not (match := re.compile(rf"^{until}\r*$", re.MULTILINE).search(self.seen, start)):
            assert time.monotonic() < end, self.seen
            if select.select([self._ours], [], [], 0.1)[0]:
                self.seen += os.read(self._ours, 65536).decode("utf-8", "replace")
        return match

    def close(self) -> None:
        """Hang up."""
        os.close(self._ours)
        self._process.kill()
        self._process.wait()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_at_a_prompt(shell: str, place: Desk, require: Callable[[str], str]) -> None:
    """After the line of the manual, TAB completes what is typed for both programs."""
    prompt = Shell([require(shell), *START[shell]], place)
    try:
        prompt.type(f"{SETUP[shell]}; echo rea''dy\n", "ready")
        found = {}
        for before, _ in CASES:
            # The line begins with a program, for TAB to do anything; `echo` comes before it afterwards.
            found[before] = prompt.type(f"{before}\t\x01echo '<' \x05 '>'\n", "< (.*?)/? *>")[1]
    finally:
        prompt.close()
    assert dict(CASES) == found


def test_fish(place: Desk, require: Callable[[str], str]) -> None:
    """The same in fish, which tells by itself what TAB would offer."""
    fish = require("fish")
    asked = "".join(f"; echo '<{before}'; complete -C '{before}'" for before, _ in CASES)
    said = subprocess.run(
        [fish, "--no-config", "-c", f"pytaskfarmer completion fish | source{asked}"],
        cwd=place.place, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "" == said.stderr
    found = {}
    for part in said.stdout.split("<")[1:]:
        before, *offers = part.splitlines()
        stem = before.rpartition(" ")[0]
        found[before] = [f"{stem} {offer.partition(chr(9))[0].rstrip('/')}" for offer in offers]
    assert {before: [after] for before, after in CASES} == found


def asked(program: str, *words: str, python: tuple[str, ...] = ()) -> list[str]:
    """Return what a program offers in the place of the last word."""
    name = os.path.basename(program)
    variable = "_PYTASKFARMER_PY_COMPLETE" if name.endswith(".py") else "_PYTASKFARMER_COMPLETE"
    question = {variable: "bash_complete", "COMP_WORDS": " ".join([name, *words]), "COMP_CWORD": str(len(words))}
    said = subprocess.run(
        [*python, program], env={**os.environ, **question}, capture_output=True, text=True, check=False, timeout=60
    )
    assert "" == said.stderr or python
    return said.stderr.splitlines() if python else said.stdout.splitlines()


def test_all_commands() -> None:
    """At the first word all commands are offered."""
    offered = asked(COMMAND, "")
    assert {"plain,run", "plain,status", "plain,scale", "plain,completion"} < set(offered)


def test_options_taken_over_from_run() -> None:
    """Commands that start farmers offer the options of `run`, too; nothing that is hidden from everybody."""
    for command in ("submit", "scale"):
        assert {"plain,--retries", "plain,--runner-option"} < set(asked(COMMAND, command, "--"))
    assert "plain,--no-verbose" not in asked(FARM, "--no")


@pytest.mark.parametrize("words", [("sow", ""), ("run", "-r"), ("status", "--json", "x", "y", "z", ""), ("--proc", "")])
def test_what_makes_no_sense(words: tuple[str, ...]) -> None:
    """A line that is wrong already gets offers or none, but never a complaint into the prompt."""
    assert {"plain", "file"} >= {offer.partition(",")[0] for offer in asked(COMMAND, *words)} - {""}


@pytest.mark.parametrize(
    ("program", "words", "needless"),
    [
        (COMMAND, ("",), ("pytaskfarmer.cli.run", "pytaskfarmer.farm", "pytaskfarmer.workdir", "pytaskfarmer.plugins")),
        (COMMAND, ("run", "-r", ""), ("rich", "psutil", "pytaskfarmer.runners", "pytaskfarmer.api")),
        (COMMAND, ("status", "--"), ("rich", "psutil", "pytaskfarmer.runners", "pytaskfarmer.api")),
        (FARM, ("--",), ("rich", "psutil", "pytaskfarmer.runners", "pytaskfarmer.api", "importlib.metadata")),
        (FARM, ("-t", ""), ("rich", "psutil", "pytaskfarmer.handlers", "pytaskfarmer.api")),
    ],
)
def test_nothing_is_imported_needlessly(program: str, words: tuple[str, ...], needless: tuple[str, ...]) -> None:
    """An answer waits for no module that has no part in it: TAB has to be quick."""
    lines = asked(program, *words, python=(sys.executable, "-X", "importtime"))
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "pytaskfarmer.cli.completion" in imported
    assert [] == sorted(name for name in imported if name.startswith(needless))


def test_which_shell(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name it is the user's own shell; one that is unknown is told, with those that are not."""
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert desk.look("completion") == desk.look("completion", "fish")
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "your shell, tcsh, is none of bash, zsh, fish." == desk.complaint(lambda: desk.look("completion"))
    monkeypatch.delenv("SHELL")
    unknown = "SHELL does not say what your shell is; name bash, zsh or fish, as in: pytaskfarmer completion bash"
    assert unknown == desk.complaint(lambda: desk.look("completion"))
