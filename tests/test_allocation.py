"""Facts of the batch allocation, from environments as Slurm makes them."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytaskfarmer import allocation
from pytaskfarmer.allocation import Allocation

BATCH = {
    "SLURM_JOB_ID": "123",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NNODES": "2",
    "SLURM_CPUS_ON_NODE": "4",
    "SLURM_JOB_CPUS_PER_NODE": "4(x2)",
    "SLURMD_NODENAME": "node1",
    "SLURM_PROCID": "0",
    "SLURM_NODEID": "0",
}
STEP = BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1"}
ARRAY = BATCH | {"SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "10"}


def test_outside_of_a_job_nothing_is_known() -> None:
    """Without a job id every fact is None, whatever stray variables say."""
    assert Allocation() == allocation.read({"SLURM_STEP_ID": "0", "SLURM_NNODES": "4", "SLURM_CPUS_ON_NODE": "2"})
    assert "" == Allocation().identity
    assert allocation.end_time(Allocation()) is None


def test_a_batch_script() -> None:
    """A batch script of two nodes is in no step, though SLURM_PROCID is set there too."""
    facts = allocation.read(BATCH)
    assert Allocation(job="123", node="node1", nodes=2, cpus=4, engine="slurm") == facts
    assert ("123", False) == (facts.identity, facts.in_step_of_several_nodes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"SLURM_STEP_NUM_NODES": "1"}, False),
        ({"SLURM_STEP_NUM_NODES": ""}, True),
        ({"SLURM_STEP_NUM_NODES": "", "SLURM_JOB_NUM_NODES": "1"}, False),
    ],
)
def test_a_step_of_several_nodes(changes: dict[str, str], expected: bool) -> None:
    """A step counts its own nodes, and the job's only if it does not say."""
    assert expected == allocation.read(STEP | changes).in_step_of_several_nodes


def test_an_array_element_is_called_by_array_and_number() -> None:
    """An element is addressed as ARRAY_TASK, which `scontrol` understands at any time."""
    facts = allocation.read(ARRAY | {"SLURM_ARRAY_TASK_ID": "0"})
    assert ("123", "120", 0, "120_0") == (facts.job, facts.array_job, facts.array_task, facts.identity)


@pytest.mark.parametrize("word", ["", "x", "-3", "4(x2)", "1e9", "٣", "9" * 5000, " "])
def test_garbage_is_not_known(word: str) -> None:
    """Values that are no plain numbers are as good as unset."""
    names = ["NNODES", "JOB_NUM_NODES", "CPUS_ON_NODE", "JOB_END_TIME", "ARRAY_TASK_ID"]
    facts = allocation.read({"SLURM_JOB_ID": "5"} | {f"SLURM_{name}": word for name in names})
    assert Allocation(job="5", nodes=1, engine="slurm") == facts


@pytest.mark.parametrize(
    ("environ", "mask", "expected"),
    [
        ({}, 8, 8),
        ({"SLURM_CPUS_ON_NODE": "2"}, 8, 8),
        ({"SLURM_CPUS_PER_TASK": "2"}, 8, 8),
        (BATCH, 8, 4),
        (BATCH, 2, 2),
        (BATCH | {"SLURM_CPUS_ON_NODE": "junk"}, 8, 8),
        (BATCH | {"SLURM_CPUS_PER_TASK": "2"}, 8, 4),
        (STEP | {"SLURM_CPUS_PER_TASK": "2"}, 8, 2),
        (STEP | {"SLURM_CPUS_PER_TASK": "0"}, 8, 4),
        (STEP | {"SLURM_CPUS_ON_NODE": "0"}, 1, 1),
        (BATCH, 0, 1),
    ],
)
def test_cpus_are_what_mask_and_slurm_allow(environ: dict[str, str], mask: int, expected: int) -> None:
    """The smallest of the mask, the allocation on this node and, inside a step, the task's share; at least one."""
    assert expected == allocation.cpus(allocation.read(environ), range(mask))


def test_gpus_of_the_node() -> None:
    """The number of GPUs is known where Slurm tells it; none is not the same as unknown."""
    found = [
        allocation.read(BATCH | more).gpus for more in ({}, {"SLURM_GPUS_ON_NODE": "0"}, {"SLURM_GPUS_ON_NODE": "4"})
    ]
    assert [None, 0, 4] == found


@pytest.mark.parametrize(
    ("tasks", "node", "expected"),
    [
        ("1(x2)", "1", 1),
        ("4(x2),3", "0", 4),
        ("4(x2),3", "1", 4),
        ("4(x2),3", "2", 3),
        ("4(x2),3", "3", None),
        ("128", "0", 128),
        ("junk", "0", None),
        ("4(x2", "0", None),
        ("", "0", None),
        ("4", "", None),
    ],
)
def test_the_farmers_of_a_step_on_this_node(tasks: str, node: str, expected: int | None) -> None:
    """They are found in the step's list of nodes by the place of this one."""
    step = STEP | {"SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_NODEID": node}
    assert expected == allocation.read(step).farmers_here
    assert allocation.read({name: step[name] for name in step if name != "SLURM_STEP_ID"}).farmers_here is None


