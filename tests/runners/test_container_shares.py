"""What a task in a container knows of its share of CPUs and GPUs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import Bench

from pytaskfarmer.farm.resources import GPU_VARIABLES
from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.engines import ENGINES
from pytaskfarmer.runners.recipe import Recipe


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Return a farm with stand-ins for engines on its PATH; whatever is left in a container is an error."""
    bench = Bench(tmp_path)
    bench.install("podman-hpc", "apptainer", "podman")
    monkeypatch.setenv("PATH", str(bench.bin), prepend=":")
    yield bench
    bench.end()


@pytest.mark.parametrize(
    ("engine", "hold"),
    [("podman", False), ("podman", True), ("podman-hpc", False), ("podman-hpc", True), ("apptainer", False)],
)
def test_a_task_has_its_share_inside(bench: Bench, monkeypatch: pytest.MonkeyPatch, engine: str, hold: bool) -> None:
    """Each task finds its own GPUs and its number of threads, also where the engine hands on only what is named."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    line = "touch on$PROC_NUMBER; until test -e on0 -a -e on1; do sleep 0.01; done; echo $CUDA_VISIBLE_DEVICES"
    options = {
        "engine": engine,
        "image": "im.sif",
        "workdir": bench.farm.directory,
        **({"hold": "true"} if hold else {}),
    }
    words = ("--proc=2", "--gpus-per-task=2", "--cpus-per-task=1", "--task-timeout=20")
    assert 0 == bench.run([f"{line} $OMP_NUM_THREADS"] * 2, *words, **options), bench.farm.started[-1].output
    assert {"GPU-a,GPU-b 1\n", "GPU-c,GPU-d 1\n"} == {bench.log(task) for task in range(2)}


def test_no_variable_of_gpus_is_forgotten() -> None:
    """The containers' list of variables has all that the farmer cuts into shares."""
    environment = dict.fromkeys((*GPU_VARIABLES, "OMP_NUM_THREADS", "OTHER"), "1")
    handed_on = Recipe(ENGINES["podman"], "podman", "im").handed_on(TaskContext(0, 1, "/", environment))
    assert {*GPU_VARIABLES, "OMP_NUM_THREADS"} == handed_on.keys()
