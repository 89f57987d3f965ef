"""CPUs and memory for each task inside a real allocation."""

import json
import subprocess
from pathlib import Path

from farm_driver import Farm
from slurm_cluster import MEMORY_A_NODE, Cluster, submit

from pytaskfarmer import allocation

EAT = "python3 -c 'x = bytearray({} << 20); import time; time.sleep(5)'"


def said(farm: Farm, job: str) -> str:
    """Return what a job has printed."""
    return Path(farm.layout.job_output(job)).read_text()


def failures(farm: Farm) -> dict[int, str]:
    """Return why tasks have failed, as `status` tells it."""
    words = ["pytaskfarmer", "status", farm.list.name, "--json"]
    printed = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=True).stdout
    return {task["id"]: task["outcome"] for task in json.loads(printed)["failed_tasks"]}


def test_cpus_of_the_allocation_are_dealt_out(slurm: Cluster, farm: Farm) -> None:
    """There are as many slots as the job's CPUs allow, not the node's, and each task knows how many it has."""
    farm.write(["echo $OMP_NUM_THREADS $PYTASKFARMER_SLOT >> seen; sleep 0.3"] * 6)
    (job,) = submit(farm, "--cpus-per-node=2", "--cpus-per-task=1")
    assert ("COMPLETED", 0) == slurm.end(job), said(farm, job)
    assert "; 2 slots; " in said(farm, job)
    assert {"1 0", "1 1"} == set((farm.directory / "seen").read_text().splitlines())
    farm.balance(6, "finished")


def test_the_shell_of_salloc_is_no_task() -> None:
    """Where it runs in a step of its own on the first node, it has the node's share of the job, like a script."""
    job = {"SLURM_JOB_ID": "5", "SLURM_CPUS_ON_NODE": "128", "SLURM_CPUS_PER_TASK": "2", "SLURM_JOB_NUM_NODES": "4"}
    step = {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_NODEID": "0"}
    shell = allocation.read(job | step | {"SLURM_STEP_ID": "4294967290"})
    assert (None, 4, 128) == (shell.step, shell.nodes, allocation.cpus(shell, range(256)))
    assert 2 == allocation.cpus(allocation.read(job | step | {"SLURM_STEP_ID": "0"}), range(256))


def test_more_cpus_than_the_allocation_has(slurm: Cluster, farm: Farm) -> None:
    """A task that cannot have its CPUs here is refused, and nothing runs."""
    farm.write(["true"])
    script = "srun --cpus-per-task=1 pytaskfarmer.py --allow-local --cpus-per-task 2 tasks.txt"
    job = slurm.submit(script, farm.directory, "--ntasks=1", "--cpus-per-task=1")
    assert ("FAILED", 2) == slurm.end(job)
    output = (farm.directory / f"{job}.out").read_text()
    assert "--cpus-per-task 2: this farmer has 1 CPU, too little for a single task" in output
    assert not farm.workdir.exists()


def test_memory_of_the_allocation_is_dealt_out(slurm: Cluster, farm: Farm) -> None:
    """There are as many slots as fit into the job's memory; a task that takes more fails for that, and alone."""
    assert 400 == MEMORY_A_NODE
    farm.write(["sleep 0.1", EAT.format(120), "sleep 0.1", "sleep 0.1"])
    (job,) = submit(farm, "--cpus-per-node=2", "--mem-per-task=80M")
    assert ("FAILED", 1) == slurm.end(job), said(farm, job)
    assert "; 2 slots; " in said(farm, job)
    assert {1: "out_of_memory"} == failures(farm)
    assert "and may use 80M (--mem-per-task)" in Path(farm.layout.log(1)).read_text()
    farm.balance(4, "finished", "failed")


def test_more_memory_than_the_allocation_has(slurm: Cluster, farm: Farm) -> None:
    """What was typed comes back in the refusal, with what there is."""
    farm.write(["true"])
    (job,) = submit(farm, "--cpus-per-node=2", "--mem-per-task=4000G")
    assert ("FAILED", 2) == slurm.end(job), said(farm, job)
    assert "--mem-per-task 4000G: this farmer has 200M of memory, too little for a single task" in said(farm, job)
