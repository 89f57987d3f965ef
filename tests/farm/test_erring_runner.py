"""A runner that goes wrong costs its task, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytaskfarmer.workdir import records
from pytaskfarmer.workdir.layout import Layout

RUNNER = """
class Erring:
    def command(self, task, context):
        raise KeyError("no such thing")
"""


def test_no_descriptor_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More failures than the farmer may open files: all are recorded, so none of them kept its log open."""
    (tmp_path / "erring.py").write_text(RUNNER)
    (tmp_path / "erring.ini").write_text("[erring]\nRunner = erring.Erring\n")
    (tmp_path / "list").write_text("true\n" * 200)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    farm = ["prlimit", "--nofile=100", sys.executable, "-m", "pytaskfarmer", "run", "list", "-n", "2", "-r", "erring"]
    done = subprocess.run(farm, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=40)
    assert (1, "") == (done.returncode, done.stderr), done.stdout
    assert list(range(200)) == sorted(records.ids(Layout(str(tmp_path / "list_workdir")).failed))
