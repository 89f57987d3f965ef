"""The scan of rectangular cuts: baseline, commands, `hep` runner and demo, each run as its readers would run it."""

import csv
import json
import math
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hep_cuts"
SAMPLE = EXAMPLE / "data" / "sample.csv"
REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hep" / "events-2000.csv"

HEADER, FIRST = SAMPLE.read_text().splitlines()[:2]

SAMPLE_TEXT = """\
Best accuracy obtained :0.9766666666666667
Final cuts :
averageInteractionsPerCrossing : 33.82206316296296
                        p_Rhad : 0.053554070370370375
                       p_Rhad1 : 0.019903540740740737
           p_TRTTrackOccupancy : 0.29026070833333334
                p_topoetcone40 : 3889.9470186296294
            p_eTileGap3Cluster : 367.62093262222226
                  p_phiModCalo : 0.01580951666666667
                  p_etaModCalo : 0.011503581481481482

Number of settings:     6561
"""


Word = str | Path | int


COMMANDS = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHON": sys.executable}


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False)


def program(name: str, *options: Word) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, EXAMPLE / name, *(str(option) for option in options))


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def without_times(text: str) -> str:
    """Return `text` without its last two lines, which tell the time."""
    lines = text.splitlines(keepends=True)
    assert ["Elapsed time      :", "task time [mus]   :"] == [line[:19] for line in lines[-2:]]
    return "".join(lines[:-2])


def baseline(events: Path, n_cuts: int, output: Path) -> tuple[str, dict[str, Any]]:
    done = program("task_farm_HEP_seq.py", "--input", events, "--n-cuts", n_cuts, "--output", output)
    return without_times(output_of(done)), json.loads(output.read_text())


def generate(path: Path, events: int, seed: int = 1234) -> Path:
    output_of(program("generate_events.py", "--events", events, "--seed", seed, "--output", path))
    return path


def scan_in_chunks(events: Path, directory: Path, n_cuts: int, chunk: int) -> list[Path]:
    """Run every line of a task list as a farm would, and return the parts in the order of their settings."""
    tasks, results = directory / "tasks.txt", directory / "results"
    options: list[Word] = [
        "--input",
        events,
        "--n-cuts",
        n_cuts,
        "--chunk",
        chunk,
        "--results",
        results,
        "--output",
        tasks,
    ]
    output_of(program("make_tasks.py", *options))
    for line in tasks.read_text().splitlines():
        output_of(run("sh", "-c", line))
    return sorted(results.iterdir())


