import glob
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.handlers.files import Files, matches
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.task import encode

TREE = ["b.root", "a.root", "B.root", "c.txt", ".hidden.root", "d/a.root", "d/e/x y.root", "d/e/f/z.txt", "d/.h/n.root"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a directory with the files of `TREE`."""
    place = tmp_path / "place"
    plant(place, TREE)
    monkeypatch.chdir(place)
    return place


def plant(place: Path, names: Iterable[str]) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def tasks(patterns: str | bytes, command: str = "{file}", growing: bool = False) -> list[str]:
    """Return the tasks of a list with these patterns, which is outside of the directory."""
    path = Path("../list")
    path.write_bytes(patterns if isinstance(patterns, bytes) else patterns.encode())
    return list(Files(command=command).tasks(Tasklist(str(path), "", growing)))


def problem(patterns: str | bytes, command: str = "{file}") -> tuple[int | None, str]:
    with pytest.raises(TasklistError) as caught:
        tasks(patterns, command)
    assert "\n" not in str(caught.value)
    return caught.value.line, caught.value.message


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*.root", ["B.root", "a.root", "b.root"]),
        ("./*.root", ["B.root", "a.root", "b.root"]),
        ("[ab].root", ["a.root", "b.root"]),
        ("[!ab].root", ["B.root"]),
        ("?.txt", ["c.txt"]),
        ("c.txt", ["c.txt"]),
        (".*.root", [".hidden.root"]),
        ("*/*.root", ["d/a.root"]),
        ("d//*/*", ["'d/e/x y.root'"]),
        ("d/../?.txt", ["d/../c.txt"]),
        ("**/*.root", ["B.root", "a.root", "b.root", "d/a.root", "'d/e/x y.root'"]),
        ("d/**/*.txt", ["d/e/f/z.txt"]),
        ("d/**", ["d/a.root", "d/e/f/z.txt", "'d/e/x y.root'"]),
        ("**/e/**/*", ["d/e/f/z.txt", "'d/e/x y.root'"]),
        ("**/a.root", ["a.root", "d/a.root"]),
        ("d/.h/*", ["d/.h/n.root"]),
    ],
)
def test_files_come_in_the_order_of_their_bytes(place: Path, pattern: str, files: list[str]) -> None:
    """A pattern gives the files that a shell would list, hidden ones only when asked for, and no directories."""
    assert files == tasks(pattern + "\n")


def test_an_absolute_pattern_gives_absolute_paths(place: Path) -> None:
    """Paths are absolute where the pattern is."""
    assert [f"{place}/B.root", f"{place}/a.root", f"{place}/b.root"] == tasks(f"{place}/*.root")


def test_each_file_is_one_task(place: Path) -> None:
    """Patterns keep their order; comments and blank lines are none; what an earlier one matched is no task again."""
    assert ["c.txt", "b.root", "B.root", "a.root"] == tasks("# my files\nc.txt\n\n./b.*\n*.root\n**/b.root\n")


def test_brackets_are_those_of_a_shell(place: Path) -> None:
    """A caret negates where a shell would take it for that, and is a sign like any other where it would not."""
    for name in "a^![]":
        Path(f"{name}.odd").touch()
    for brackets in ("[^a]", "[^]a]", "[!]a]", "[[^]", "[a^]", "[^^]", "[^!]", "[]^]", "[!^]"):
        shell = ["bash", "-c", f"printf '%s\\n' {brackets}.odd"]
        expected = sorted(subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=True).stdout.split())
        assert expected == [Path(file).name for file in tasks(f"{brackets}.odd\n", "{file:raw}")], brackets


def test_the_parts_of_a_path_are_fields(place: Path) -> None:
    """Path, last part, stem, directory and number may be used, each quoted where it must be."""
    expected = ["a.root a.root a . 0", "d/a.root a.root a d 1", "'d/e/x y.root' 'x y.root' 'x y' d/e 2"]

    assert expected == tasks("a.root\nd/**/*.root\n", "{file} {name} {stem} {dir} {index}")


def test_awkward_names_survive(place: Path) -> None:
    """Names that are not UTF-8, look like options or hold quotes reach the command as they are."""
    for name in (b"-rf.odd", b"\xff.odd", b"it's.odd"):
        Path(os.fsdecode(name)).touch()

    found = [encode(text) for text in tasks("*.odd\n", "gzip {file}")]

    assert [b"gzip ./-rf.odd", b"gzip 'it'\"'\"'s.odd'", b"gzip '\xff.odd'"] == found


def test_a_pattern_is_bytes_too(place: Path) -> None:
    """A pattern that is not UTF-8 matches the names with its bytes."""
    Path(os.fsdecode(b"\xfe1.odd")).touch()

    assert [b"'\xfe1.odd'"] == [encode(text) for text in tasks(b"\xfe*\n")]


def test_links(place: Path) -> None:
    """A link to a file is a file, one to nothing or itself none; `**` follows none to a directory, a name does."""
    Path("link.root").symlink_to("a.root")
    Path("gone.root").symlink_to("nothing")
    Path("d/loop").symlink_to("..")

    Path("circle.root").symlink_to("circle.root")
    assert ["link.root"] == tasks("[cgl]*.root\n")
    assert ["d/a.root"] == tasks("[cd]*/a.root\n")
    assert ["d/a.root"] == tasks("**/d/a.root\n")
    assert ["d/loop/c.txt"] == tasks("d/loop/*.txt\n")


@pytest.mark.parametrize(
    "pattern", ["*.nothing", "nothing/*.root", "c.txt/*", "d", "d/", "*/", "nothing", "/", "[a.root"]
)
def test_a_pattern_without_files_is_an_error(place: Path, pattern: str) -> None:
    """What matches no file is said with its line, and where it was looked for."""
    line, message = problem(f"a.root\n#\n{pattern}\n")

    assert (3, f"no file matches {pattern!r} in {place}; correct the pattern, or remove the line.") == (line, message)


@pytest.mark.parametrize("pattern", ["~/*.root", "~user/a", "$HOME/*.root", "${HOME}/a", "{a,b}.root"])
def test_what_only_a_shell_replaces_is_named(place: Path, pattern: str) -> None:
    """A pattern that a shell would have made another of is said to be taken as it stands."""
    remedy = "~, $ and {} stand for themselves here, so write the paths out."
    assert (1, f"no file matches {pattern!r} in {place}; {remedy}") == problem(f"{pattern}\n")


def test_a_directory_that_cannot_be_listed_is_an_error(place: Path) -> None:
    """Files that nobody can list are not left out silently."""
    Path("circle").symlink_to("circle")

    assert (1, "cannot list circle (Too many levels of symbolic links).") == problem("circle/*.root\n")


def test_a_file_name_with_a_newline_is_an_error(place: Path) -> None:
    """A task is one line, so such a file can have none."""
    Path("a\nb.odd").touch()

    assert (1, "this task has a newline; a task is one line.") == problem("*.odd\n", "gzip {file}")


def test_the_unfinished_line_of_a_growing_list_is_no_pattern_yet(place: Path) -> None:
    """What has no line end yet is left out."""
    assert ["a.root"] == tasks("a.root\n*", growing=True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "gzip {path}",
            "the command has a field {path}; those of this handler are {file}, {name}, {stem}, {dir}, {index}",
        ),
        ("gzip *", "the command has no field, so all tasks would be the same; write {file} for the file"),
        (" ", "the command is empty"),
    ],
)
def test_commands_that_cannot_be_used(command: str, message: str) -> None:
    """A command that fits no file is refused before a list is read."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Files(command=command)

    assert message == str(caught.value)[: len(message)]


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory in which every short path of a few names is a file."""
    place = tmp_path_factory.mktemp("forest")
    below = ["a", "b", "ab", ".a"]
    for directory in ("", "A", "B", ".A", "A/B", "A/.A", ".A/A", "A/B/A"):
        plant(place / directory, below)
    return place


@given(pattern=st.lists(st.sampled_from(["a", "A", "?", "*", "**", "[aA]", "*b", ".*"]), min_size=1, max_size=4))
def test_matches_are_those_of_the_standard_library(pattern: list[str], forest: Path) -> None:
    """Without links, the files found are the files that Python's `glob` finds."""
    path = str(forest.joinpath(*pattern))
    expected = {match for match in glob.glob(path, recursive=True) if os.path.isfile(match)}

    assert expected == {os.fsdecode(match) for match in matches(os.fsencode(path))}
