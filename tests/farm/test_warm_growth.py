"""Warm workers over many tasks: nothing piles up in them or in the farmer."""

import json
import os
from pathlib import Path

import pytest
from farm_driver import Farm

from pytaskfarmer.workdir import results

SERVANT = """
import json, os, time
from pytaskfarmer.worker import command

class Calls:
    concurrency, max_tasks = 1, None
    def worker(self, context):
        return command("probe:Servant", {})
    def request(self, task, context):
        return b""

def look(pid):
    with open(f"/proc/{pid}/status") as file:
        kilobytes = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    files = []
    for _ in range(5):  # it may be just now that the farmer forces its books to the disk
        time.sleep(0.02)
        files.append(len(os.listdir(f"/proc/{pid}/fd")))
    return min(files), kilobytes

class Servant:
    def perform(self, request, task):
        print("look", task.id)
        time.sleep(0.0003)  # so that as many tasks are held ahead at the first look as ever after
        if task.id not in (1_000, 9_999):
            return b"0"
        return json.dumps([look(os.getpid()), look(os.getppid())]).encode()
"""


def test_descriptors_and_memory_stay(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1,000 tasks to 10,000, open files of farmer and worker stay, and memory grows by less than 1 MB."""
    (farm.directory / "probe.py").write_text(SERVANT)
    (farm.directory / "probe.ini").write_text("[probe]\nRunner = probe.Calls\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    farm.write(["x"] * 10_000)
    assert 0 == farm.run("-n", "1", "-r", "probe", "--logs", "pack", seconds=60), farm.started[-1].output
    found = results.latest(farm.layout)
    assert 10_000 == len(found)
    early, late = (json.loads(found[i].read() or b"") for i in (1_000, 9_999))
    for who, (files, memory), (files_late, memory_late) in zip(("worker", "farmer"), early, late, strict=True):
        assert (files, True) == (files_late, memory_late - memory < 1_000), (who, memory, memory_late)
    assert 1 == len(os.listdir(Path(farm.layout.results)))
