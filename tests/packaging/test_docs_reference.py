"""The pages of the reference that are written by hand, against the program."""

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pages import BLOCK, ROOT

from pytaskfarmer.api.desk import Desk
from pytaskfarmer.cluster import leader, notes
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir import claims, outputs, results, timeline
from pytaskfarmer.workdir.identity import Farmer
from pytaskfarmer.workdir.layout import FORWARD_SUFFIX, LOCK_SUFFIX, TMP_SUFFIX, Layout
from pytaskfarmer.workdir.register import Register

REFERENCE = ROOT / "docs/reference"
PLACEHOLDERS = {"farmer": "FARMER", "task_id": "ID", "slot": "SLOT", "digest": "DIGEST", "job": "JOB"}
ENDED = Attempt(Task(7, "echo"), 1, 3, Outcome.SUCCESS, 0, 1.0, 2.0, 0.5, 4096, 99)
KILLED = Attempt(Task(7, "echo"), 1, 3, Outcome.KILLED_BY_SIGNAL, -9, 1.0, 2.0, 0.5, 4096, 99)


def section(page: str, title: str) -> str:
    """Return what stands below a heading of a page."""
    text = (REFERENCE / page).read_text()
    return re.split(r"^## ", text.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def in_code(text: str) -> set[str]:
    """Return all that stands between backticks, but for blocks."""
    return set(re.findall(r"`([^`]+)`", BLOCK.sub("", text)))


def first_cells(text: str) -> set[str]:
    """Return what stands between backticks in the first column of tables."""
    return in_code(" ".join(row.split("|")[1] for row in text.splitlines() if row.startswith("| ")))


def names_of(layout: type, root: str) -> Iterator[str]:
    """Yield the name of each file, below the work directory, that a class of names knows."""
    for name, thing in vars(layout).items():
        if name.startswith("_") or name in {"root", "layout"}:
            continue
        if isinstance(thing, property):
            yield getattr(layout(root), name).removeprefix(f"{root}/")
        elif inspect.isfunction(thing):
            arguments = [PLACEHOLDERS[parameter] for parameter in list(inspect.signature(thing).parameters)[1:]]
            named = thing(layout(root), *arguments)
            if isinstance(named, str):  # else it finds files that another one names
                yield named.removeprefix(f"{root}/")


def words_of(source: str) -> set[str]:
    """Return the words with which notes begin, from the code that reads them."""
    found = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {word.decode() for word in found if isinstance(word, bytes) and re.fullmatch(rb"[a-z]{3,}", word)}


def test_every_file_of_a_work_directory_is_on_its_page() -> None:
    """The table of files has those that the code names, and no others."""
    table = first_cells((REFERENCE / "work-directory.md").read_text().partition("\n## ")[0])
    known = set(names_of(Layout, "/w"))
    assert len(known) > 20
    assert known == table
    suffixes = {TMP_SUFFIX, FORWARD_SUFFIX}
    assert suffixes <= in_code((REFERENCE / "work-directory.md").read_text())
    assert any(name.endswith(LOCK_SUFFIX) for name in table)


def test_the_files_of_pools_are_on_the_page() -> None:
    """And no others."""
    assert set(names_of(Desk, "/w")) == first_cells(section("work-directory.md", "Calls from Python"))


def test_every_field_of_the_register_is_on_the_page() -> None:
    """And no others."""
    assert {f.name for f in fields(Register)} == first_cells(section("work-directory.md", "`tasklist.json`"))


def test_every_note_and_field_of_claims_is_on_the_page() -> None:
    """The notes that farmers read, what says who a farmer is, and each outcome."""
    tables = first_cells(section("work-directory.md", "Claims"))
    notes_read = words_of(inspect.getsource(claims._apply))
    assert {"hold", "farmer", "recorded"} <= notes_read
    outcomes = {outcome.value for outcome in Outcome}
    shown = {cell.split()[0] for cell in tables if " " in cell}
    assert notes_read == shown
    assert {f.name for f in fields(Farmer)} | outcomes == {cell for cell in tables if " " not in cell}
    end = claims._end_note(ENDED, last=True).split()
    (on_page,) = [cell.split() for cell in tables if cell.startswith("end ")]
    assert len(end) == len(on_page)


def test_every_field_of_the_timeline_is_on_the_page() -> None:
    """Those of bars, in the table and no others; those of marks and of names."""
    text = section("work-directory.md", "`timeline.json`")
    bars = [json.loads(timeline.task_event(attempt, 1, "here")) for attempt in (ENDED, KILLED)]
    used = {name for bar in bars for name in (*bar, *bar["args"])} - {"ph"}
    assert used == first_cells(text)
    mark = json.loads(timeline.instant_event("a reason", 1.0, 1))
    assert {mark["ph"], mark["cat"], mark["s"]} <= in_code(text)
    assert {json.loads(event)["name"] for event in timeline.lane_events(1, "here", 1, 1)} <= in_code(text)


def test_the_headers_of_outputs_and_results_are_on_the_page() -> None:
    """With as many fields as they have, and the same fixed words."""
    (pack,) = [code for code in in_code(section("work-directory.md", "Output of tasks")) if code.startswith("===")]
    written = outputs.header(ENDED, 5).decode().split()
    assert [word if word.islower() or word == "===" else None for word in pack.split()] == [
        word if word in {"===", "task", "attempt", "status", "bytes", "at"} else None for word in written
    ]
    (result,) = [code for code in in_code(section("work-directory.md", "Results")) if code.startswith("ID ")]
    assert results._HEADER.groups == len(result.split())


def test_every_field_of_the_notes_of_jobs_is_on_the_page(tmp_path: Path) -> None:
    """And no others."""
    layout = Layout(str(tmp_path))
    notes.prepare(layout)
    notes.submitted(layout, "slurm", ["12"], ["11"])
    notes.began(layout, "12", 3)
    lines = Path(layout.job_notes).read_text().splitlines()
    assert {name for line in lines for name in json.loads(line)} == first_cells(section("work-directory.md", "Jobs"))


def sources() -> str:
    """Return all code of the package and its plug-ins."""
    return "\n".join(
        path.read_text() for top in ("pytaskfarmer", "runners", "handlers") for path in (ROOT / top).rglob("*.py")
    )


def test_every_variable_of_ours_is_on_the_page() -> None:
    """Each name in the code that begins with PYTASKFARMER_, and no other."""
    page = in_code((REFERENCE / "environment.md").read_text())
    ours = set(re.findall(r"\"(PYTASKFARMER_[A-Z_]+)\"", sources()))
    assert len(ours) > 5
    assert ours == {name for name in page if name.startswith("PYTASKFARMER_")}


def test_every_variable_that_is_read_is_on_the_page() -> None:
    """Each that the code asks the environment for; Slurm's are not listed one by one."""
    page = in_code((REFERENCE / "environment.md").read_text())
    asked = set(re.findall(r"environ(?:\.get\(|\[|, )\"([A-Z_]+)\"", sources()))
    assert {"SLURM_JOB_ID", "TERM", "TMPDIR"} <= asked
    assert set() == {name for name in asked if not name.startswith("SLURM")} - page


def test_a_task_finds_the_variables_on_the_page(tmp_path: Path) -> None:
    """A task's environment is its farmer's and those of the table, no more."""
    (tmp_path / "tasks.txt").write_text(f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'\n")
    before = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "pytaskfarmer", "run", "--timeout", "1h", "--logs", "files", "tasks.txt"]
    environment = {**before, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "tasks.txt_workdir/logs/log_0").read_text())
    of_bash = {"_", "PWD", "SHLVL", "OLDPWD", "LC_CTYPE"}
    table = first_cells(section("environment.md", "What a task finds"))
    assert table == found.keys() - environment.keys() - of_bash


def test_the_exit_statuses_are_on_the_page() -> None:
    """Those of a farmer, in order, and no others."""
    rows = re.findall(
        r"^\| (\d) \|", section("exit-status.md", "Of `pytaskfarmer run`, and of a job made by `submit`"), re.MULTILINE
    )
    assert [leader.DONE, leader.SOME_FAILED, leader.WRONG_USE, leader.WORK_LEFT] == list(map(int, rows))
