import re
from pathlib import Path

import pytest
from desk import COMMAND, Desk


@pytest.fixture
def packages(desk: Desk, tmp_path: Path) -> Desk:
    """A desk with an installed package whose one plug-in works and whose other cannot be imported."""
    library = tmp_path / "lib"
    (library / "foreign-1.0.dist-info").mkdir(parents=True)
    (library / "foreign-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (library / "foreign-1.0.dist-info/entry_points.txt").write_text(
        "[pytaskfarmer.runners]\ngood = foreign_good:Good\nbad = foreign_bad:Bad\n"
    )
    (library / "foreign_good.py").write_text(
        "class Good:\n    '''Runs well.'''\n"
        "    def __init__(self, times: int = 3): self.times = times\n"
        "    def command(self, task, context):\n"
        "        from pytaskfarmer.plugins.contracts import Command\n"
        "        return Command(('echo', str(self.times)))\n"
    )
    (library / "foreign_bad.py").write_text("import sys\nsys.exit('no licence')\n")
    (library / "imported.py").write_text("import sys\nopen('imported', 'w').close()\nclass Mine:\n    command = 1\n")
    desk.environment |= {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
    return desk


def block(text: str, title: str) -> list[str]:
    """Return the lines below a name."""
    return text.partition(f"{title}\n")[2].partition("\n\n")[0].splitlines()


def test_a_package_with_a_broken_plug_in(packages: Desk) -> None:
    """The plug-in that works is listed with its options, the other with the reason, and all else as ever."""
    ended = packages.run(COMMAND, "runners")
    assert (0, "") == (ended.status, ended.err)
    assert [
        "    Runs well.",
        "    foreign_good:Good (from package foreign)",
        "      times  whole number  default 3",
    ] == block(ended.out, "good")
    reason = " ".join(line.strip() for line in block(ended.out, "bad"))
    assert reason.startswith("cannot be used: package foreign: runner 'bad': importing 'foreign_bad' failed with")
    assert "SystemExit: no licence" in reason
    assert "    pytaskfarmer.runners.shell.Shell (built in)" in block(ended.out, "default, shell")


def test_a_broken_plug_in_is_no_matter_to_others(packages: Desk) -> None:
    """Beside a plug-in that cannot be imported, the package's other one runs tasks."""
    packages.write("tasks.txt", "x")
    packages.farm("tasks.txt", "-r", "good", "-R", "times=4")
    assert ["4"] == packages.lines("tasks.txt_workdir/logs/log_0")


def test_a_class_that_a_file_names_is_not_imported(packages: Desk) -> None:
    """The list tells what an INI file says without importing it; only the name asked for is imported."""
    packages.write("mine.ini", "[mine]", "Runner = imported.Mine", "setup = module load x")
    out = packages.run(COMMAND, "runners").out
    assert ["    imported.Mine (from mine.ini, line 1)", "      setup  = module load x"] == block(out, "mine")
    assert not (packages / "imported").exists()
    assert packages.run(COMMAND, "runners", "mine").err.startswith(
        "pytaskfarmer: error: mine.ini, line 1: runner 'mine': imported.Mine is no runner"
    )
    assert (packages / "imported").exists()


def test_one_name(desk: Desk) -> None:
    """With a name, the whole description of its class is printed, and nothing else."""
    ended = desk.look("handlers", "lines")
    assert ["lines", "    pytaskfarmer.handlers.lines.Lines (built in)", ""] == ended.lines[:3]
    assert "Accepts CRLF line ends" in ended.out
    assert "template" not in ended.out


@pytest.mark.parametrize("kind", ["runners", "handlers"])
def test_where_more_is_told(desk: Desk, kind: str) -> None:
    """The last line of a list says how one of them is described in full."""
    assert f"More about one of them: pytaskfarmer {kind} NAME" == desk.look(kind).lines[-1]


@pytest.mark.parametrize("kind", ["runners", "handlers"])
def test_a_name_that_is_unknown(desk: Desk, kind: str) -> None:
    """It is refused as a run would refuse it."""
    line = desk.complaint(lambda: desk.look(kind, "nonesuch"))
    assert line.startswith(f"there is no {kind[:-1]} named 'nonesuch'. ")


def test_files_that_are_not_trusted(desk: Desk) -> None:
    """Names of a file that others can write to are listed as unusable, and as usable with `--trust-ini`."""
    desk.write("mine.ini", "[mine]", "Runner = pytaskfarmer.runners.shell.Shell")
    (desk / "mine.ini").chmod(0o666)
    assert "cannot be used: mine.ini: not trusted" in block(desk.look("runners").out, "mine")[0]
    assert "(from mine.ini, line 1)" in block(desk.look("runners", "--trust-ini").out, "mine")[0]


def test_a_broken_file_beside_a_good_one(desk: Desk) -> None:
    """The names of a malformed file are listed with its line; those of other files are fine."""
    desk.write("bad.ini", "[bad]", "TaskList = m.C", "nonsense")
    desk.write("good.ini", "[good]", "TaskList = m.C")
    out = desk.look("handlers").out
    assert block(out, "bad")[0].startswith("    cannot be used: bad.ini, line 3: is neither [name] nor ")
    assert ["    m.C (from good.ini, line 1)"] == block(out, "good")


def test_the_width_of_the_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is wrapped for the terminal, but never wider than is pleasant to read; elsewhere for 80 columns."""
    widths = []
    for columns in ("", "70", "500"):
        monkeypatch.setenv("COLUMNS", columns)
        widths.append(max(len(line) for line in desk.look("handlers", "template").lines))
    narrow, smaller, wide = widths
    assert (smaller <= 70, 70 < narrow <= 80, 80 < wide <= 100) == (True, True, True)


def test_nothing_but_text(desk: Desk) -> None:
    """What is printed has no control sequences."""
    assert re.search(r"[\x00-\x09\x0b-\x1f]", desk.run(COMMAND, "runners").out) is None
