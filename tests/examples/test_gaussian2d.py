"""The 2-D Gaussian: all ways have the same bits, nonsense is refused, and the traps of its README are as it tells."""

import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
from array import array
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gaussian2d"
STEP = 0.02
PICTURES = ["concurrent.png", "embarrassing2.png", "embarrassing4.png", "scaling.png", "serial.png"]

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Return a copy of the example, in which its programs may write."""
    ignored = shutil.ignore_patterns("__pycache__", "*.f64", "*.part", "*.png", "*_workdir")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "gaussian2d", ignore=ignored))


@pytest.fixture
def no_matplotlib(tmp_path: Path) -> str:
    """Return a PYTHONPATH with which there is no matplotlib."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/matplotlib.py").write_text("raise ImportError\n")
    return str(tmp_path / "hidden")


@pytest.fixture(scope="module")
def gaussian() -> ModuleType:
    return loaded("gaussian")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gaussian2d_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def readme() -> str:
    return (EXAMPLE / "README.md").read_text()


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{package} is not installed")


def run(directory: Path, *command: str, **environment: str) -> Done:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "STEP": str(STEP), **environment}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=50, check=False)


def test_demo(example: Path) -> None:
    """The README's command computes the same bits in four ways and draws them, and another STEP can follow it."""
    need("matplotlib")
    done = run(example, "sh", "demo.sh")
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert done.stdout.endswith("\nAll four have the same bits.\n")
    assert 4 == done.stdout.count("; sum 0.911056, expected 0.911070") + done.stdout.count(
        " strips: sum 0.911056, expected 0.911070"
    )
    counts = ["1 worker ", "2 workers", "4 workers", "8 workers", "16 workers"]
    assert counts == re.findall(r"^ +(\d+ worker[s ]) +\d+\.\d\d s  #+$", done.stdout, re.MULTILINE)
    assert PICTURES == sorted(path.name for path in example.glob("*.png"))
    serial = (example / "serial.f64").read_bytes()
    assert 200 * 200 * 8 == len(serial)
    for name in ("embarrassing2", "embarrassing4", "concurrent"):
        assert serial == (example / f"{name}.f64").read_bytes()

    # Then the README goes on step by step, here with another STEP.
    assert [] == [*example.glob("*_workdir"), *example.glob("strip-*")]
    commands = re.findall(r"^(pytaskfarmer\.py .*4.*?|python3 .*--join 4)(?: +#.*)?$", readme(), re.MULTILINE)
    assert 2 == len(commands)
    done = run(example, "sh", "-ec", "\n".join(commands), STEP="0.04")
    assert (0, True) == (done.returncode, "4 strips: sum 0.911" in done.stdout), done.stdout + done.stderr


def test_strips_of_another_step_are_named(example: Path) -> None:
    """Strips that are there, but of another STEP, are refused with what has to be removed."""
    for number in (1, 2):
        run(example, "python3", "2d_gaussian_embarrassing.py", "--strip", f"{number}/2", STEP="0.5")
    done = run(example, "python3", "2d_gaussian_embarrassing.py", "--join", "2", STEP="0.25")
    remedy = "64 values where 16 x 16 are expected; remove strips2.txt_workdir and compute the strips again\n"
    assert (2, True) == (done.returncode, done.stderr.endswith(f"error: {remedy}")), done.stderr


def test_demo_finds_a_different_bit(example: Path) -> None:
    """If the strips of the commands differ from the serial values in a last bit, the demo fails."""
    program = (example / "2d_gaussian_embarrassing.py").read_text()
    twisted = program.replace(
        "        values.tofile(file)", "        values[7] *= 1 + 2**-52\n        values.tofile(file)"
    )
    (example / "2d_gaussian_embarrassing.py").write_text(twisted)
    done = run(example, "sh", "demo.sh")
    assert 1 == done.returncode
    assert "serial.f64 embarrassing2.f64 differ" in done.stdout


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 8, 200])
def test_any_strips_are_the_whole(gaussian: ModuleType, parts: int) -> None:
    """Strips in the order of their rows have the bits of the serial values, into however many it is cut."""
    strips = list(gaussian.cut(200, parts))
    assert parts == len(strips)
    assert max(count for _, count in strips) - min(count for _, count in strips) <= 1
    whole = gaussian.strip(STEP, 0, 200)
    assert whole.tobytes() == b"".join(gaussian.strip(STEP, *part).tobytes() for part in strips)


def test_values(gaussian: ModuleType) -> None:
    """A value is that of the formula, rows are x and points of a row are y, from -2 on."""
    values = gaussian.strip(0.5, 0, 8)
    assert [math.exp(-(x * x + y * y) / 2) / (2 * math.pi) for x in (-2, -1.5) for y in (-2, -1.5, -1)] == [
        *values[:3],
        *values[8:11],
    ]


