"""The runs of a telescope, analysed as the readers of the example would do it, also on a real Slurm."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "telescope"
CLUSTER = Path(__file__).resolve().parents[1] / "cluster"

ARRAYS = [[3, 4, 56, 7], [22, 5, 4, 5, 7], [11, 2, 545, 235, 6, 3], [22, 45, 6, 4]]
SPREADS = "22.276669409945463 6.770524351924303 202.163025523682 16.422164899914993"
REPORT = """\
events    6853, of 116222 numbers
mean      49.644506002510006
spread    27.691772989657395
checksum  457e7756dedd530f
"""


@pytest.fixture
def telescope(tmp_path: Path) -> Path:
    """Return a copy of the example, beside a directory `here` that hides the package, as a checkout would."""
    hiding = tmp_path / "here" / "pytaskfarmer"
    hiding.mkdir(parents=True)
    (hiding / "__init__.py").write_text("raise ImportError")
    return shutil.copytree(EXAMPLE, tmp_path / "telescope", ignore=shutil.ignore_patterns("__pycache__"))


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Return what a command prints, or, when it is to fail, what it complains of."""
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert status == done.returncode, done.stdout + done.stderr
    if status:
        return done.stderr
    assert "" == done.stderr
    return done.stdout


def program(telescope: Path, name: str, *options: str | Path, status: int = 0) -> str:
    return run(sys.executable, telescope / name, *options, cwd=telescope.parent / "here", status=status)


def value(telescope: Path, module: str, expression: str) -> Any:
    """Return what an expression about a module of the example is."""
    statement = f"import json, {module} as m; print(json.dumps({expression}))"
    return json.loads(run(sys.executable, "-c", statement, cwd=telescope))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def jobs(telescope: Path, name: str, seed: int = 5, threshold_size: int = 10) -> list[dict[str, Any]]:
    directory = telescope.parent / "here" / name
    return value(telescope, "observations", f"m.make_jobs(m.Path({str(directory)!r}), {seed}, {threshold_size})")


def test_the_demo(telescope: Path) -> None:
    """One command shows the same values from all pools, draws a picture, and leaves the runs and what was found."""
    here = telescope.parent / "here"
    said = run("sh", telescope / "demo.sh", cwd=here)
    assert f"map               {SPREADS}\n" in said
    assert ["multiprocessing", "local"] == re.findall(r"^(\w+) +the same", said, re.MULTILINE)
    assert ["multiprocessing", "local"] == re.findall(r"^(\w+): 96 jobs .* 96 of them with code 0$", said, re.MULTILINE)
    assert 2 == said.count(REPORT)
    assert "static halves (chunksize=4): " in said
    assert "  worker 1  AAAAAAAABBBBBBCCCCCDDD\n  worker 2  EEFFGH\n" in said
    worked = re.findall(r"^  worker [12]  (\w+)$", said.partition("dynamic")[2], re.MULTILINE)
    assert "AAAAAAAABBBBBBCCCCCDDDEEFFGH" == "".join(sorted("".join(worked)))
    assert (here / "scheduling.png").read_bytes().startswith(b"\x89PNG")
    assert ["observations", "pytaskfarmer", "scheduling.png"] == sorted(path.name for path in here.iterdir())
    assert 2 * 96 == len(list((here / "observations").iterdir()))


def test_the_spread_is_that_of_numpy(telescope: Path) -> None:
    """The function of the example returns what numpy.std does, to the last bit."""
    assert [np.std(array) for array in ARRAYS] == value(telescope, "spread", "list(map(m.std, m.ARRAYS))")


def test_what_is_found_is_true(telescope: Path) -> None:
    """For every event that is neither broken nor too small, and for no other, size, mean and spread are written."""
    here = telescope.parent / "here"
    program(telescope, "observe.py", "runs", "--runs", "3", "--seed", "7")
    program(telescope, "analyse.py", "runs", "--threshold", "15", "--workers", "1")
    for number, job in enumerate(jobs(telescope, "runs", seed=1, threshold_size=15)):
        assert f"{number:06}" == job["basename"]
        events = lines(here / f"runs/{number:06}.events.jsonl")
        assert 100 == len(events)
        assert all(5 <= len(event) <= 24 and set(event) <= set(range(100)) for event in events)
        expected = [
            {"event": index, "size": len(event), "mean": fmean(event), "spread": pstdev(event)}
            for index, event in enumerate(events)
            if index not in job["broken_events_to_be_skipped"] and len(event) >= 15
        ]
        assert expected == lines(here / f"runs/{number:06}.features.jsonl")


