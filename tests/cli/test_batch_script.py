"""The batch script in the manual that has something to do afterwards, as it stands there."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import FARM, Desk

PAGE = Path(__file__).parents[2] / "docs/how-to/batch-systems.md"


@pytest.fixture
def script(desk: Desk) -> str:
    """The script that passes signals on, in a file, with the command's full path."""
    blocks = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = (block for block in blocks if "trap " in block)
    return desk.write("script.sh", text.replace("pytaskfarmer.py --proc 128", f"{FARM} --proc 2"))


@pytest.mark.parametrize(("last", "status"), [("echo two", 0), ("exit 5", 1)])
def test_the_script_ends_as_the_farmer_ends(desk: Desk, script: str, last: str, status: int) -> None:
    """Without a signal, the script's exit status is the farmer's."""
    desk.write("tasks.txt", "echo one", last)
    assert status == desk.run("bash", script).status


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGUSR1], [signal.SIGUSR1, signal.SIGTERM]])
def test_the_script_waits_for_the_farmer(
    desk: Desk, script: str, signals: list[int], wait_until: Callable[..., None]
) -> None:
    """After one signal or two the script waits until the farmer has put back what ran, and exits with its status."""
    desk.write("tasks.txt", "trap 'echo >> cleaned; sleep 0.5; exit' TERM; echo >> begun; sleep 100 & wait")
    job = desk.start("bash", script)
    wait_until(lambda: desk.lines("begun"))
    for number in signals:
        job.send_signal(number)
        wait_until(lambda: desk.lines("cleaned"))
    ended = desk.end(job)
    assert (3, "") == (ended.status, ended.err)
    assert ended.lines[-1] == "next: run the same command again to resume"
    assert ([0], []) == (desk.ids("tasks.txt_workdir/toprocess"), desk.ids("tasks.txt_workdir/finished"))
