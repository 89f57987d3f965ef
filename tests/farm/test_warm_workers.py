"""Warm workers from the farmer's side: who is to blame for a death, who is not, and what does not grow."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, alive, until

from pytaskfarmer.workdir import results

SERVANT = """
import asyncio, ctypes, json, os, signal, sys, time
from pytaskfarmer.worker import command

class Calls:
    def __init__(self, concurrency: int = 1, max_tasks: int | None = None, how: str = "well"):
        self.concurrency, self.max_tasks, self.how = int(concurrency), max_tasks and int(max_tasks), how
    def worker(self, context):
        return command("serve:Servant", {"how": self.how})
    def request(self, task, context):
        return task.text.encode() * (200_000 if task.text == "long" else 1)

class Servant:
    def __init__(self, how):
        print("made by", os.getpid(), flush=True)
        if how == "raises":
            raise LookupError("no data set on this node")
        if how == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "second dies":
            try:
                os.mkdir("first")
            except FileExistsError:
                os._exit(9)
        self.names = {**globals(), "pid": os.getpid()}
    def perform(self, request, task):
        text = request.decode()
        if text.startswith("await "):
            return self.awaited(text[6:])
        return json.dumps(eval(text, self.names)).encode()
    async def awaited(self, text):
        print("begins")
        value = eval(text, self.names)
        if asyncio.iscoroutine(value):
            value = await value
        await asyncio.sleep(0)
        return json.dumps(value).encode()
