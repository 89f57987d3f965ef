"""What a task finds of its share when it starts, and what the options say."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm

WaitUntil = Callable[..., None]
SEES = "taskset -cp $$; echo ${CUDA_VISIBLE_DEVICES-none} ${HIP_VISIBLE_DEVICES-none} ${OMP_NUM_THREADS-none}"
CPUS = sorted(os.sched_getaffinity(0))

SERVANT = """
import json, os
from pytaskfarmer.worker import command

class Calls:
    def __init__(self, concurrency: int = 1):
        self.concurrency, self.max_tasks = concurrency, None
    def worker(self, context):
        return command("serve:Servant", {})
    def request(self, task, context):
        return b""

class Servant:
    async def perform(self, request, task):
        facts = [sorted(os.sched_getaffinity(0)), os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()]
        with open(f"saw.{task.id}", "w") as file:
            json.dump([task.slot, *facts], file)
        import asyncio
        await asyncio.sleep(0.05)
"""


def log(farm: Farm, task: int) -> list[str]:
    return Path(farm.layout.log(task)).read_text().splitlines()


@pytest.fixture
def two(require: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with two GPUs, on a machine with two CPUs."""
    require("taskset")
    if len(CPUS) < 2:
        pytest.skip("needs two CPUs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa,GPU-bb")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("line", [SEES, f"exec sh -c '{SEES}'"], ids=["bash", "sh"])
def test_a_task_sees_its_share(farm: Farm, line: str) -> None:
    """Two tasks at a time have a CPU and a GPU each, those of their slot, and the number of threads."""
    farm.write([f"echo $PYTASKFARMER_SLOT; {line}; sleep 0.2"] * 6)
    assert 0 == farm.run("--proc", "2", "--cpus-per-task", "1", "--gpus-per-task", "1"), farm.started[-1].output
    found = {(slot, mask.split()[-1], said) for slot, mask, said in (log(farm, task) for task in range(6))}
    shares = {"0": (CPUS[0], "GPU-aa"), "1": (CPUS[1], "GPU-bb")}
    assert {(slot, str(cpu), f"{gpu} none 1") for slot, (cpu, gpu) in shares.items()} == found


@pytest.mark.usefixtures("two")
def test_a_program_started_directly_sees_it_too(farm: Farm) -> None:
    """A line of plain words is started without a shell, and on its own CPU from the first instruction."""
    farm.write(["grep Cpus_allowed_list /proc/self/status", "env"])
    assert 0 == farm.run("--proc", "1", "--cpus-per-task", "1", "--gpus-per-task", "2"), farm.started[-1].output
    assert [f"Cpus_allowed_list:\t{CPUS[0]}"] == log(farm, 0)
    assert {"CUDA_VISIBLE_DEVICES=GPU-aa,GPU-bb", "OMP_NUM_THREADS=1"} <= set(log(farm, 1))


@pytest.mark.usefixtures("two")
def test_the_farmer_is_bound_to_nothing(farm: Farm, wait_until: WaitUntil) -> None:
    """While its tasks are bound, the farmer may run anywhere."""
    farm.write(["touch up; sleep 60"])
    started = farm.start("--cpus-per-task", "1", "--grace", "0.1")
    wait_until((farm.directory / "up").exists, hopeless=started.over)
    assert started.farmer is not None
    assert set(CPUS) == os.sched_getaffinity(started.farmer)
    started.signal(signal.SIGTERM)
    assert 3 == started.wait()


@pytest.mark.usefixtures("two")
def test_without_options_nothing_is_changed(farm: Farm) -> None:
    """A task has the farmer's CPUs and GPUs where it asks for none of its own."""
    farm.write([SEES])
    assert 0 == farm.run()
    mask, said = log(farm, 0)
    assert (len(CPUS), "GPU-aa,GPU-bb none none") == (len(numbers(mask.split()[-1])), said)


def numbers(text: str) -> list[int]:
    ends = [word.split("-") for word in text.split(",")]
    return [number for word in ends for number in range(int(word[0]), int(word[-1]) + 1)]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_warm_worker_has_the_share_of_its_slots(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    """Two workers have a CPU and a GPU each, whatever number of calls they hold."""
    (farm.directory / "serve.py").write_text(SERVANT)
    (farm.directory / "warm.ini").write_text(f"[warm]\nRunner = serve.Calls\nconcurrency = {concurrency}\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    farm.write(["x"] * 12)
    assert 0 == farm.run("-r", "warm", "--cpus-per-task", "1", "--gpus-per-task", "1"), farm.started[-1].output
    saw = [json.loads((farm.directory / f"saw.{task}").read_text()) for task in range(12)]
    assert {(0, CPUS[0], "GPU-aa"), (1, CPUS[1], "GPU-bb")} == {(s // concurrency, *cpu, gpu) for s, cpu, gpu, _ in saw}
    assert 2 == len({pid for *_, pid in saw})


def test_gpus_that_stay_idle(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the CPUs say how many tasks run, a warning tells what that leaves of the GPUs; asked for, all are used."""
    cpus = len(os.sched_getaffinity(0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(cpus + 2))))
    farm.write(["echo $CUDA_VISIBLE_DEVICES"])
    assert 0 == farm.run("--gpus-per-task", "1")
    assert f"2 of {cpus + 2} GPUs stay idle" in farm.started[-1].output
    assert 0 == farm.run("--gpus-per-task", "1", "--proc", str(cpus + 2))
    assert "idle" not in farm.started[-1].output


def test_the_number_of_slots_follows(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--proc`, three GPUs make three slots."""
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    farm.write(["true"] * 20)
    slots = min(3, len(CPUS))
    assert 0 == farm.run("--gpus-per-task", "1")
    assert f"; {slots} slots;" in farm.started[-1].output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cpus-per-task", "1", "-n", "1000"], r"--proc 1000: this farmer has \d+ CPUs?, which is room for \d+ at a"),
        (["--mem-per-task", "900T"], r"--mem-per-task 900T: this farmer has \S+ of memory, too little"),
        (["--mem-per-task", "4"], r"'4' is not an amount of memory"),
        (["--gpus-per-task", "1"], r"--gpus-per-task 1: no GPUs are known here"),
        (["--cpus-per-task", "0"], r"'0' is not a whole number above 0"),
    ],
)
def test_what_cannot_be_is_refused(farm: Farm, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str) -> None:
    """A wish that cannot be met is an error before anything exists."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    farm.write(["true"])
    assert 2 == farm.run(*options)
    assert re.match(f"pytaskfarmer: error: .*{says}.*\n$", farm.started[-1].output), farm.started[-1].output
    assert not farm.workdir.exists()


def test_jitter_delays_the_start(farm: Farm) -> None:
    """With `--jitter`, the work directory is made after a random part of the time."""
    farm.write(["true"])
    begin = time.time()
    assert 0 == farm.run("--jitter", "0.5s")
    assert time.time() - begin < 20
    farm.balance(1, "finished")


def test_jitter_ends_at_once_when_it_is_to_stop(farm: Farm, wait_until: WaitUntil) -> None:
    """A signal ends a wait of hours, and nothing has been touched."""
    farm.write(["true"])
    started = farm.start("--jitter", f"{random.randint(90, 99)}h")
    wait_until(lambda: started.farmer is not None and handles_term(started.farmer), hopeless=started.over)
    started.signal(signal.SIGTERM)
    assert 3 == started.wait(5)
    assert [] == farm.ids("finished")


def handles_term(pid: int) -> bool:
    found = re.search(r"SigCgt:\t([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)