@pytest.mark.parametrize(
    ("step", "bound", "slots", "squeezed"),
    [("0", {3}, 2, False), ("0", {3}, 3, True), (None, {3}, 128, False), ("0", None, 10**6, False)],
    ids=["two a CPU", "three a CPU", "no step", "all CPUs"],
)
def test_a_farmer_that_srun_has_bound(step: str | None, bound: set[int] | None, slots: int, squeezed: bool) -> None:
    """In a step with fewer CPUs than its slots need, and than there are, one is told how to get more."""
    mask = bound or set(range(os.cpu_count() or 1))
    said = allocation.squeezed(Allocation(job="1", step=step), mask, slots)
    expected = (
        f"srun bound this farmer to 1 CPU, which its {slots} slots share; srun --cpus-per-task={slots} gives it more"
    )
    assert said == (expected if squeezed else None)


@pytest.mark.parametrize(
    ("farmers", "cpus", "slots", "refused"),
    [
        (None, 4, 100, False),
        (1, 4, 100, False),
        (2, 4, 4, False),
        (2, 4, 5, True),
        (4, 128, 64, False),
        (4, 128, 65, True),
    ],
)
def test_farmers_that_crowd_a_node(farmers: int | None, cpus: int, slots: int, refused: bool) -> None:
    """Several farmers of one step may have two slots a CPU of their node together, and no more."""
    words = allocation.crowding(Allocation(job="1", nodes=2, cpus=cpus, farmers_here=farmers), slots)
    assert refused == (words is not None)
    if words is not None:
        line = f"srun --nodes=2 --ntasks-per-node=1 --cpus-per-task={cpus} pytaskfarmer.py --proc {cpus} TASKLIST"
        assert words.endswith(line)


def test_slots_are_bounded_by_the_limits_of_the_process() -> None:
    """A process that may open 1,064 files holds 500 slots."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1064, hard))
    try:
        assert [500, 200, 90] == [allocation.most_slots(), allocation.most_slots(1), allocation.most_slots(4)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# The end


def test_the_environment_says_when_the_allocation_ends(scontrol: Path) -> None:
    """Where newer Slurm tells the end, nobody is asked."""
    facts = allocation.read(BATCH | {"SLURM_JOB_END_TIME": "1700000000"})
    assert 1_700_000_000.0 == allocation.end_time(facts)
    assert not (scontrol / "asked").exists()


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program of that name on PATH, which notes what it is asked and prints, or does, what `answer` says."""
    program = tmp_path / "scontrol"
    program.write_text(
        f'#!/bin/sh\necho "$*" "$TZ" "$SLURM_TIME_FORMAT" >> \'{tmp_path}/asked\'\n. \'{tmp_path}/answer\'\n'
    )
    program.chmod(0o755)
    (tmp_path / "answer").write_text("exit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    allocation.ask.cache_clear()
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield tmp_path
    allocation.ask.cache_clear()
    monkeypatch.undo()
    time.tzset()


LINE = "JobId=123 JobName=x StartTime=2023-11-14T21:13:20 EndTime=2023-11-14T22:13:20 Deadline=N/A Partition=debug"


def test_otherwise_scontrol_is_asked(scontrol: Path) -> None:
    """The end comes from `scontrol show job`, asked once, in UTC, whatever the user's zone and time format are."""
    (scontrol / "answer").write_text(f"echo '{LINE}'\n")
    assert [1_700_000_000.0] * 2 == [allocation.end_time(allocation.read(ARRAY)) for _ in range(2)]
    assert "--oneliner show job 120_7 UTC0 standard\n" == (scontrol / "asked").read_text()


@pytest.mark.parametrize("answer", ["exit 1", "echo 'EndTime=Unknown'", "echo garbage", "printf '\\377'", "kill -9 $$"])
def test_an_answer_without_an_end_is_no_error(scontrol: Path, answer: str) -> None:
    """What `scontrol` cannot say is not known."""
    (scontrol / "answer").write_text(answer + "\n")
    assert allocation.end_time(allocation.read(BATCH)) is None


def test_a_missing_scontrol_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inside a container, where Slurm's variables are set and its programs are not there, the end is not known."""
    monkeypatch.setenv("PATH", str(tmp_path))
    allocation.ask.cache_clear()
    assert allocation.end_time(allocation.read(BATCH)) is None


def test_a_scontrol_that_hangs_is_given_up(scontrol: Path) -> None:
    """A controller that does not answer costs a few seconds and no more."""
    (scontrol / "answer").write_text("exec sleep 60\n")
    begin = time.monotonic()
    assert allocation.end_time(allocation.read(BATCH), patience=0.2) is None
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, 1_700_000_000.0),
        ("   StartTime=2023-11-14T21:13:20 EndTime=2023-11-14T22:13:20 Deadline=N/A\n", 1_700_000_000.0),
        ("PreemptEligibleTime=2023-11-14T22:13:20", None),
        ("EndTime=2023-13-45T22:13:20", None),
        ("EndTime=NONE", None),
        ("", None),
    ],
)
def test_the_end_is_found_in_the_text(text: str, expected: float | None) -> None:
    """Only a whole, possible EndTime counts."""
    assert expected == allocation.parse_end_time(text)


def test_the_module_needs_nothing_heavy() -> None:
    """Asking for the CPUs loads neither subprocess nor anything else that costs start-up time."""
    import subprocess

    code = "import sys; from pytaskfarmer import allocation; print('subprocess' in sys.modules)"
    shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert "False\n" == shown
