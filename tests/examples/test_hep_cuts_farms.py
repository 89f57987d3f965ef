"""The scan as calls of `Pool`, the sleep farm, the benchmark and the batch job, each as the README of hep_cuts says."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hep_cuts"
SAMPLE = EXAMPLE / "data" / "sample.csv"
COMMANDS = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHON": sys.executable}
PUBLISHED = {1: 355.5, 3: 117.6, 7: 51.5, 15: 24.0, 31: 12.1, 63: 6.11, 127: 3.65, 255: 3.00}

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Return a copy of the example, in which its programs may write."""
    ignored = shutil.ignore_patterns("__pycache__", "results", "*_workdir")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "hep_cuts", ignore=ignored))


def run(directory: Path, *command: str | Path | int, **environment: str) -> Done:
    words, env = [str(word) for word in command], {**os.environ, **COMMANDS, **environment}
    return subprocess.run(words, cwd=directory, env=env, capture_output=True, text=True, timeout=50, check=False)


def output_of(done: Done) -> str:
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def answer(text: str) -> str:
    """Return `text` without its last two lines, which tell the time."""
    lines = text.splitlines(keepends=True)
    assert ["Elapsed time      :", "task time [mus]   :"] == [line[:19] for line in lines[-2:]]
    return "".join(lines[:-2])


def baseline(example: Path, *options: str | Path | int) -> str:
    return answer(output_of(run(example, "python3", "task_farm_HEP_seq.py", *options)))


# -- the scan


@pytest.mark.parametrize(
    ("options", "summary"),
    [
        ((), "27 tasks on "),
        (("--workers", 1, "--chunk", 6561), "1 task on 1 worker in "),
        (("--workers", 3, "--chunk", 1000, "--seed", 5), "7 tasks on 3 workers in "),
    ],
    ids=["default", "one", "shuffled"],
)
def test_the_farm_equals_the_baseline(example: Path, options: tuple[str | int, ...], summary: str) -> None:
    """Text and JSON are those of the baseline, but for the times, whatever the workers, the chunks and their order."""
    expected = baseline(example, "--input", SAMPLE, "--output", "baseline.json")
    done = run(example, "python3", "task_farm_HEP.py", "--input", SAMPLE, "--output", "farm.json", *options)
    assert expected == answer(output_of(done))
    assert done.stderr.startswith(summary), done.stderr
    found, wanted = (json.loads((example / name).read_text()) for name in ("farm.json", "baseline.json"))
    assert [found.pop("seconds").keys() - wanted.pop("seconds").keys(), found] == [{"elapsed"}, wanted]


def test_the_lowest_of_equal_settings_wins_in_any_order(example: Path) -> None:
    """With few events many settings are equally good, and the farm prints the baseline's also if it comes last."""
    events = example / "few.csv"
    output_of(run(example, "python3", "generate_events.py", "--events", 6, "--seed", 1, "--output", events))
    scan = ("--input", events, "--n-cuts", 2)
    expected = baseline(example, *scan)
    for seed in (1, 2):
        farm = run(example, "python3", "task_farm_HEP.py", *scan, "--chunk", 16, "--seed", seed)
        assert expected == answer(output_of(farm))


def test_the_command_of_the_assignment(example: Path) -> None:
    """`task_farm.py --input FILE --workers 4 --output results/out.json --profile` scans, and tells of each worker."""
    options = ("--workers", 4, "--output", "results/out.json", "--profile")
    done = run(example, "python3", "task_farm.py", "--input", "data/sample.csv", *options)
    assert baseline(example, "--input", SAMPLE) == answer(output_of(done))
    result = json.loads((example / "results/out.json").read_text())
    assert (6227, 293) == (result["k"], result["correct"])
    assert re.search(r"^read .* s, prepare .* s, count .* s, elapsed .* s$", done.stderr, re.MULTILINE)
    assert 27 == sum(map(int, re.findall(r"^ +[1-4] +(\d+) +\d+$", done.stderr, re.MULTILINE)))


