"""What the tests of plug-ins share: places for INI files, and modules that exist for one test."""

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugin_places import Places

_numbers = itertools.count()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a directory on Python's import path; what is imported from it is forgotten after the test."""
    directory = tmp_path / "importable"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(directory)):
            del sys.modules[name]


@pytest.fixture
def module(importable: Path) -> Callable[[str], str]:
    """Return `module(source)`: the name of a new importable module."""

    def module(source: str) -> str:
        name = f"users_module_{next(_numbers)}"
        (importable / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return name

    return module
