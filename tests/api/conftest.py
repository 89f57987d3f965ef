"""What the tests of the pool share: a place where nothing may be left, and scripts that are run as a user runs them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent

Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def no_leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the directory of passing work directories, which must be empty a little after the end.

    Its name is short, since the sockets of `multiprocessing` lie in it, whose names have room for 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="p") as name:
        passing = Path(name)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield passing
        end = time.monotonic() + 3
        while os.listdir(passing) and time.monotonic() < end:
            time.sleep(0.01)
        assert [] == sorted(passing.iterdir())


@pytest.fixture
def environment(no_leftovers: Path, mark: object) -> dict[str, str]:
    """Return an environment in which `called` can be imported."""
    path = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Script]:
    """Return `start(source, *arguments)`: a Python process of its own session that executes `source` in `tmp_path`."""
    started = []

    def begin(source: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
        path = tmp_path / "script.py"
        path.write_text(source)
        process = subprocess.Popen(
            [sys.executable, path, *map(str, arguments)],
            **{
                "cwd": tmp_path,
                "text": True,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.STDOUT,
                "start_new_session": True,
                "env": environment,
                **options,
            },
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


@pytest.fixture
def run(start: Script) -> Callable[..., str]:
    """Return `run(source, *arguments)`: what a script prints, which must end well."""

    def run_to_its_end(source: str, *arguments: object, **options: Any) -> str:
        process = start(source, *arguments, **options)
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 0, printed
        return printed

    return run_to_its_end
