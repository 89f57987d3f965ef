"""The options of the Python runner."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.python import Python
from pytaskfarmer.task import Task

CONTEXT = TaskContext(0, 1, "/w", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": "fit"}, "function is 'fit'; write it as module:function"),
        ({"function": "fits.fit"}, "function is 'fits.fit'; write it as module:function"),
        ({"setup": "fits:"}, "setup is 'fits:'; write it as module:function"),
        ({"setup": ""}, "setup is ''; write it as module:function"),
        ({"concurrency": 0}, "concurrency is 0; it must be 1 or more"),
        ({"max_tasks": -1}, "max_tasks is -1; it must be 1 or more"),
        (
            {"python": "/no/such/python3"},
            "python is '/no/such/python3', but there is no such program; give the path of an interpreter",
        ),
        ({"path": ("/", "/no/such")}, "path names '/no/such', but there is no such directory; correct it"),
    ],
)
def test_a_value_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    """It is refused before anything runs, in one line."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Python(**options)


def test_what_the_farmer_asks() -> None:
    """Concurrency and the number of tasks a worker lives for are as given; by default one, and for ever."""
    assert (1, None) == (Python().concurrency, Python().max_tasks)
    runner = Python(concurrency=8, max_tasks=100)
    assert (8, 100) == (runner.concurrency, runner.max_tasks)


def test_the_request_is_the_line() -> None:
    """The worker is told the line as it is, bytes that are not UTF-8 included."""
    assert b"m:f caf\xe9 'x" == Python().request(Task(0, "m:f caf\udce9 'x"), CONTEXT)


def test_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The farmer's interpreter runs the worker, unless another one is named, by its path or as found on PATH."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "python").symlink_to(sys.executable)
    assert sys.executable == Python().worker(CONTEXT).argv[0]
    assert f"{tmp_path}/python" == Python(python="~/python").worker(CONTEXT).argv[0]
    assert "sh" == Python(python="sh").worker(CONTEXT).argv[0]


def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories are taken from where the farmer starts, and from the home directory if they say so."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for text in ("lib", "./lib/", "~/lib"):
        assert f'"path": ["{tmp_path}/lib"]' in Python(path=(text,)).worker(CONTEXT).argv[-1]
