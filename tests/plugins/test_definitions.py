import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_places import FOUR_SHAPES

from pytaskfarmer.plugins.definitions import Definition, Findings, Refusal, Unreadable, find, parse


def refusal(entries: tuple[Definition | Refusal, ...]) -> Refusal:
    """Return the one refusal that `entries` consist of."""
    (entry,) = entries
    assert isinstance(entry, Refusal)
    return entry


def trust(path: str, status: os.stat_result) -> None:
    """Trust every file."""


def test_files_written_for_0_1_0() -> None:
    """The definitions that people have keep their class, their options as written, and their line."""
    shifter = "taskfarmer.runners.ShifterRunner"
    expected = (
        Definition(
            "runner",
            "mcd-runner",
            shifter,
            {
                "image": "docker:gitlab-registry.example.org/muon-collider/mucoll:2.9-alma9",
                "setup": "source /opt/setup_mucoll.sh",
                "volumes": "/global/cfs/cdirs/atlas/user/MuonCollider/data:/data",
                "modules": "cvmfs",
                "tempdir": "True",
            },
            "my.ini",
            1,
        ),
        Definition(
            "runner",
            "wcd_runner",
            shifter,
            {"image": "docker:user/wcd:main-gaudi-alma9", "setup": "source /opt/spack/setup.sh"},
            "my.ini",
            9,
        ),
        Definition(
            "handler",
            "digi",
            "taskfarmer.atlas.TransformTaskList",
            {
                "transform": "Reco_tf.py",
                "input": "HITS",
                "output": "RDO",
                "maxEventsPerJob": "100",
                "postInclude": "default:PyJobTransforms/UseFrontier.py",
            },
            "my.ini",
            14,
        ),
        Definition(
            "handler",
            "valid",
            "taskfarmer.atlas.AthenaTaskList",
            {
                "jobOptions": "InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py",
                "output": "M_output.root",
                "nprocs": "64",
            },
            "my.ini",
            22,
        ),
    )
    assert expected == parse(FOUR_SHAPES, "my.ini").entries


def test_a_value_is_taken_as_it_stands() -> None:
    """A `%`, a `$`, a later `=` and quotes in a value mean nothing to us."""
    (definition,) = parse("[a]\nRunner = m.C\nsetup = date +%s%(x)s ${HOME} A='b' c: 100%\n", "my.ini").entries
    assert isinstance(definition, Definition)
    assert {"setup": "date +%s%(x)s ${HOME} A='b' c: 100%"} == definition.options


def test_a_section_without_a_class_is_skipped() -> None:
    """A section of some other program's file defines nothing, also if it has the key in another case."""
    assert () == parse("[tox]\nenvlist = py311\n[testenv]\nrunner = virtualenv\n", "tox.ini").entries


def test_a_section_with_both_keys_defines_both() -> None:
    """One section can define a runner and a handler, and neither key is an option."""
    expected = (
        Definition("runner", "hep", "m.R", {"x": "1"}, "my.ini", 2),
        Definition("handler", "hep", "m.T", {"x": "1"}, "my.ini", 2),
    )
    assert expected == parse("\n[hep]\nTaskList = m.T\nRunner = m.R\nx = 1\n", "my.ini").entries


def test_the_default_section_gives_options_to_all() -> None:
    """Keys of `[DEFAULT]` are options of every section that does not set them itself."""
    entries = parse("[DEFAULT]\nx = 1\ny = 2\n[a]\nRunner = m.C\ny = 3\n", "my.ini").entries
    assert (Definition("runner", "a", "m.C", {"x": "1", "y": "3"}, "my.ini", 4),) == entries


def test_comments_and_continued_lines() -> None:
    """`#` and `;` start a comment line, and an indented line goes on with the value."""
    (definition,) = parse("# mine\n[a] # my runner\nRunner = m.C\n; no\nsetup = one\n    two\n", "my.ini").entries
    assert Definition("runner", "a", "m.C", {"setup": "one\ntwo"}, "my.ini", 2) == definition