"""
WaitUntil = Callable[..., None]


@pytest.fixture
def warm(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    (farm.directory / "serve.py").write_text(SERVANT)
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    define(farm)
    return farm


def define(farm: Farm, **options: object) -> None:
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    (farm.directory / "warm.ini").write_text(f"[warm]\nRunner = serve.Calls\n{lines}")


def returned(farm: Farm) -> dict[int, object]:
    return {i: json.loads(result.read() or b"") for i, result in results.latest(farm.layout).items()}


def log(farm: Farm, task_id: int) -> str:
    return Path(farm.layout.log(task_id)).read_text()


def outcomes(farm: Farm) -> dict[int, list[tuple[str, object]]]:
    """Return outcome and status, or signal, of every attempt, by task."""
    found: dict[int, list[tuple[str, object]]] = {}
    for bar in farm.timeline():
        if bar["ph"] == "X":
            args = bar["args"]
            found.setdefault(args["id"], []).append((args["outcome"], args.get("status") or args.get("signal")))
    return found


def test_one_process_does_it_all(warm: Farm) -> None:
    """Two slots run a hundred tasks in two processes, and every result is there."""
    warm.write([f"[{n}, pid]" for n in range(100)])
    assert 0 == warm.run("-n", "2", "-r", "warm"), warm.started[-1].output
    values = returned(warm)
    assert {i: i for i in range(100)} == {i: value[0] for i, value in values.items()}  # type: ignore[index]
    assert 1 <= len({value[1] for value in values.values()}) <= 2  # type: ignore[index]
    warm.balance(100, "finished")


def test_a_worker_is_replaced_when_it_has_had_enough(warm: Farm) -> None:
    """With max_tasks = 3, ten tasks in one slot take four processes."""
    define(warm, max_tasks=3)
    warm.write(["pid"] * 10)
    assert 0 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
    assert [1, 3, 3, 3] == sorted([*returned(warm).values()].count(pid) for pid in {*returned(warm).values()})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "no worker can be had: LookupError: no data set on this node"),
        ("dies", "no worker can be had: it was killed by SIGSEGV before it was ready"),
    ],
)
def test_a_node_that_has_no_worker_takes_no_tasks(warm: Farm, how: str, says: str) -> None:
    """Where the servant cannot be made, no task fails: all stay in the list, and the exit status is 2."""
    define(warm, how=how)
    warm.write(["1"] * 50)
    assert 2 == warm.run("-n", "4", "-r", "warm"), warm.started[-1].output
    assert 1 == warm.started[-1].output.count(says), warm.started[-1].output
    warm.balance(50, "toprocess")


def test_a_good_start_is_no_promise(warm: Farm) -> None:
    """A worker that cannot be replaced after several tries ends the farm, and blames no task."""
    define(warm, how="second dies", max_tasks=2)
    warm.write(["1"] * 6)
    assert 2 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
    assert "exited with status 9 before it was ready" in warm.started[-1].output
    assert (2, 0) == (len(warm.ids("finished")), len(warm.ids("failed")))
    warm.balance(6)


def test_an_interpreter_that_is_missing_takes_no_tasks(warm: Farm) -> None:
    """A worker command that does not exist ends the farm; no task fails."""
    servant = SERVANT.replace('{"how": self.how}', '{"how": self.how}, "/no/python"')
    (warm.directory / "serve.py").write_text(servant)
    warm.write(["1"] * 5)
    assert 2 == warm.run("-n", "2", "-r", "warm"), warm.started[-1].output
    assert "no worker can be had: it cannot be started" in warm.started[-1].output
    warm.balance(5, "toprocess")


def test_a_request_too_long_is_one_failure(warm: Farm) -> None:
    """A request that no message can carry fails its task with a line; the worker goes on."""
    warm.write(["1", "long", "2"])
    assert 1 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
    assert [1] == warm.ids("failed")
    assert "the request is 800,000 bytes long" in log(warm, 1)


class TestSeveralAtOnce:
    """One worker that holds four calls."""

    @pytest.fixture(autouse=True)
    def four(self, warm: Farm) -> None:
        """Define it."""
        define(warm, concurrency=4)

    @pytest.mark.parametrize(
        ("death", "end"),
        [
            ("os._exit(3)", ("nonzero_exit", 3)),
            ("os._exit(0)", ("nonzero_exit", 1)),
            ("os.kill(os.getpid(), signal.SIGSEGV)", ("killed_by_signal", "SIGSEGV")),
        ],
    )
    def test_only_the_guilty_call_pays(self, warm: Farm, death: str, end: tuple[str, object]) -> None:
        """A death costs the call that was executing; the three others run again and succeed."""
        warm.write(["await asyncio.sleep(0.3)"] * 3 + [f"await {death}"])
        assert 1 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
        assert [3] == warm.ids("failed")
        found = outcomes(warm)
        assert [end] == found[3]
        assert {"success"} == {found[i][-1][0] for i in range(3)}
        assert "the worker" in log(warm, 3)

    def test_a_call_in_time_outlives_one_that_is_not(self, warm: Farm) -> None:
        """A call over its time limit is cancelled; those beside it are not disturbed, and the worker stays."""
        beside = ["await asyncio.sleep(0.4, pid)", "await asyncio.sleep(0.1, pid)", "pid", "pid", "pid"]
        warm.write(["await asyncio.sleep(60)", *beside])
        assert 1 == warm.run("-n", "1", "-r", "warm", "--task-timeout", "0.7s"), warm.started[-1].output
        assert "timed_out" == outcomes(warm)[0][0][0]
        assert [0] == warm.ids("failed")
        assert 1 == len({*returned(warm).values()})

    def test_a_call_that_blocks_the_others_is_the_one_to_blame(self, warm: Farm) -> None:
        """One call blocks the loop for ever; only it fails, although all of them run out of time."""
        warm.write(["await asyncio.sleep(0.2)"] * 3 + ["await time.sleep(600)"])
        status = warm.run("-n", "1", "-r", "warm", "--task-timeout", "1s", "--grace", "0.2s")
        assert (1, [3]) == (status, warm.ids("failed")), warm.started[-1].output

    def test_each_prints_to_its_own_log(self, warm: Farm) -> None:
        """What is printed, and what a child prints, between the steps of others goes to the right log."""
        lines = [f"await [print({n}), os.system('echo child {n}'), asyncio.sleep(0.05)][2]" for n in range(8)]
        warm.write(lines)
        assert 0 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
        for n in range(8):
            assert f"begins\n{n}\nchild {n}\n" == "".join(
                line for line in log(warm, n).splitlines(keepends=True) if not line.startswith("made by")
            )


def test_a_stop_gives_calls_back(warm: Farm, wait_until: WaitUntil) -> None:
    """Calls of a farm that is stopped go back to the list, and no worker is left."""
    warm.write(["print(os.getpid(), flush=True) or time.sleep(600)"] * 4)
    started = warm.start("-n", "2", "-r", "warm")
    wait_until(lambda: all(Path(warm.layout.log(i)).exists() and log(warm, i).count("\n") == 2 for i in (0, 1)))
    pids = [int(log(warm, i).split()[-1]) for i in (0, 1)]
    started.signal(signal.SIGTERM)
    assert 3 == started.wait(), started.output
    warm.balance(4, "toprocess")
    assert not any(map(alive, pids))


def test_a_killed_farmer_leaves_no_worker(warm: Farm, wait_until: WaitUntil) -> None:
    """The workers of a farmer that is killed are gone, and its tasks run again."""
    warm.write(["print(os.getpid(), flush=True) or time.sleep(0 if os.path.exists('on') else 600)"] * 4)
    started = warm.start("-n", "2", "-r", "warm")
    wait_until(lambda: all(Path(warm.layout.log(i)).exists() and log(warm, i).count("\n") == 2 for i in (0, 1)))
    pids = [int(log(warm, i).split()[-1]) for i in (0, 1)]
    farmer = started.farmer
    assert farmer is not None
    os.kill(farmer, signal.SIGKILL)
    started.wait()
    assert until(lambda: not any(map(alive, pids)), 1)
    (warm.directory / "on").touch()
    assert 0 == warm.run("-n", "2", "-r", "warm"), warm.started[-1].output
    warm.balance(4, "finished")
