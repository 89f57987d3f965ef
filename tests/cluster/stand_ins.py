"""Programs on PATH in place of a batch system's, for what a real one cannot be made to do."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import COMMAND

Fake = Callable[..., Path]


def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return `fake(NAME=SCRIPT...)`, which makes programs and returns their directory, in which they also run.

    The current directory is an empty one with the list `tasks.txt`, of two tasks.
    """
    programs, place = tmp_path / "bin", tmp_path / "place"
    programs.mkdir()
    place.mkdir()
    (place / "tasks.txt").write_text("true\ntrue\n")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", "/nonexistent")
    monkeypatch.chdir(place)

    def make(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = programs / name
            path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(programs))}\n{script}\n")
            path.chmod(0o755)
        return programs

    return make


def farm(*options: str) -> int:
    """Run the list here, and return the farmer's exit status."""
    return subprocess.run([*COMMAND, "tasks.txt", "--quiet", "--proc=1", *options], check=False).returncode
