"""The commands that PyTaskFarmer 0.1.0 made for ATLAS transforms and athena."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uproot

from pytaskfarmer.errors import DefinitionError, TasklistError
from pytaskfarmer.handlers.atlas import Athena, Transform
from pytaskfarmer.plugins.contracts import Handler, Tasklist
from pytaskfarmer.plugins.registry import Registry

LIST = "# inputs\n  a.root \n\nd/b.root\r\nroot://host//c.root"
DEFINITIONS = """\
[digi]
TaskList = taskfarmer.atlas.TransformTaskList
transform = Reco_tf.py
input = HITS
output = RDO
maxEventsPerJob = 1e2
postInclude = default:PyJobTransforms/UseFrontier.py
preExec = all:from A import B; B.set(False);' 'HITtoRDO:from C import d; d.z = 42

[valid]
TaskList = taskfarmer.atlas.AthenaTaskList
jobOptions = Valid/Valid_topOptions.py
output = M_output.root
nprocs = 64
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tasks(handler: Handler, content: str) -> list[str]:
    Path("list.txt").write_text(content)
    return list(handler.tasks(Tasklist("list.txt", "/nowhere/work")))


def pool_file(name: str, events: int, tree: str = "CollectionTree") -> None:
    with uproot.recreate(name) as file:
        for each, entries in ((tree, events), ("MetaData", 1)):
            file.mktree(each, {"x": np.int64})
            file[each].extend({"x": np.arange(entries)})


def test_a_transform_of_whole_files() -> None:
    """Without `maxEventsPerJob` each line is a task as it is, and no file is opened."""
    handler = Transform(transform="Reco_tf.py", input="HITS", output="RDO", autoConfiguration="everything")
    begin = "Reco_tf.py --autoConfiguration 'everything' --inputHITSFile"
    assert [
        f"{begin} a.root --outputRDOFile RDO.0.root && rsync -avr RDO.0.root /nowhere/work/output",
        f"{begin} d/b.root --outputRDOFile RDO.1.root && rsync -avr RDO.1.root /nowhere/work/output",
        f"{begin} root://host//c.root --outputRDOFile RDO.2.root && rsync -avr RDO.2.root /nowhere/work/output",
    ] == tasks(handler, LIST)


def test_a_transform_of_pieces() -> None:
    """Exact and ragged splits; each piece asks for the largest number, and a file without events is no task."""
    for name, events in (("a.root", 200), ("b.root", 0), ("c.root", 250), ("d.root", 1)):
        pool_file(name, events)
    handler = Transform(transform="Reco_tf.py", input="HITS", output="RDO", maxEventsPerJob=100.0)
    command = (
        "Reco_tf.py --inputHITSFile {0}.root --outputRDOFile RDO.{1}.root --skipEvents {2} --maxEvents 100"
        " && rsync -avr RDO.{1}.root /nowhere/work/output"
    )
    pieces = [
        ("a", "0.0", 0),
        ("a", "0.1", 100),
        ("c", "2.0", 0),
        ("c", "2.1", 100),
        ("c", "2.2", 200),
        ("d", "3.0", 0),
    ]
    assert [command.format(*piece) for piece in pieces] == tasks(handler, "a.root\nb.root\nc.root\nd.root\n")


def test_athena_on_whole_files() -> None:
    """Each line is a task, whose id is added to the name of what it wrote."""
    handler = Athena(jobOptions="J/j.py", output="M.root", nprocs="64")
    run = "athena.py --nprocs '64' --filesInput {} J/j.py && rsync -avr M.root /nowhere/work/output/M.root.{}"
    names = ("a.root", "d/b.root", "root://host//c.root")
    assert [run.format(name, i) for i, name in enumerate(names)] == tasks(handler, LIST)


def test_athena_on_pieces() -> None:
    """Exact and ragged splits; the id in the name is that of the task, also after a file without events."""
    for name, events in (("a.root", 200), ("b.root", 0), ("c.root", 150)):
        pool_file(name, events)
    handler = Athena(jobOptions="J/j.py", output="M.root", maxEventsPerJob=100)
    run = "athena.py --filesInput {} --skipEvents {} --evtMax 100 J/j.py"
    run += " && rsync -avr M.root /nowhere/work/output/M.root.{}"
    pieces = [("a.root", 0, 0), ("a.root", 100, 1), ("c.root", 0, 2), ("c.root", 100, 3)]
    assert [run.format(*piece) for piece in pieces] == tasks(handler, "a.root\nb.root\nc.root\n")