def accuracies(events: Path, n_cuts: int) -> Iterator[int]:
    """Yield the number of correct events of each setting, straight from the definition."""
    with events.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    data = [[float(row[column]) for column in (1, 4, 5, 6, 7, 8, 9, 10)] for row in rows]
    signal = [row[11] == "2" for row in rows]
    ranges = []
    for i in range(8):
        of_signal = [x[i] for x, s in zip(data, signal, strict=True) if s]
        of_other = [x[i] for x, s in zip(data, signal, strict=True) if not s]
        mean_s, mean_b = math.fsum(of_signal) / len(of_signal), math.fsum(of_other) / len(of_other)
        if mean_b < mean_s:
            mean_s, mean_b = -mean_s, -mean_b
            for x in data:
                x[i] *= -1
        ranges.append([mean_s + j * (mean_b - mean_s) / n_cuts for j in range(n_cuts)])
    for k in range(n_cuts**8):
        cuts = [ranges[i][k // n_cuts**i % n_cuts] for i in range(8)]
        selected = [all(value < cut for value, cut in zip(x, cuts, strict=True)) for x in data]
        yield sum(p == s for p, s in zip(selected, signal, strict=True))


def test_baseline_text(tmp_path: Path) -> None:
    """The baseline prints the format its readers know, and for the sample the same digits everywhere."""
    text, result = baseline(SAMPLE, 3, tmp_path / "out.json")
    assert SAMPLE_TEXT == text
    assert (6227, 293, 300, 0, 6561) == tuple(result[key] for key in ("k", "correct", "n_events", "first", "count"))


def test_baseline_profile() -> None:
    """With --profile the seconds of each phase go to standard error and the text stays as it is."""
    done = program("task_farm_HEP_seq.py", "--input", SAMPLE, "--profile")
    assert SAMPLE_TEXT == without_times(done.stdout)
    assert ["read", "prepare", "count"] == [phase.split()[0] for phase in done.stderr.split(", ")]


@pytest.mark.parametrize(("n_cuts", "k", "correct"), [(2, 255, 1874), (3, 6308, 1948)])
def test_generated_answer(tmp_path: Path, n_cuts: int, k: int, correct: int) -> None:
    """The demo's 2000 events have a known best cut."""
    _, result = baseline(generate(tmp_path / "events.csv", 2000), n_cuts, tmp_path / "out.json")
    assert (k, correct) == (result["k"], result["correct"])


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the reference events are not at {REFERENCE}")
@pytest.mark.parametrize(("n_cuts", "k", "correct"), [(2, 255, 1730), (3, 6557, 1869)])
def test_reference_answer(tmp_path: Path, n_cuts: int, k: int, correct: int) -> None:
    """On the reference events the scan finds what the original program finds."""
    _, result = baseline(REFERENCE, n_cuts, tmp_path / "out.json")
    assert (k, correct, 2000) == (result["k"], result["correct"], result["n_events"])


def test_chunks_follow_the_definition(tmp_path: Path) -> None:
    """Each chunk's best is the first maximum, over that chunk, of the counts the definition gives."""
    counts = list(accuracies(SAMPLE, 2))
    for first in (0, 86, 172):
        output = tmp_path / f"{first}.json"
        options: list[Word] = ["--first", first, "--count", 84, "--n-cuts", 2, "--output", output]
        output_of(program("scan_chunk.py", "--input", SAMPLE, *options))
        found = json.loads(output.read_text())
        most = max(counts[first : first + 84])
        assert (most, counts.index(most, first)) == (found["correct"], found["k"])


def test_a_cut_is_strict_and_turns_with_its_variable(tmp_path: Path) -> None:
    """An event that lies on a cut is not selected, also in a variable where signal lies above background."""
    events = tmp_path / "events.csv"
    rows = ["0,1,2,3,1,1,1,1,1,1,9,2", "1,5,2,3,5,5,5,5,5,5,5,0"]
    events.write_text("\n".join([HEADER, *rows, *rows]))
    _, result = baseline(events, 2, tmp_path / "out.json")
    assert (255, 4) == (result["k"], result["correct"])
    assert [3.0] * 7 + [7.0] == list(result["cuts"].values())


def test_shuffled_parts_equal_the_baseline(tmp_path: Path) -> None:
    """Parts merged in any order give the baseline's text, the last chunk being smaller."""
    parts = scan_in_chunks(SAMPLE, tmp_path, n_cuts=3, chunk=1000)
    assert 7 == len(parts)
    random.Random(5).shuffle(parts)
    assert SAMPLE_TEXT == without_times(output_of(program("merge.py", *parts)))
    assert SAMPLE_TEXT == without_times(output_of(program("merge.py", tmp_path / "results")))


def test_lowest_of_equal_settings_wins(tmp_path: Path) -> None:
    """When parts tie, the lowest setting wins whatever the order, as in the baseline."""
    events = generate(tmp_path / "few.csv", 6, seed=1)
    text, expected = baseline(events, 2, tmp_path / "baseline.json")
    parts = scan_in_chunks(events, tmp_path, n_cuts=2, chunk=64)
    tied = [part for part in parts if json.loads(part.read_text())["correct"] == expected["correct"]]
    assert parts == tied
    assert 27 == expected["k"]
    for order in (parts, parts[::-1]):
        output = tmp_path / "farm.json"
        merged = program("merge.py", *order, "--output", output, "--expect", tmp_path / "baseline.json")
        assert text == without_times(output_of(merged))
        assert expected["k"] == json.loads(output.read_text())["k"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four parts of 64 settings each."""
    return scan_in_chunks(SAMPLE, tmp_path_factory.mktemp("scan"), n_cuts=2, chunk=64)


def refusal(*chosen: Path) -> str:
    """Return the line with which merge.py refuses these parts."""
    done = program("merge.py", *chosen)
    assert (2, "") == (done.returncode, done.stdout)
    return done.stderr


def test_missing_settings_are_named(parts: list[Path]) -> None:
    """Merging names every gap: at the start, between parts and at the end."""
    rest = "are in no part; run their tasks, then merge again\n"
    where = f"merge.py: {parts[0].parent}: settings"
    assert f"{where} 64 to 127, 192 to 255 {rest}" == refusal(parts[2], parts[0])
    assert f"{where} 0 to 63 {rest}" == refusal(*parts[1:])


def test_settings_scanned_twice_are_named(parts: list[Path], tmp_path: Path) -> None:
    """Merging names the settings that are in two parts, and both parts."""
    twice = tmp_path / "twice.json"
    options: list[Word] = ["--first", 100, "--count", 20, "--n-cuts", 2, "--output", twice]
    output_of(program("scan_chunk.py", "--input", SAMPLE, *options))
    expected = f"merge.py: {twice}: settings 100 to 119 are also in {parts[1]}; remove one of the two\n"
    assert expected == refusal(twice, *parts)


def test_parts_of_different_scans_are_refused(parts: list[Path], tmp_path: Path) -> None:
    """A part made from other events is not merged, though its settings would fit."""
    other = scan_in_chunks(generate(tmp_path / "other.csv", 300, seed=7), tmp_path, n_cuts=2, chunk=64)
    expected = f"merge.py: {other[3]}: not of the same events and --n-cuts as {parts[2]}; remove the stale one\n"
    assert expected == refusal(*parts[:3], other[3])


def test_torn_part_is_refused(parts: list[Path], tmp_path: Path) -> None:
    """A part that is not whole is named, with what to do."""
    torn = tmp_path / "torn.json"
    torn.write_bytes(parts[0].read_bytes()[:40])
    expected = f"merge.py: {torn}: not a result of this scan; remove it and run its task again\n"
    assert expected == refusal(torn, *parts[1:])


def test_another_answer_than_expected_exits_with_1(parts: list[Path], tmp_path: Path) -> None:
    """With --expect, merging fails when the best setting differs from the expected one."""
    baseline(SAMPLE, 3, tmp_path / "baseline.json")
    done = program("merge.py", *parts, "--expect", tmp_path / "baseline.json")
    assert 1 == done.returncode
    assert "but" in done.stderr
    assert "setting 6227 with 293 of 300 events" in done.stderr


def test_paths_are_quoted(tmp_path: Path) -> None:
    """A task works from any directory with blanks, quotes, dollars and stars in its paths."""
    directory = tmp_path / 'it\'s a "$HOME" * of; &'
    directory.mkdir()
    events = directory / "my events.csv"
    events.write_bytes(SAMPLE.read_bytes())
    (part,) = scan_in_chunks(events, directory, n_cuts=2, chunk=256)
    assert directory / "results" / "chunk_000.json" == part


def test_tasks_cover_all_settings(tmp_path: Path) -> None:
    """By default the list has 27 tasks of 243 settings."""
    output_of(program("make_tasks.py", "--input", SAMPLE, "--output", tmp_path / "tasks.txt"))
    lines = [shlex.split(line) for line in (tmp_path / "tasks.txt").read_text().splitlines()]
    chunks = [(int(line[line.index("--first") + 1]), int(line[line.index("--count") + 1])) for line in lines]
    assert [(first, 243) for first in range(0, 6561, 243)] == chunks


@pytest.mark.parametrize("command", ["merge.py", "task_farm.py"])
def test_a_reader_that_leaves_is_no_error(parts: list[Path], command: str) -> None:
    """In a pipe to `head` a program ends with the status of SIGPIPE, and says nothing."""
    options = [str(parts[0].parent)] if command == "merge.py" else ["--tasks", "4", "--workers", "1"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, EXAMPLE / command, *options],
            stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=50, check=False,
        )  # fmt: skip
    assert (141, "") == (done.returncode, done.stderr)


def test_newline_in_a_path_is_refused(tmp_path: Path) -> None:
    """A path that would break a task over two lines is refused, and no list is written."""
    events = tmp_path / "two\nlines.csv"
    events.write_bytes(SAMPLE.read_bytes())
    tasks = tmp_path / "tasks.txt"
    done = program("make_tasks.py", "--input", events, "--output", tasks)
    assert 2 == done.returncode
    assert f"make_tasks.py: {tasks}: a task is one line" in done.stderr
    assert not tasks.exists()


def test_generator_reproduces_the_sample(tmp_path: Path) -> None:
    """The sample is, byte for byte, what the generator makes of its seed; another seed makes other events."""
    assert SAMPLE.read_bytes() == generate(tmp_path / "same.csv", 300).read_bytes()
    assert SAMPLE.read_bytes() != generate(tmp_path / "other.csv", 300, seed=1).read_bytes()


def test_blank_lines_and_line_ends_are_no_matter(tmp_path: Path) -> None:
    """CRLF, blank lines and a missing last newline change nothing."""
    events = tmp_path / "events.csv"
    lines = SAMPLE.read_bytes().splitlines()
    events.write_bytes(b"\r\n".join([b"", lines[0], b"  ", *lines[1:]]))
    text, _ = baseline(events, 3, tmp_path / "out.json")
    assert SAMPLE_TEXT == text


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", ": the file is empty; expected a header line and one event a line"),
        (f"{FIRST}\n", f", line 1: expected the header line {HEADER}"),
        (f"{HEADER}\n{FIRST}\n\n1,2,3\n", ", line 4: 3 fields where 12 are expected"),
        (f"{HEADER}\n{FIRST},\n", ", line 2: 13 fields where 12 are expected"),
        (f"{HEADER}\n0,1,2,3,4,5,6,x7,8,9,10,2\n", ", line 2: p_topoetcone40 is 'x7', expected a finite number"),
        (
            f"{HEADER}\n0,nan,2,3,4,5,6,7,8,9,10,2\n",
            f", line 2: {HEADER.split(',')[1]} is 'nan', expected a finite number",
        ),
        (f"{HEADER}\n0,1,2,3,4,5,6,7,8,9,10,\n", ", line 2: p_truthType is '', expected a finite number"),
        (
            f"{HEADER}\n0,1,2,3,4,5,6,7,8,9,10,2\n",
            ": 1 of 1 events are signal (p_truthType = 2); a scan needs events of both kinds",
        ),
    ],
    ids=["empty", "no header", "short line", "long line", "word", "nan", "no truth", "one class"],
)
def test_bad_input(tmp_path: Path, content: str, complaint: str) -> None:
    """Unusable input ends with one line that names the file and the line, exit status 2, and no output."""
    events, output = tmp_path / "events.csv", tmp_path / "out.json"
    events.write_text(content)
    done = program("task_farm_HEP_seq.py", "--input", events, "--output", output)
    assert (2, "", f"task_farm_HEP_seq.py: {events}{complaint}\n") == (done.returncode, done.stdout, done.stderr)
    assert not output.exists()


@pytest.mark.parametrize("name", ["task_farm_HEP_seq.py", "make_tasks.py"])
def test_missing_input(tmp_path: Path, name: str) -> None:
    """Input that is not there is named in one line, exit status 2."""
    absent = tmp_path / "absent.csv"
    done = program(name, "--input", absent, "--output", tmp_path / "out")
    assert (2, "", f"{name}: {absent}: No such file or directory\n") == (done.returncode, done.stdout, done.stderr)


def test_settings_out_of_range(tmp_path: Path) -> None:
    """A chunk that reaches past the last setting is refused."""
    options: list[Word] = ["--first", 6500, "--count", 243, "--output", tmp_path / "part.json"]
    done = program("scan_chunk.py", "--input", SAMPLE, *options)
    assert 2 == done.returncode
    assert done.stderr.endswith("settings 6500 to 6742 are not among 0 to 6560\n")


def farm_and_merge(directory: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run these tasks with the `hep` runner, as the README says, and return what their merged result was."""
    (directory / "chunks.txt").write_text("".join(lines))
    farm = (sys.executable, "-m", "pytaskfarmer")
    done = run(*farm, "run", "--proc", "2", "-r", "hep", directory / "chunks.txt")
    assert 0 == done.returncode, done.stderr
    return run(*farm, "results", directory / "chunks.txt", "--merge", "pytaskfarmer.runners.cut_scan:merge")


def report(text: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, EXAMPLE / "report.py")
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=50, check=False)


def test_report_on_the_hep_runner_equals_the_baseline(tmp_path: Path) -> None:
    """The list for the `hep` runner covers all settings, and the report on its results is the baseline's text."""
    options: list[Word] = ["--hep", "--input", SAMPLE, "--chunk", 1000, "--output", tmp_path / "all.txt"]
    output_of(program("make_tasks.py", *options))
    lines = (tmp_path / "all.txt").read_text().splitlines(keepends=True)
    assert 7 == len(lines)
    merged = output_of(farm_and_merge(tmp_path, *lines))
    assert SAMPLE_TEXT == without_times(output_of(report(merged)))
    (tmp_path / "merged.json").write_text(merged)
    assert SAMPLE_TEXT == without_times(output_of(program("report.py", tmp_path / "merged.json")))


def test_report_on_some_settings_is_refused(tmp_path: Path) -> None:
    """A result that lacks settings is no answer; the report says which ones it has."""
    merged = output_of(farm_and_merge(tmp_path, f"{SAMPLE} 0 10\n", f"{SAMPLE} 6000 561\n"))
    done = report(merged)
    scanned = "only settings 0 to 9, 6000 to 6560 of 0 to 6560 were scanned; run the other tasks, then merge again"
    assert (2, "", f"report.py: standard input: {scanned}\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"k": 3}', '{"settings": [], "n_cuts": 3, "microseconds": 1}'])
def test_report_on_something_else_is_refused(text: str) -> None:
    """What is no merged result of the scan is refused in one line."""
    done = report(text)
    complaint = "report.py: standard input: not a merged result of the hep runner's cut scan\n"
    assert (2, "", complaint) == (done.returncode, done.stdout, done.stderr)


def copy_to(directory: Path) -> Path:
    """Copy the example, to be run where it may write."""
    copy = directory / "hep_cuts"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "results", "*_workdir"))
    return copy


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if "__pycache__" not in path.parts)


