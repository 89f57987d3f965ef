import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_places import Places

from pytaskfarmer.errors import DefinitionError, UnknownName
from pytaskfarmer.plugins.definitions import Definition
from pytaskfarmer.plugins.registry import describe

Module = Callable[[str], str]

RUNNER = "class Fine:\n    'Runs it.'\n    def command(self, task, context): ...\n"


def install(directory: Path, entry_points: str | bytes, package: str = "foreign") -> None:
    """Put the metadata of an installed package into `directory`."""
    info = directory / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(entry_points if isinstance(entry_points, bytes) else entry_points.encode())
    importlib.invalidate_caches()


def test_a_name_found_nowhere_else(places: Places, importable: Path, module: Module) -> None:
    """An installed package's plug-in is found by its entry point."""
    name = module(RUNNER)
    install(importable, f"[pytaskfarmer.runners]\nforeign = {name}:Fine [extra]\n")
    runner = places.registry().runner("foreign")
    assert (name, "Fine") == (type(runner).__module__, type(runner).__name__)


def test_files_come_before_packages(places: Places, importable: Path) -> None:
    """A definition in the current directory has precedence over an installed package's."""
    install(importable, "[pytaskfarmer.handlers]\nx = foreign:Handler\ny = foreign:Handler\n")
    places.ini("cwd/my.ini", "[x]\nTaskList = m.Here\n")
    known = {entry.name: entry for entry in places.registry().known("handler").entries}
    assert Definition("handler", "x", "m.Here", {}, f"{places.cwd}/my.ini", 1) == known["x"]
    assert Definition("handler", "y", "foreign:Handler", {}, "package foreign", 0, installed=True) == known["y"]


def test_a_package_does_not_redefine_a_built_in_name(places: Places, importable: Path) -> None:
    """What is called `default` stays ours, whatever is installed."""
    install(importable, "[pytaskfarmer.runners]\ndefault = foreign:Runner\n")
    known = {entry.name: entry for entry in places.registry().known("runner").entries}
    assert places.registry().definition("runner", "default") == known["default"]
    assert "foreign" not in str(known["default"])


def test_they_are_listed_where_a_name_is_unknown(places: Places, importable: Path) -> None:
    """Their names are among the known ones."""
    install(importable, "[pytaskfarmer.runners]\nforeign = foreign:Runner\n")
    with pytest.raises(UnknownName, match=r"Did you mean 'foreign'\?"):
        places.registry().runner("foriegn")


def test_a_plug_in_that_cannot_be_imported(places: Places, importable: Path) -> None:
    """The error says which package is at fault."""
    install(importable, "[pytaskfarmer.runners]\nforeign = no_such_package:Runner\n")
    with pytest.raises(DefinitionError) as caught:
        places.registry().runner("foreign")
    expected = "package foreign: runner 'foreign': there is no module 'no_such_package'"
    assert str(caught.value).startswith(expected)


def test_broken_metadata(places: Places, importable: Path, module: Module) -> None:
    """A package whose metadata cannot be read hides neither built-in names nor those of other packages."""
    name = module(RUNNER)
    install(importable, b"\xff\xff\n")
    install(importable, f"[pytaskfarmer.runners]\nfine = {name}:Fine\n", "other")
    registry = places.registry()
    registry.runner("default")
    assert "Runs it." == describe(registry.definition("runner", "fine")).text
    with pytest.raises(DefinitionError) as caught:
        registry.runner("absent")
    assert str(caught.value).startswith("package foreign: its entry points cannot be read (")
    assert "and elsewhere there is no runner named 'absent'. Known: container, default, fine, " in str(caught.value)


def test_only_the_one_asked_for_is_imported(places: Places, importable: Path, module: Module) -> None:
    """Asking for one package's plug-in does not import another's."""
    fine, fatal = module(RUNNER), module("raise SystemExit")
    install(importable, f"[pytaskfarmer.runners]\na = {fatal}:C\nb = {fine}:Fine\n")
    places.registry().runner("b")
    assert fatal not in sys.modules