def test_definitions_of_0_1_0_load(place: Path) -> None:
    """Sections that name the classes of 0.1.0 give its commands, with quotes and the order of keys as they are."""
    Path("tasklists.ini").write_text(DEFINITIONS)
    Path("tasklists.ini").chmod(0o644)
    names = Registry.read(str(place / "home"), str(place))
    pool_file("a.root", 101)
    post = "--postInclude 'default:PyJobTransforms/UseFrontier.py'"
    pre = "--preExec 'all:from A import B; B.set(False);' 'HITtoRDO:from C import d; d.z = 42'"
    assert [
        f"Reco_tf.py {post} {pre} --inputHITSFile a.root --outputRDOFile RDO.0.{i}.root --skipEvents {100 * i} "
        f"--maxEvents 100 && rsync -avr RDO.0.{i}.root /nowhere/work/output"
        for i in range(2)
    ] == tasks(names.handler("digi"), "a.root\n")
    run = "athena.py --nprocs '64' --filesInput a.root Valid/Valid_topOptions.py"
    copy = "rsync -avr M_output.root /nowhere/work/output/M_output.root.0"
    assert [f"{run} && {copy}"] == tasks(names.handler("valid"), "a.root\n")
    with pytest.raises(DefinitionError, match="maxEventsPerJob"):
        names.handler("digi", {"maxEventsPerJob": "many"})


@pytest.mark.parametrize("most", [0, -1, 0.5, 2.5, float("nan"), float("inf")])
def test_events_are_whole(most: float) -> None:
    """A largest number that is not whole would leave events out, and is refused."""
    with pytest.raises(ValueError, match=r"^maxEventsPerJob is .*; it must be a whole number, 1 or more$"):
        Athena(jobOptions="j.py", output="o", maxEventsPerJob=most)


def test_an_argument_is_one_line() -> None:
    """A value that goes on in the next line of an INI file is refused with its key."""
    with pytest.raises(ValueError, match=r"^preExec has more than one line"):
        Transform(transform="t", input="a", output="b", preExec="one\ntwo")


def test_files_that_cannot_be_counted() -> None:
    """A file without CollectionTree, and a line of two files, are errors with their line."""
    handler = Transform(transform="t", input="HITS", output="RDO", maxEventsPerJob=10)
    pool_file("a.root", 3, tree="POOLCollection")
    with pytest.raises(TasklistError) as caught:
        tasks(handler, "# one\na.root\n")
    told = "a.root: has no tree 'CollectionTree' (there are: POOLCollection, MetaData)"
    remedy = "leave this input out, or leave out maxEventsPerJob"
    assert f"list.txt, line 2: {told}; {remedy}." == str(caught.value)
    with pytest.raises(TasklistError, match=r"line 1: a\.root b\.root: is not one file; .* a line of its own"):
        tasks(handler, "a.root b.root\n")
    with pytest.raises(TasklistError, match=r"line 1: 'a: No closing quotation"):
        tasks(handler, "'a\n")


def test_a_file_is_counted_under_the_name_that_the_shell_finds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, `~` and quotes of a line stay in the command, and are read as a shell would to count."""
    pool_file("a b.root", 1)
    monkeypatch.setenv("DATA", str(place))
    monkeypatch.setenv("HOME", str(place))
    lines = ["$DATA/'a b.root'", "~/a\\ b.root"]
    handler = Athena(jobOptions="j.py", output="o", maxEventsPerJob=10)
    found = tasks(handler, "\n".join(lines))
    assert lines == [text.partition(" --filesInput ")[2].partition(" --skipEvents")[0] for text in found]


def test_the_output_directory_is_made_before_tasks_run(place: Path) -> None:
    """Reading a list makes nothing; preparing to run it makes `output`, and the commands find it behind a link."""
    Path("list.txt").write_text("a.root\n")
    (place / "real").mkdir()
    (place / "work").symlink_to(place / "real")
    handler = Transform(transform="t", input="A", output="B")
    assert 1 == len(list(handler.tasks(Tasklist("list.txt", str(place / "none")))))
    assert not (place / "none").exists()
    tasklist = Tasklist("list.txt", str(place / "work"))
    (text,) = handler.tasks(tasklist)
    assert text.endswith(f" B.0.root {place}/real/output")
    assert not (place / "real" / "output").exists()
    handler.prepare(tasklist)
    assert (place / "real" / "output").is_dir()


def test_the_commands_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell, with programs of those names, each output reaches the work directory; one that failed does not."""
    programs = {
        "Reco_tf.py": '[ "$2" != bad.root ] && echo "$2" > "$4"',
        "athena.py": 'echo "$2" > M.root',
        "rsync": '[ "$1" = -avr ] && cp -r "$2" "$3"',
    }
    for name, body in programs.items():
        program = place / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}/bin{os.pathsep}{os.environ['PATH']}")
    work = place / "my work"
    work.mkdir()
    Path("list.txt").write_text("a.root\nbad.root\nc.root\n")
    for handler in (Transform(transform="Reco_tf.py", input="A", output="B"), Athena(jobOptions="j", output="M.root")):
        handler.prepare(Tasklist("list.txt", str(work)))
        for text in handler.tasks(Tasklist("list.txt", str(work))):
            subprocess.run(["bash", "-c", text], check=False)
    assert {
        "B.0.root": "a.root\n",
        "B.2.root": "c.root\n",
        "M.root.0": "a.root\n",
        "M.root.1": "bad.root\n",
        "M.root.2": "c.root\n",
    } == {path.name: path.read_text() for path in (work / "output").iterdir()}