def test_the_baseline_shares_no_scan_with_the_farm(example: Path) -> None:
    """A farm that counts wrongly is found out: the baseline does not use what the farm counts with."""
    program = (
        "import sys, runpy; sys.argv = ['task_farm_HEP_seq.py', '--input', 'data/sample.csv']\n"
        "import pytaskfarmer.runners.cut_scan as scan\n"
        "scan.Scan.correct = scan.Scan.best = scan.prepare = scan.best_of = None\n"
        "runpy.run_path('task_farm_HEP_seq.py', run_name='__main__')\n"
    )
    assert "Best accuracy obtained :0.9766666666666667\n" in output_of(run(example, "python3", "-c", program))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--input", "absent.csv"), "absent.csv: No such file or directory"),
        (("--input", "job.sh"), "job.sh, line 1: expected the header line "),
        (("--input", SAMPLE, "--workers", 20_000), "20000 workers: there must be at least 1, and at most 10,000."),
    ],
    ids=["absent", "no events", "workers"],
)
def test_what_the_farm_cannot_use(example: Path, options: tuple[str | Path | int, ...], complaint: str) -> None:
    """Bad input, though a worker finds it, and nonsense are one line and exit status 2."""
    done = run(example, "python3", "task_farm_HEP.py", *options)
    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert done.stderr.startswith("task_farm_HEP.py: ")
    assert complaint in done.stderr


def test_smoke(example: Path) -> None:
    """The example's own smoke test compares six farms with the baseline, and finds no difference."""
    done = run(example, "sh", "tests/run_smoke.sh")
    assert 6 == output_of(done).count("ok: ")


# -- the sleep farm


def test_lengths_are_those_of_the_assignment(example: Path) -> None:
    """5000 sleeps from seed 1234 have 75,048 ms, and hand-out to the next free worker takes what is known for it."""
    program = (
        "from sleeps import lengths; from balance import greedy; w = lengths(5000, 1234); "
        "print(sum(w), *(round(greedy(w, n)) for n in (1, 2, 3, 4)))"
    )
    assert "75048 75048 37536 25027 18778\n" == output_of(run(example, "python3", "-c", program))


@pytest.mark.parametrize("seed", [0, 1234, 2**32 - 1])
def test_lengths_are_those_of_numpy(example: Path, seed: int) -> None:
    """The lengths are what numpy's generator of old gives, without numpy."""
    if importlib.util.find_spec("numpy") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("numpy is not installed")
    program = (
        f"import numpy, sleeps; numpy.random.seed({seed}); "
        f"print(sleeps.lengths(5000, {seed}) == numpy.random.randint(0, 31, 5000).tolist())"
    )
    assert "True\n" == output_of(run(example, "python3", "-c", program))


def test_the_sleep_farm_tells_how_the_tasks_fell(example: Path) -> None:
    """Every task is in the balance table once, and no run is faster than perfect balance."""
    done = run(example, "python3", "task_farm.py", "--tasks", 60, "--workers", 3, "--output", "out.json")
    text, facts = output_of(done), json.loads((example / "out.json").read_text())
    rows = [tuple(map(int, row)) for row in re.findall(r"^ +\d+ +(\d+) +(\d+)$", text, re.MULTILINE)]
    assert (60, facts["work_ms"]) == tuple(map(sum, zip(*rows, strict=True)))
    assert (60, 1234, 3) == (facts["tasks"], facts["seed"], facts["workers"])
    assert facts["work_ms"] / 3 <= facts["next_free_worker_ms"] <= facts["elapsed_ms"]
    for line in ("tasks  ", "work \\[ms\\]", "task \\[ms\\]", "perfect balance   :", "measured          :"):
        assert re.search(f"^{line} ", text, re.MULTILINE), line


# -- the benchmark


def test_scale_as_the_readme_has_it(example: Path) -> None:
    """The list of the README can be measured by `pytaskfarmer scale`; here it is a small one."""
    readme = (example / "README.md").read_text()
    (typed,) = re.findall(r"^(    python3 make_tasks\.py .*\n    pytaskfarmer scale .*)$", readme, re.MULTILINE)
    smaller = {"events.csv": "data/sample.csv", "-cuts 7": "-cuts 2", "=7": "=2", "1,2,4": "1,2 --repeat 1"}
    for written, here in smaller.items():
        assert written in typed
        typed = typed.replace(written, here)
    assert "of 2: 2 workers: " in output_of(run(example, "sh", "-ec", typed))
    assert (example / "results/scaling.csv").exists()


def bench(example: Path) -> str:
    return output_of(run(example, "sh", "bench.sh", WORKERS="1 2", EVENTS="100", CUTS="2", CHUNK="64"))