def test_check_value(gaussian: ModuleType) -> None:
    """The sum is 0.91107 to within 0.034 STEP squared; a row short, and an outer row twice, are refused."""
    values = gaussian.strip(STEP, 0, 200)
    assert abs(gaussian.check(values, STEP) - math.erf(math.sqrt(2)) ** 2 + 0.0344 * STEP**2) < 1e-3 * STEP**2
    doubled = array("d", values)
    doubled[200:400] = doubled[400:600]
    for wrong, complaint in ((values[200:], "39800 values where 200 x 200 are expected"), (doubled, "add up to")):
        with pytest.raises(ValueError, match=complaint):
            gaussian.check(wrong, STEP)


@pytest.mark.parametrize("step", [0, -1, 0.3, 7, math.nan, math.inf])
def test_steps_that_do_not_divide_the_side(gaussian: ModuleType, step: float) -> None:
    """A step that does not fill [-2, 2) is refused."""
    with pytest.raises(ValueError, match="does not divide 4"):
        gaussian.side(step)


@pytest.mark.parametrize(
    ("workers", "complaint"),
    [
        ("1,20000", "20000 workers are too many: at most "),
        ("0", "expected numbers of workers from 1 on, such as 2 or 1,2,4"),
        ("1,,2", "expected numbers of workers from 1 on"),
        ("many", "expected numbers of workers from 1 on"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(example: Path, workers: str, complaint: str) -> None:
    """A number of workers that makes no sense is refused with the reason, and nothing is computed."""
    done = run(example, "python3", "2d_gaussian_concurrent.py", "--max-workers", workers, STEP="0.001")
    assert (2, "") == (done.returncode, done.stdout)
    assert f"2d_gaussian_concurrent.py: error: --max-workers {workers}: {complaint}" in done.stderr
    assert not (example / "concurrent.f64").exists()


def test_a_worker_needs_a_row(example: Path) -> None:
    """More workers than rows are refused, with the number that has work."""
    done = run(example, "python3", "2d_gaussian_concurrent.py", "--max-workers", "9", STEP="0.5")
    assert 2 == done.returncode
    assert "9 workers are too many: at most 8, since the grid has 8 rows, and a worker needs one; " in done.stderr


def test_without_matplotlib(example: Path, no_matplotlib: str) -> None:
    """Without matplotlib there are pictures of characters, what to install, and bars for the run times."""
    hidden = {"PYTHONPATH": no_matplotlib}
    done = run(example, "python3", "2d_gaussian.py", **hidden)
    assert done.stdout.endswith("\nserial.txt (no matplotlib, so no serial.png; pip install 'pytaskfarmer[plot]')\n")
    rows = (example / "serial.txt").read_text().splitlines()
    assert (24, {48}) == (len(rows), {len(row) for row in rows})
    assert "@" == rows[12][24]
    assert all(" " == corner for corner in (rows[0][0], rows[0][-1], rows[-1][0], rows[-1][-1]))
    done = run(example, "python3", "2d_gaussian_concurrent.py", "--max-workers", "1,2", **hidden)
    assert 2 == len(re.findall(r"^ +[12] worker[s ] +\d+\.\d\d s  #+$", done.stdout, re.MULTILINE))
    assert [] == list(example.glob("*.png"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--join", "3"), "strip-1-of-3.f64 is not there; compute the strips first"),
        (("--strip", "5/4"), "argument --strip: '5/4' is not like 1/4"),
        (("--strip", "0/4"), "argument --strip: '0/4' is not like 1/4"),
    ],
)
def test_what_the_commands_cannot_use(example: Path, options: tuple[str, ...], complaint: str) -> None:
    """Strips that are missing, or that cannot be, are named, with exit status 2."""
    done = run(example, "python3", "2d_gaussian_embarrassing.py", *options)
    assert 2 == done.returncode
    assert done.stderr.endswith(f": {complaint}\n")


# -- the traps


def test_trap_of_float_limits() -> None:
    """Three strips between float limits have 4002 columns together."""
    need("numpy")
    import numpy as np

    limits = [-2 + 4 / 3 * part for part in range(4)]
    counts = [len(np.arange(low, high, 0.001)) for low, high in pairwise(limits)]
    assert 4002 == sum(counts)


@pytest.mark.parametrize("workers", [8, 16, 1000])
def test_trap_of_int_limits(workers: int) -> None:
    """With `int` on the limits, however many strips there are, four have work."""
    limits = [int(-2 + 4 / workers * part) for part in range(workers + 1)]
    assert workers != 8 or [-2, -1, -1, 0, 0, 0, 1, 1, 2] == limits
    assert 4 == sum(low < high for low, high in pairwise(limits))


def test_trap_of_the_order_of_completion(gaussian: ModuleType) -> None:
    """Strips put together in another order pass the check, and are another picture."""
    strips = [gaussian.strip(STEP, *part) for part in gaussian.cut(200, 4)]
    scrambled = strips[2] + strips[0] + strips[3] + strips[1]
    assert math.isclose(gaussian.check(scrambled, STEP), gaussian.check(gaussian.strip(STEP, 0, 200), STEP))
    assert scrambled != gaussian.strip(STEP, 0, 200)