def test_a_header_in_a_value_is_part_of_it() -> None:
    """An indented `[name]` goes on with the value, and does not move the definition to another line."""
    (definition,) = parse("[a]\nRunner = m.C\nsetup = test\n    [a]\n", "my.ini").entries
    assert Definition("runner", "a", "m.C", {"setup": "test\n[a]"}, "my.ini", 1) == definition


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("[a]\nRunner = m.C\nnonsense\n", "my.ini, line 3", "neither"),
        ("[a]\nRunner = m.C\n= 3\n", "my.ini, line 3", "neither"),
        ("x = 1\n[a]\nRunner = m.C\n", "my.ini, line 1", "before the first"),
        ("[a]\nRunner = m.C\nx = 1\nx = 2\n", "my.ini, line 4", "'x'"),
        ("[a\n[a]\nRunner = m.C\n", "my.ini, line 1", "neither"),
        ("[a]\nRunner = m.C\n[b]\nTaskList=m.D\n[b]\nTaskList=m.D\n", "my.ini, line 5", "[b]"),
        ("[a]\nRunner =\n", "my.ini, line 1", "names no class"),
    ],
)
def test_a_broken_file_refuses_its_names(text: str, where: str, word: str) -> None:
    """What is wrong, and in which line, is said of every name in the file, in one line of our own words."""
    entries = parse(text, "my.ini").entries
    assert ("runner", "a") == (entries[0].kind, entries[0].name)
    for entry in entries:
        assert isinstance(entry, Refusal)
        assert where == entry.where
        assert word in entry.message
        assert "\n" not in entry.message


def test_a_broken_file_refuses_no_more_than_it_defines() -> None:
    """A name is refused as what its section seems to define, and as both only if that cannot be seen."""
    text = "nonsense\n[a]\nRunner m.C\n[b]\nTaskList : m.D\n[c]\nx = 1\n"
    expected = [("runner", "a"), ("handler", "b"), ("runner", "c"), ("handler", "c")]
    assert expected == [(entry.kind, entry.name) for entry in parse(text, "my.ini").entries]


@given(st.lists(st.sampled_from(["[", "]", "a", "b", "=", ":", " ", "\n", "\r", "%", "#", "Runner", "TaskList", "\0"])))
def test_any_text_can_be_parsed(words: list[str]) -> None:
    """Whatever the text, parsing raises nothing and points into the text."""
    text = "".join(words)
    for entry in parse(text, "my.ini").entries:
        if isinstance(entry, Definition):
            assert entry.target
            assert entry.name in text.split("\n")[entry.line - 1]


def test_a_file_breaks_only_itself(tmp_path: Path) -> None:
    """Beside a file that cannot be parsed, the others are read, in the order of their names."""
    (tmp_path / "1.ini").write_text("[a]\nRunner = m.A\n")
    (tmp_path / "2.ini").write_text("[b\nRunner = m.B\n")
    (tmp_path / "3.ini").write_text("[c]\nRunner = m.C\n")
    assert ["a", "c"] == [entry.name for entry in find([str(tmp_path)], trust).entries]


def test_directories_are_read_in_the_order_given(tmp_path: Path) -> None:
    """The first directory's definitions come first; one that does not exist, or is a file, has none."""
    for name in "zyx":
        (tmp_path / name).mkdir()
        (tmp_path / name / "my.ini").write_text(f"[{name}]\nRunner = m.C\n")
    directories = [str(tmp_path / name) for name in ("z", "missing", "y", "x/my.ini", "x")]
    found = find(directories, trust)
    assert ["z", "y", "x"] == [entry.name for entry in found.entries]
    assert () == found.unreadable


def test_only_visible_ini_files_are_read(tmp_path: Path) -> None:
    """Hidden files, directories, FIFOs and links to nowhere are passed by, however they are named."""
    for name in (".hidden.ini", "my.ini.bak", "my.INI"):
        (tmp_path / name).write_text("[a]\nRunner = m.C\n")
    (tmp_path / "directory.ini").mkdir()
    (tmp_path / "link.ini").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.ini")
    assert Findings() == find([str(tmp_path)], trust)