def demo(copy: Path, *options: Path, keep: str = "0") -> subprocess.CompletedProcess[str]:
    """Run the demo as the README says, and see that it leaves nothing in its directory."""
    files, temporary = files_in(copy), copy.parent / "temporary"
    temporary.mkdir()
    environment = {**COMMANDS, "PROCS": "2", "TMPDIR": str(temporary), "KEEP": keep, "PYTHONDONTWRITEBYTECODE": ""}
    done = run("sh", "demo.sh", *options, cwd=copy, **environment)
    assert files == files_in(copy)
    assert len(list(temporary.iterdir())) == int(keep)
    return done


def test_demo(tmp_path: Path) -> None:
    """The demo scans in four ways, which agree, prints the best cut once and leaves nothing behind."""
    done = demo(copy_to(tmp_path))
    assert 0 == done.returncode, done.stdout + done.stderr
    assert 1 == done.stdout.count("Best accuracy obtained :0.974\n")
    assert 2 == done.stdout.count("pytaskfarmer: 27 of 27 finished, 0 failed; ")
    assert 3 == done.stdout.count("\nthe same answer\n")
    assert done.stderr.startswith("27 tasks on 2 workers in ")
    assert done.stdout.endswith("The three farms and the sequential baseline agree.\n")


def test_demo_fails_where_answers_differ(tmp_path: Path) -> None:
    """A farm that finds something else than the baseline ends the demo with 1, and nothing is left behind."""
    copy = copy_to(tmp_path)
    warm = (copy / "warm.py").read_text().replace("return part, ", "return replace(part, k=0, correct=0), ")
    (copy / "warm.py").write_text(f"from dataclasses import replace\n{warm}")
    done = demo(copy, SAMPLE)
    assert 2 == done.stdout.count("\nthe same answer\n")
    complaint = "demo.sh: this is another answer than that of the baseline"
    assert (1, complaint) == (done.returncode, done.stderr.splitlines()[-1])


def test_demo_names_an_interpreter_without_the_package(tmp_path: Path) -> None:
    """Where PYTHON is not the interpreter that has the package, the demo says so at once."""
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    done = run("sh", EXAMPLE / "demo.sh", **{**COMMANDS, "PYTHON": str(bare), "TMPDIR": str(tmp_path)})
    remedy = "has no package pytaskfarmer; set PYTHON to the interpreter it is installed for"
    assert (2, f"demo.sh: {bare} {remedy}\n") == (done.returncode, done.stderr)


def test_demo_on_given_events(tmp_path: Path) -> None:
    """Given a file, the demo scans that; with KEEP=1 it keeps what it wrote and says where the timeline is."""
    done = demo(copy_to(tmp_path), SAMPLE, keep="1")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert SAMPLE_TEXT in done.stdout
    (kept,) = (tmp_path / "temporary").iterdir()
    timeline = kept / "tasks.txt_workdir" / "timeline.json"
    assert f"kept: {kept} (timeline: {timeline})" == done.stdout.splitlines()[-1]
    assert 27 == sum(event["ph"] == "X" for event in json.loads(timeline.read_text()))
