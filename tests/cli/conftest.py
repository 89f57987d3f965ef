"""What the tests of the commands share."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk of the user who runs the tests."""
    desk = Desk(tmp_path / "desk", tmp_path / "home")
    desk.place.mkdir()
    desk.home.mkdir()
    monkeypatch.setenv("HOME", str(desk.home))
    yield desk
    desk.clear()


@pytest.fixture
def ordinary_desk(desk: Desk, require: Callable[[str], str]) -> Desk:
    """A desk at which nobody is above the permissions of files: root has given up its privileges."""
    if os.geteuid() == 0:
        desk.prefix = [require("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    (desk / "closed").touch(mode=0)
    assert 0 != subprocess.run([*desk.prefix, "cat", desk / "closed"], capture_output=True, check=False).returncode
    (desk / "closed").unlink()
    return desk
