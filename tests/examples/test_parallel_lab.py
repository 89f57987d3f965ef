"""The lab on parallel Python, run as its readers would run it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "parallel_lab"

COMMON_ITEMS = [[2, 3], [6], [11, 12], [21]]
BREWERIES = {"district_of_columbia": 24, "maryland": 131, "new_york": 467, "virginia": 288}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Return a copy of the example, beside a directory `here` that hides the package, as a checkout would."""
    hiding = tmp_path / "here" / "pytaskfarmer"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("raise ImportError")
    return shutil.copytree(EXAMPLE, tmp_path / "parallel_lab", ignore=shutil.ignore_patterns("__pycache__"))


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "PYTHON": sys.executable,
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints; it must succeed, and complain about nothing."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


def value(lab: Path, module: str, expression: str) -> Any:
    """Return what an expression about a module of the example is."""
    return json.loads(
        run(sys.executable, "-c", f"import json, {module} as m; print(json.dumps({expression}))", cwd=lab)
    )


def test_the_demo(lab: Path) -> None:
    """One command solves all problems, writes both files in the formats of the lab, and nothing else."""
    here = lab.parent / "here"
    said = run("sh", lab / "demo.sh", cwd=here)
    assert ["async.json", "pytaskfarmer", "soln.json"] == sorted(path.name for path in here.iterdir())

    solution = json.loads((here / "soln.json").read_text())
    assert ["prob1", "prob2", "prob3", "host"] == list(solution)
    assert COMMON_ITEMS == solution["prob1"]
    assert ["part1", "part2", "part3"] == list(solution["prob2"])
    assert solution["prob2"]["part1"] >= 1.3  # it waits that long, one after another
    assert solution["prob2"]["part3"] >= 0.6
    assert [0, 0.5, 2 / 3, 1] == solution["prob3"][1]
    assert [0, 0, 0, 0] == solution["prob3"][-1]
    assert socket.gethostname() == solution["host"]

    compared = json.loads((here / "async.json").read_text())
    assert ["result", "host"] == list(compared)
    assert re.fullmatch(r"async version was -?\d+% faster than the serial version", compared["result"])
    assert BREWERIES == {state: int(count) for state, count in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
    assert "1" == re.findall(r"awaited at a time: (\d)", said)[0]
    assert all(int(most) > 1 for most in re.findall(r"awaited at a time: (\d)", said)[1:])
    assert 3 == len(re.findall(r"^ *\d+ x \d+(?: +\d+\.\d){7}$", said, re.MULTILINE))


def test_makespans(lab: Path) -> None:
    """First come, first served, and longest first take as long as has been worked out by hand."""
    spans = "[[m.makespan(order, workers) for workers in (1, 2, 3, 4)] for order in (m.WORK, m.longest_first(m.WORK))]"
    assert [[13, 8, 7, 6], [13, 7, 6, 6]] == value(lab, "busy_work", spans)


def test_work_that_computes_uses_a_core(lab: Path) -> None:
    """A task of `--compute` has used as many seconds of a core as it was to."""
    before, _, after = value(lab, "busy_work", "[m.time.process_time(), m.compute(0.05), m.time.process_time()]")
    assert after - before >= 0.05


def test_normalised_rows_reach_from_zero_to_one(lab: Path) -> None:
    """Each row does, whatever its length; a row of equal numbers becomes zeros, and one of a single number too."""
    rows = "[m.normalise(row) for row in (*m.table(50, 7), [3, 3], [5])]"
    *drawn, equal, single = value(lab, "normalise", rows)
    assert 50 == len(drawn)
    assert {(0, 1, 7)} == {(min(row), max(row), len(row)) for row in drawn}
    assert [[0, 0], [0]] == [equal, single]


def test_pages_end_with_an_empty_one(lab: Path) -> None:
    """A state's pages hold each brewery once, 200 at most; the next is empty, and so are those of no state."""
    pages = "[m.page('new_york', number, 1000) for number in (1, 2, 3, 4)] + [m.page('atlantis', 1, 200)]"
    found = value(lab, "brewery_server", pages)
    assert [200, 200, 67, 0, 0] == [len(page) for page in found]
    assert 467 == len({brewery["name"] for page in found for brewery in page})


@pytest.fixture
def server(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Start the server as the README says, and set the variable that it prints."""
    command = [sys.executable, "brewery_server.py", "--latency", "0.05"]
    with subprocess.Popen(command, cwd=lab, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            name, _, address = process.stdout.readline().removeprefix("export ").strip().partition("=")
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            monkeypatch.setenv(name, address)
            yield process
        finally:
            process.terminate()


def test_by_hand(lab: Path, server: subprocess.Popen[str]) -> None:
    """The commands of the README, as they stand there, count the breweries of two states in one worker."""
    lines = (lab / "README.md").read_text().rpartition("and then\n\n")[2].splitlines()
    typed = [line.strip() for line in lines if line.startswith("    ")]
    assert 3 == len(typed)
    said = run("bash", "-c", "\n".join(["set -e", *typed]), cwd=lab)
    counts = [json.loads(line)["result"] for line in said.splitlines() if line.startswith('{"id"')]
    assert [{"state": state, "brewery_count": BREWERIES[state]} for state in ("maryland", "virginia")] == counts


def test_a_page_that_is_not_there_fails_the_task(lab: Path, server: subprocess.Popen[str]) -> None:
    """What the service refuses is an error that names the page, and no count."""
    call = "import asyncio, os, breweries; asyncio.run(breweries.get(os.environ['BREWERIES'] + '/v2?a=b'))"
    done = subprocess.run([sys.executable, "-c", call], cwd=lab, capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert done.stderr.rstrip().endswith("/v2?a=b: HTTP/1.0 404 Not Found"), done.stderr