def test_the_job_in_the_readme(telescope: Path) -> None:
    """The job that is shown is one of those that the commands of the README make."""
    program(telescope, "observe.py", "observations")
    shown = json.loads("".join(re.findall(r"^    [ {].*\n", (telescope / "README.md").read_text(), re.MULTILINE)[:2]))
    assert shown | {"work_dir": ""} in [job | {"work_dir": ""} for job in jobs(telescope, "observations", seed=1)]


def test_jobs_do_not_depend_on_the_order_of_a_listing(telescope: Path) -> None:
    """Runs that were written in another order give the same jobs, in the order of their names."""
    here = telescope.parent / "here"
    program(telescope, "observe.py", "runs", "--runs", "20")
    for path in sorted((here / "runs").iterdir(), reverse=True):
        (here / "other").mkdir(exist_ok=True)
        shutil.copy(path, here / "other")

    runs, other = ([{**job, "work_dir": ""} for job in jobs(telescope, name)] for name in ("runs", "other"))
    assert runs == other
    assert [f"{number:06}" for number in range(20)] == [job["basename"] for job in other]
    assert any(job["broken_events_to_be_skipped"] for job in runs)


def test_seeds(telescope: Path) -> None:
    """The same seed writes the same runs, however many; another one writes others."""
    here = telescope.parent / "here"
    for name, runs, seed in (("few", "2", "1"), ("more", "3", "1"), ("others", "2", "2")):
        program(telescope, "observe.py", name, "--runs", runs, "--seed", seed)
    files = {name: (here / name / "000001.events.jsonl").read_bytes() for name in ("few", "more", "others")}
    assert files["few"] == files["more"] != files["others"]


def test_a_run_without_events_left_has_a_code(telescope: Path) -> None:
    """When all events of a run are too small, its file is empty, its code is not 0, and the program's status is 1."""
    program(telescope, "observe.py", "runs", "--runs", "1")
    program(telescope, "analyse.py", "runs", "--threshold", "25", "--workers", "1", status=1)
    assert b"" == (telescope.parent / "here/runs/000000.features.jsonl").read_bytes()


def test_a_directory_without_runs_is_an_error(telescope: Path) -> None:
    """One line says how to write some."""
    said = program(telescope, "analyse.py", "empty", status=2)
    assert said.endswith("analyse.py: error: there are no runs in empty; write some: observe.py empty\n")


def test_a_cluster_that_is_not_there_is_one_line(telescope: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Slurm, the program says what is missing."""
    monkeypatch.setenv("PATH", "/nowhere")
    said = program(telescope, "spread.py", "--pool", "slurm", status=2)
    assert re.fullmatch(r"spread\.py: .*sbatch.*\n", said)


def test_schedules(telescope: Path) -> None:
    """Static halves end after 22 units and leave 36 % of the time unused; dynamic hand-out ends after 14, with none."""
    both = "[m.schedule(m.LENGTHS, 2, chunksize) for chunksize in (4, 1)]"
    found = value(telescope, "scheduling", f"[[m.makespan(bars), m.busy(bars, 2)] for bars in {both}]")
    assert [[22, 28 / 44], [14, 1]] == found


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a Slurm for the test alone."""
    monkeypatch.syspath_prepend(CLUSTER)
    import slurm_cluster

    for name in slurm_cluster.PROGRAMS:
        if slurm_cluster.program(name) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed (slurm-wlm, munge)")
    cluster = slurm_cluster.Cluster(cgroups=slurm_cluster.cgroups_work())
    try:
        cluster.start()
        monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
        yield cluster
    finally:
        cluster.stop()


def test_on_slurm(telescope: Path, slurm: Any) -> None:
    """The same programs in jobs of Slurm print the same values, and leave neither jobs nor files of their own."""
    program(telescope, "observe.py", "observations")
    options = ("--pool", "slurm", "--nodes", "2", "--workers", "2", "--allow-local")
    assert program(telescope, "analyse.py", "observations", *options).endswith(f" 96 of them with code 0\n{REPORT}")
    spread = program(telescope, "spread.py", *options)
    assert re.fullmatch(rf"map               {SPREADS}\nslurm             the same \(.*\)\n", spread)
    assert "" == slurm.ask("squeue", "--noheader", "--states=PENDING,RUNNING").strip()
    assert ["observations", "pytaskfarmer"] == sorted(os.listdir(telescope.parent / "here"))
