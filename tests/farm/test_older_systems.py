"""What Linux and the C library may lack: pidfds (before 5.3), and sessions made by posix_spawn (before glibc 2.26)."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytaskfarmer.workdir import records
from pytaskfarmer.workdir.layout import Layout

WITHOUT = {
    "pidfds": "del os.pidfd_open",
    "posix_spawn with setsid": """
spawn = os.posix_spawn
def refuse(*arguments, setsid=False, **others):
    if setsid:
        raise NotImplementedError("setsid")
    return spawn(*arguments, **others)
os.posix_spawn = refuse
""",
}
FARM = """
import os, sys
{without}
from pytaskfarmer.cli.main import main
sys.exit(main(["run", "-n", "4", "list"]))
"""


@pytest.mark.parametrize("without", WITHOUT.values(), ids=WITHOUT)
def test_a_farm_runs_without(without: str, tmp_path: Path) -> None:
    """Every task runs once, ends are noticed, and what a task leaves behind is killed."""
    (tmp_path / "list").write_text("echo $PROC_NUMBER >> ran\n" * 60 + "sleep 60 & echo left\nexit 3\n")
    farm = [sys.executable, "-c", FARM.format(without=without)]
    done = subprocess.run(farm, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=30)
    assert (1, "") == (done.returncode, done.stderr), done.stdout
    layout = Layout(str(tmp_path / "list_workdir"))
    assert list(range(61)) == sorted(records.ids(layout.finished))
    assert [61] == list(records.ids(layout.failed))
    assert sorted(map(str, range(60))) == sorted((tmp_path / "ran").read_text().split())
    assert "killed 1 process that the task left behind" in Path(layout.log(60)).read_text()
