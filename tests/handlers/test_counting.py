"""How many events an input has."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

from pytaskfarmer.handlers import counting
from pytaskfarmer.handlers.counting import Counts

OTHERWISE = "count them yourself"


def events_in(path: str, tree: str | None = None) -> int:
    return counting.events_in(path, tree, OTHERWISE)


def root_file(path: Path, **trees: int) -> str:
    """Write a file with these trees of so many entries, and a histogram."""
    with uproot.recreate(path) as file:
        for name, entries in trees.items():
            file.mktree(name, {"x": np.int64})
            file[name].extend({"x": np.arange(entries)})
        file["histogram"] = np.histogram(np.arange(10))
    return str(path)


def problem(path: str, tree: str | None = None) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        events_in(path, tree)
    return str(caught.value)


@pytest.mark.parametrize("entries", [0, 1, 250])
def test_events_are_the_entries_of_a_tree(tmp_path: Path, entries: int) -> None:
    """A tree has as many events as entries, and other trees do not matter."""
    path = root_file(tmp_path / "a.root", events=entries, metadata=7)
    assert entries == events_in(path, "events")


def test_events_are_the_entries_of_an_rntuple(tmp_path: Path) -> None:
    """The successor of trees is counted as they are."""
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("events", {"x": np.arange(42)})
    assert 42 == events_in(str(tmp_path / "a.root"), "events")


def test_a_colon_in_a_name_is_no_tree(tmp_path: Path) -> None:
    """A file name with a colon is a file name."""
    assert 3 == events_in(root_file(tmp_path / "a:events.root", events=3), "events")


def test_a_missing_tree_names_those_that_are_there(tmp_path: Path) -> None:
    """The error lists the trees, and nothing that is none, also where a tree must be named."""
    path = root_file(tmp_path / "a.root", events=3, metadata=1)
    there = "(there are: events, metadata)"
    assert f"has no tree 'hits' {there}; leave this input out, or {OTHERWISE}" == problem(path, "hits")
    assert problem(path, "histogram").startswith(f"has no tree 'histogram' {there}")
    assert f"has several trees {there}; leave this input out, or {OTHERWISE}" == problem(path)


def test_the_only_tree_need_not_be_named(tmp_path: Path) -> None:
    """Where a file has one tree, its entries are the events."""
    assert 5 == events_in(root_file(tmp_path / "a.root", any=5))


def test_a_file_without_trees_says_so(tmp_path: Path) -> None:
    """Where there is no tree at all, the list of trees is `none`."""
    path = root_file(tmp_path / "a.root")
    assert "(there are: none)" in problem(path, "events")
    assert problem(path).startswith("has no tree (there are: none)")


@pytest.mark.parametrize("content", [b"", b"no root file" * 100])
def test_what_is_no_root_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    """A damaged file is an error of one line, and a missing one is said to be that."""
    path = tmp_path / "a.root"
    path.write_bytes(content)
    assert problem(str(path), "events").startswith("cannot be read as a ROOT file (")
    path.unlink()
    assert "cannot be read to count its events (No such file or directory)" == problem(str(path), "events")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("", 0),
        ("a,b\n", 0),
        ("a,b\n1,2\n", 1),
        ("a,b\n1,2\n3,4", 2),
        ("\n\na,b\n\n1,2\n  \n3,4\n\n", 2),
        ("a,b\r\n1,2\r\n\r\n3,4\r\n", 2),
    ],
)
def test_rows_are_lines_but_for_header_and_blanks(tmp_path: Path, content: str, rows: int) -> None:
    """Neither the header nor a blank line of a CSV file is an event."""
    path = tmp_path / "a.CSV"
    path.write_bytes(content.encode())
    assert rows == events_in(str(path))


def test_events_of_hepmc_are_its_e_lines(tmp_path: Path) -> None:
    """Each event of a HepMC text file begins with an E line."""
    path = tmp_path / "a.hepmc"
    path.write_text(
        "HepMC::Asciiv3-START_EVENT_LISTING\nW Weight\nE 0 1 2\nU GEV MM\nP 1 0 11\nE 1 1 2\nU GEV MM\nV -1\n"
    )
    assert 2 == events_in(str(path))


def test_other_files_cannot_be_counted(tmp_path: Path) -> None:
    """For what cannot be counted, the error says what to do instead."""
    assert problem("a.slcio").endswith(f"only; {OTHERWISE}")
    missing = "cannot be read to count its events (No such file or directory)"
    assert missing == problem(str(tmp_path / "none.csv"))


def test_an_input_is_counted_once(tmp_path: Path) -> None:
    """A second look at the same place of the list does not look at the file, one for another path does."""
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("h\n1\n2\n")
    other.write_text("h\n1\n")
    counts = Counts(None, OTHERWISE)
    assert [2, 1] == [counts.of(0, str(one)), counts.of(1, str(other))]
    one.unlink()
    assert [2, 1] == [counts.of(0, str(one)), counts.of(1, str(other))]
    assert 1 == counts.of(0, str(other))
    one.write_text("h\n")
    assert 0 == counts.of(1, str(one))


def test_without_uproot_the_remedy_is_named() -> None:
    """Where uproot is not installed, the error names what installs it; nothing else needs it."""
    program = (
        "import sys; sys.modules['uproot'] = None\n"
        "from pytaskfarmer.handlers.counting import events_in\n"
        "try: events_in('a.root', 'events', 'do so')\n"
        "except ValueError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    install = "pip install 'pytaskfarmer[hep]'"
    assert f"counting the events of a ROOT file needs uproot: {install}, or do so\n" == ended.stdout


def test_importing_the_handlers_imports_no_uproot() -> None:
    """The handlers that count do not import uproot before they count."""
    program = (
        "import sys; from pytaskfarmer.handlers import atlas, presets\n"
        "print(sorted({'uproot', 'numpy', 'awkward'} & set(sys.modules)))"
    )
    assert "[]\n" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
