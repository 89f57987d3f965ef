"""What has been imported when the first task starts: start-up is most of the cost of a short list."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import COMMAND

SPY = """
import json, os, sys
before = set(sys.modules)

def note(event, details):
    if event == "os.posix_spawn" and not os.path.exists("modules"):
        with open("modules", "w") as file:
            json.dump(sorted(sys.modules.keys() - before), file)

sys.addaudithook(note)
"""
HEAVY = {
    "asyncio", "concurrent.futures", "configparser", "email", "http", "importlib.metadata", "importlib.resources",
    "multiprocessing", "pydoc", "socketserver", "sqlite3", "ssl", "unittest", "xml",
}  # fmt: skip
MOST = 200
"""Modules beyond Python's own start; 165 when this was written, with Python 3.11."""

Imported = Callable[[str], set[str]]
LINES = pytest.mark.parametrize("line", ["true", "/bin/true"], ids=["for bash", "started directly"])


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """Return what runs a list of one line and tells which modules the farmer had imported for it, beyond Python's."""

    def run(line: str) -> set[str]:
        (tmp_path / "sitecustomize.py").write_text(SPY)
        (tmp_path / "tasks.txt").write_text(f"{line}\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
        subprocess.run([*COMMAND, "tasks.txt", "--quiet"], cwd=tmp_path, env=environment, check=True)
        return set(json.loads((tmp_path / "modules").read_text()))

    return run


@LINES
def test_need_click_and_filelock(imported: Imported, line: str) -> None:
    """Off a terminal, click and filelock are the only packages beside our own that the first task waits for."""
    packages = {name.partition(".")[0] for name in imported(line)}
    outside = packages - sys.stdlib_module_names - {"pytaskfarmer", "sitecustomize"}
    assert {"click", "filelock"} == outside


@LINES
def test_leave_out_the_heavy_ones(imported: Imported, line: str) -> None:
    """No event loop, no scan of what is installed, no parser of INI files where there are none."""
    assert set() == HEAVY & imported(line)


@LINES
def test_are_few(imported: Imported, line: str) -> None:
    """The number of modules has a ceiling."""
    assert len(imported(line)) <= MOST


def test_bring_no_other_command(imported: Imported) -> None:
    """Running a list imports neither other commands nor other plug-ins than those it uses."""
    own = {name for name in imported("/bin/true") if name.startswith("pytaskfarmer.")}
    assert {
        "pytaskfarmer.cli.arguments",
        "pytaskfarmer.cli.main",
        "pytaskfarmer.cli.run",
        "pytaskfarmer.cli.shares",
        "pytaskfarmer.cli.sizing",
        "pytaskfarmer.cli.values",
    } == {name for name in own if name.startswith("pytaskfarmer.cli.")}
    assert {f"pytaskfarmer.runners.{name}" for name in ("shell", "plain", "handover", "scratch")} == {
        name for name in own if name.startswith("pytaskfarmer.runners.")
    }
    assert {"pytaskfarmer.handlers.lines"} == {name for name in own if name.startswith("pytaskfarmer.handlers.")}


def test_read_ini_files_where_there_are_some(imported: Imported, tmp_path: Path) -> None:
    """Where an INI file lies in the current directory, its parser is imported: the spy sees what is imported."""
    (tmp_path / "mine.ini").write_text("[mine]\nRunner = pytaskfarmer.runners.shell.Shell\n")
    assert "configparser" in imported("/bin/true")