def test_benchmark_appends(example: Path) -> None:
    """Each call of bench.sh appends a heading and a line for each number of workers, and shows the last ones."""
    assert 2 == len(re.findall(r"^ +[12] +\d+\.\d\d +\d+\.\d\d  #+$", bench(example), re.MULTILINE))
    bench(example)
    lines = (example / "results/python_runtime.txt").read_text().splitlines()
    assert ["#", "1", "2", "#", "1", "2"] == [line.split()[0] for line in lines]
    assert lines[0].endswith(" CPUs, 100 events, 2 cuts, --chunk 64")


def plot(example: Path, *lines: str, **environment: str) -> str:
    (example / "times.txt").write_text("".join(f"{line}\n" for line in lines))
    return output_of(run(example, "python3", "plot_runtime.py", "times.txt", **environment))


def test_plot_of_the_published_times(example: Path) -> None:
    """The table has speed-ups, the fit only knows runs with a CPU for each worker, and the picture is a PNG."""
    if importlib.util.find_spec("matplotlib") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("matplotlib is not installed")
    times = [f"{n} {seconds}" for n, seconds in PUBLISHED.items()]
    text = plot(example, "# old", "1 5", "# MPI, 63 CPUs", *times)
    assert text.startswith("MPI, 63 CPUs\nworkers   seconds  speed-up\n      1    355.50      1.00  ####")
    assert "\n    255      3.00    118.50  #\n" in text
    assert text.endswith("serial fraction by Amdahl's law: 0.1%\ntimes.png\n")
    assert (example / "times.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib(example: Path) -> None:
    """Without matplotlib there is the table, what to install, and no picture; repeated runs count by their median."""
    (example / "hidden").mkdir()
    (example / "hidden/matplotlib.py").write_text("raise ImportError\n")
    text = plot(example, "# 8 CPUs", "1 4", "1 9", "1 5", "2 2.5", PYTHONPATH="hidden")
    assert f"      1      5.00      1.00  {'#' * 40}\n      2      2.50      2.00  {'#' * 20}\n" in text
    assert text.endswith("no matplotlib, so no times.png; pip install 'pytaskfarmer[plot]'\n")
    assert not (example / "times.png").exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("1 2 3", "times.txt, line 1: expected a number of workers and seconds, not '1 2 3'"), ("#", "has no times")],
)
def test_plot_of_something_else(example: Path, line: str, complaint: str) -> None:
    """A file without times is refused in one line."""
    (example / "times.txt").write_text(f"{line}\n")
    done = run(example, "python3", "plot_runtime.py", "times.txt")
    assert (2, 1) == (done.returncode, done.stderr.count("\n"))
    assert complaint in done.stderr


# -- the batch job


def test_job(example: Path) -> None:
    """The batch script also runs without a batch system, and prints the answer."""
    text = output_of(run(example, "bash", "job.sh", "data/sample.csv"))
    assert answer(text).endswith(baseline(example, "--input", SAMPLE))


def test_job_out_of_time_goes_on_when_submitted_again(example: Path, wait_until: Callable[..., None]) -> None:
    """At USR1 the job waits until its farmer has put the tasks back, and ends with 3; the next one does the rest."""
    words = ("bash", "job.sh", "data/sample.csv", "5")
    env = {**os.environ, **COMMANDS, "PROCS": "1"}
    books = example / "sample.csv.cuts5.txt_workdir"
    with subprocess.Popen(words, cwd=example, env=env, stdout=subprocess.PIPE, text=True) as job:
        wait_until(
            lambda: (books / "finished").exists() and (books / "finished").stat().st_size,
            hopeless=lambda: job.poll() is not None,
        )
        job.send_signal(signal.SIGUSR1)
        said, _ = job.communicate(timeout=30)
    assert 3 == job.returncode, said
    assert "Best accuracy" not in said
    done = len((books / "finished").read_text().splitlines())
    assert 1608 == done + len((books / "toprocess").read_text().splitlines())
    text = output_of(run(example, *words))
    assert f"pytaskfarmer: 1,608 tasks; {done:,} done before; " in text
    scan = ("--input", SAMPLE, "--n-cuts", 5, "--chunk", 50_000)
    assert answer(output_of(run(example, "python3", "task_farm_HEP.py", *scan))) in text