def test_files_of_the_current_directory_are_named_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty directory is the current one, and messages name its files as `ls` does."""
    (tmp_path / "my.ini").write_text("[a]\nRunner = m.C\n")
    monkeypatch.chdir(tmp_path)
    (entry,) = find([""], trust).entries
    assert isinstance(entry, Definition)
    assert "my.ini, line 1" == entry.where


def test_a_current_directory_that_was_removed(tmp_path: Path) -> None:
    """Without a current directory there is nothing in it, and that is no error."""
    program = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from pytaskfarmer.plugins.definitions import find, Findings; sys.exit(find(['']) != Findings())"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A read error is reported with the file and the system's reason, and the other files are read."""
    (tmp_path / "1.ini").symlink_to("/proc/self/mem")
    (tmp_path / "2.ini").write_text("[a]\nRunner = m.C\n")
    found = find([str(tmp_path)], trust)
    assert (Unreadable(str(tmp_path / "1.ini"), "cannot be read (Input/output error)"),) == found.unreadable
    assert ["a"] == [entry.name for entry in found.entries]


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    """A directory that is there but cannot be listed is reported with the system's reason."""
    (tmp_path / "loop").symlink_to("loop")
    expected = Unreadable(str(tmp_path / "loop"), "cannot be listed (Too many levels of symbolic links)")
    assert (expected,) == find([str(tmp_path / "loop")]).unreadable


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 refuse the file's names and are reported with their line."""
    (tmp_path / "my.ini").write_bytes(b"[a]\nRunner = m.C\nx = caf\xe9\n")
    refused = refusal(find([str(tmp_path)], trust).entries)
    assert ("runner", "a", f"{tmp_path}/my.ini, line 3") == (refused.kind, refused.name, refused.where)
    assert "UTF-8" in refused.message


def test_files_from_other_systems(tmp_path: Path) -> None:
    """A byte order mark and CRLF line ends are not part of names and values."""
    (tmp_path / "my.ini").write_bytes(b"\xef\xbb\xbf[a]\r\nRunner = m.C\r\nx = \xc3\xa9\r\n")
    expected = Definition("runner", "a", "m.C", {"x": "é"}, str(tmp_path / "my.ini"), 1)
    assert (expected,) == find([str(tmp_path)], trust).entries


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    """Of a file that is larger than any definition, the rest is not read and the names are refused."""
    (tmp_path / "my.ini").write_text("[a]\nRunner = m.C\n")
    os.truncate(tmp_path / "my.ini", 1 << 40)
    assert "larger than" in refusal(find([str(tmp_path)], trust).entries).message


def test_a_file_that_others_can_write_to(tmp_path: Path) -> None:
    """Its names are refused with the command that mends it; names of other files are unaffected."""
    (tmp_path / "their own.ini").write_text("[a]\nRunner = m.C\n[b]\nTaskList = m.D\n")
    (tmp_path / "their own.ini").chmod(0o666)
    (tmp_path / "fine.ini").write_text("[c]\nRunner = m.C\n")
    (tmp_path / "fine.ini").chmod(0o644)
    fine, *refused = find([str(tmp_path)]).entries
    assert isinstance(fine, Definition)
    assert [("runner", "a"), ("handler", "b")] == [(entry.kind, entry.name) for entry in refused]
    for entry in refused:
        assert isinstance(entry, Refusal)
        assert f": chmod go-w '{tmp_path}/their own.ini' (or use --trust-ini)" in entry.message


def test_both_link_and_file_must_be_trusted(tmp_path: Path) -> None:
    """The rule is asked about a link and about what it points to, and each can refuse."""
    (tmp_path / "target").write_text("[a]\nRunner = m.C\n")
    (tmp_path / "my.ini").symlink_to("target")
    for format_of_refused in (stat.S_IFLNK, stat.S_IFREG):

        def rule(path: str, status: os.stat_result, refused: int = format_of_refused) -> str | None:
            return "no" if stat.S_IFMT(status.st_mode) == refused else None

        assert "no" == refusal(find([str(tmp_path)], rule).entries).message


def test_without_ini_files_no_parser_is_imported(tmp_path: Path) -> None:
    """Where there is no INI file, `configparser` is not imported."""
    program = (
        "import sys; from pytaskfarmer.plugins.definitions import find\n"
        "find(['']); sys.exit('configparser' in sys.modules)"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode
