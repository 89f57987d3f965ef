"""The Python runner in a real farm: warm workers, what they print, and what kills them."""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from farm_driver import Farm

from pytaskfarmer.workdir.results import latest

WORK = """\
    import asyncio, concurrent.futures, ctypes, multiprocessing, os, resource, subprocess, sys, time

    barriers = {}

    def say(text):
        print(text)
        print("error", text, file=sys.stderr)
        subprocess.run(["echo", "child", text], check=True)

    def pid():
        print(os.getpid())

    def fail(run):
        raise ValueError(f"no run {run}")

    def leave(status=None): sys.exit(status)
    def vanish(status): os._exit(status)
    def crash(): ctypes.string_at(0)
    def hang(): time.sleep(600)
    def spin():
        while True: pass
    def swallow():
        while True:
            try: time.sleep(600)
            except BaseException: pass

    def limit():
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (128 << 20),) * 2)

    def hoard():
        hoard = []
        while True: hoard.append(bytearray(1 << 20))

    async def twice(x):
        await asyncio.sleep(0)
        return 2 * x

    def double(x):
        return x + x

    def run_async(x):
        print(asyncio.run(twice(x)))

    def pool(how):
        context = multiprocessing.get_context(how)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(abs, [-1, -2])))

    async def meet(parties, text):
        barrier = barriers.setdefault(parties, asyncio.Barrier(parties))
        print("before", text)
        await barrier.wait()
        print("after", text)
        print(os.getpid())

    async def meet_once(parties, die=False):
        if not os.path.exists("died"):
            await barriers.setdefault(parties, asyncio.Barrier(parties)).wait()
            if die:
                open("died", "x").close()
                os._exit(0)
            await asyncio.sleep(600)

    async def fail_later(run):
        await asyncio.sleep(0)
        fail(run)

    async def pass_time(path):
        if not os.path.exists(path):
            await asyncio.sleep(0.05)
        print(os.getpid())

    async def wait_in_vain(path):
        try:
            await asyncio.sleep(600)
        finally:
            open(path, "x").close()
    """

Define = Callable[..., Farm]


@pytest.fixture
def define(tmp_path: Path) -> Iterator[Define]:
    """Return `define(tasks, option=value)`: a farm with a module `work` and a runner `py` of these options."""
    farm = Farm(tmp_path)

    def define(tasks: list[str], **options: object) -> Farm:
        (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
        lines = [f"{name} = {value}\n" for name, value in options.items()]
        (tmp_path / "py.ini").write_text("[py]\nRunner = pytaskfarmer.runners.python.Python\n" + "".join(lines))
        farm.write(tasks)
        return farm

    yield define
    farm.end()


def log(farm: Farm, task: int) -> str:
    return Path(farm.layout.log(task)).read_text()


def pids(farm: Farm, tasks: range) -> list[str]:
    """Return the last lines of the logs of tasks that print their process."""
    return [log(farm, task).split()[-1] for task in tasks]


def bars(farm: Farm) -> dict[int, dict[str, Any]]:
    """Return what the timeline says about the last attempt at each task."""
    return {event["args"]["id"]: event["args"] for event in farm.timeline() if event.get("cat") == "task"}


def outcomes(farm: Farm) -> dict[int, str]:
    return {task: bar["outcome"] for task, bar in sorted(bars(farm).items())}


class TestAWorker:
    def test_writes_to_the_log_of_its_task(self, define: Define) -> None:
        """What a task prints, to whichever stream and through whatever child, is in its log and in no other."""
        farm = define([f"work:say {word}" for word in ("one", "two", "three")])
        assert 0 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        for task, word in enumerate(("one", "two", "three")):
            assert [f"child {word}", f"error {word}", word] == sorted(log(farm, task).splitlines())

    def test_stays_for_all_tasks(self, define: Define) -> None:
        """One process serves a slot from the first task to the last."""
        farm = define(["work:pid"] * 20)
        assert 0 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert 1 == len(set(pids(farm, range(20))))

    def test_is_recycled(self, define: Define) -> None:
        """After `max_tasks` tasks a new process takes over."""
        farm = define(["work:pid"] * 7, max_tasks=2)
        assert 0 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert [1, 2, 2, 2] == sorted(Counter(pids(farm, range(7))).values())

    def test_of_a_named_function(self, define: Define) -> None:
        """A function of the definition is called with the line, which may be anything."""
        farm = define(["a  'b c=1"], function="work:say")
        assert 0 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert "a  'b c=1" in log(farm, 0).splitlines()

    def test_returns_results(self, define: Define) -> None:
        """What functions return, plain or awaited, is kept as JSON; None is not."""
        farm = define(["work:twice 1.5", "work:pid", "work:double [1]", "work:double '\"a\"'"])
        assert 0 == farm.run("-n", "2", "-r", "py"), farm.started[-1].output
        assert {0: b"3.0", 2: b"[1, 1]", 3: b'"aa"'} == {
            task: result.read() for task, result in latest(farm.layout).items()
        }

    def test_lets_a_plain_function_have_its_own_event_loop(self, define: Define) -> None:
        """`asyncio.run` works in a plain function, before and after an `async def` one."""
        farm = define(["work:run_async 1", "work:twice 1", "work:run_async 2"])
        assert 0 == farm.run("-n", "1", "-r", "py"), log(farm, 0)
        assert ["2\n", "4\n"] == [log(farm, 0), log(farm, 2)]

    @pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
    def test_lets_a_function_have_processes(self, define: Define, how: str) -> None:
        """A pool of processes works in a task, whatever way they are started."""
        farm = define([f"work:pool {how}", "work:pid"])
        assert 0 == farm.run("-n", "1", "-r", "py"), log(farm, 0)
        assert "[1, 2]\n" == log(farm, 0)


class TestAFailure:
    def test_shows_its_traceback(self, define: Define) -> None:
        """The traceback in the log begins with the user's own frame; `async def` or not."""
        farm = define(["work:fail 7", "work:fail_later 8", "work:pid"])
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert [[2], [0, 1]] == [farm.ids("finished"), sorted(farm.ids("failed"))]
        for task, names in ((0, ["fail"]), (1, ["fail_later", "fail"])):
            frames = re.findall(r'^  File "(.*)", line \d+, in (\w+)$', log(farm, task), re.MULTILINE)
            assert [(str(farm.directory / "work.py"), name) for name in names] == frames
            assert log(farm, task).endswith(f"ValueError: no run {task + 7}\n")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("work:fail", "the line does not fit work:fail(run): missing a required argument: 'run'"),
            ("work:fial", "has no 'fial'; did you mean 'fail'?"),
            ("work:say 'a", "the line cannot be split into words (no closing quotation)"),
            ("nowhere:f", "there is no module 'nowhere'"),
            ("builtins:set", "the result of builtins:set cannot be written as JSON (it has a value of type set)"),
        ],
    )
    def test_of_the_line_is_one_line(self, define: Define, line: str, message: str) -> None:
        """What is wrong with a line is one line in its log, and the next task runs in the same worker."""
        farm = define(["work:pid", line, "work:pid"])
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert [1] == farm.ids("failed")
        assert 1 == log(farm, 1).count("\n")
        assert message in log(farm, 1)
        assert log(farm, 0) == log(farm, 2)

    def test_by_exit(self, define: Define) -> None:
        """`sys.exit` ends a task with its status, or its text in the log, and 0 is a success."""
        tasks = ["work:leave 3", "work:leave 0", "work:leave", "work:leave enough", "work:pid"]
        farm = define(tasks)
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert [0, 3] == sorted(farm.ids("failed"))
        assert [3, 0, 0, 1, 0] == [bars(farm)[task]["status"] for task in range(5)]
        assert "enough\n" == log(farm, 3)


class TestADeath:
    DEADLY = {  # noqa: RUF012
        "work:vanish 0": "nonzero_exit",
        "work:vanish 7": "nonzero_exit",
        "work:crash": "killed_by_signal",
        "work:hang": "timed_out",
        "work:spin": "timed_out",
        "work:swallow": "timed_out",
    }

    def test_costs_one_task_and_one_worker(self, define: Define) -> None:
        """Whatever a function does to its process, its task alone fails, and a new worker serves those after it."""
        tasks = [line for deadly in self.DEADLY for line in ("work:pid", deadly)] + ["work:pid"]
        farm = define(tasks)
        assert 1 == farm.run("-n", "1", "-r", "py", "--task-timeout", "1", "--grace", "0.3"), farm.started[-1].output
        deaths = range(1, len(tasks), 2)
        farm.balance(len(tasks))
        assert list(deaths) == sorted(farm.ids("failed"))
        assert list(self.DEADLY.values()) == [outcomes(farm)[task] for task in deaths]
        assert len(self.DEADLY) + 1 == len(set(pids(farm, range(0, len(tasks), 2))))

    def test_by_a_signal_is_explained(self, define: Define) -> None:
        """The log of a task that crashed its worker says by which signal, and where in the user's code."""
        farm = define(["work:crash"])
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert "SIGSEGV" in log(farm, 0)
        assert "in crash" in log(farm, 0)

    def test_for_want_of_memory(self, define: Define) -> None:
        """A worker that may use no more memory fails the task that asks for it, and no other."""
        farm = define(["work:pid", "work:hoard", "work:pid", "work:hoard", "work:pid"], setup="work:limit")
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        farm.balance(5)
        assert [1, 3] == sorted(farm.ids("failed"))


class TestConcurrency:
    def test_holds_calls_in_flight(self, define: Define) -> None:
        """Eight calls that wait for each other end in one worker, and each one's output is in its own log."""
        farm = define([f"work:meet 8 text{task}" for task in range(8)], concurrency=8)
        assert 0 == farm.run("-n", "1", "-r", "py", "--task-timeout", "20"), farm.started[-1].output
        assert 1 == len(set(pids(farm, range(8))))
        for task in range(8):
            assert [f"before text{task}", f"after text{task}"] == log(farm, task).splitlines()[:2]

    def test_holds_no_more_than_that(self, define: Define) -> None:
        """Three calls that wait for each other never end where only two are held."""
        farm = define(["work:meet 3 x"] * 3, concurrency=2)
        assert 1 == farm.run("-n", "1", "-r", "py", "--task-timeout", "0.5", "--grace", "1"), farm.started[-1].output
        assert 3 == len(farm.ids("failed"))

    def test_a_death_fails_one_task(self, define: Define) -> None:
        """Of the calls that a worker held, the one that killed it fails; the others run again, as the same attempt."""
        farm = define([f"work:meet_once 8 die={'true' if task == 3 else 'false'}" for task in range(8)], concurrency=8)
        assert 1 == farm.run("-n", "1", "-r", "py", "--task-timeout", "20"), farm.started[-1].output
        farm.balance(8)
        assert [3] == farm.ids("failed")
        assert {1} == {bar["attempt"] for bar in bars(farm).values()}

    def test_a_hang_is_cancelled(self, define: Define) -> None:
        """A call that is awaited beyond its time is cancelled; the others of its worker go on in it."""
        farm = define(["work:wait_in_vain cancelled", *["work:pass_time cancelled"] * 40], concurrency=2)
        assert 1 == farm.run("-n", "1", "-r", "py", "--task-timeout", "0.5", "--grace", "10"), farm.started[-1].output
        farm.balance(41)
        assert [[0], True] == [farm.ids("failed"), (farm.directory / "cancelled").exists()]
        assert "timed_out" == outcomes(farm)[0]
        assert 1 == len(set(pids(farm, range(1, 41))))

    def test_of_plain_functions_is_refused(self, define: Define) -> None:
        """A plain function, which would keep the others waiting, fails with what to do."""
        farm = define(["work:pid", "work:twice 1"], concurrency=2)
        assert 1 == farm.run("-n", "1", "-r", "py"), farm.started[-1].output
        assert [[1], [0]] == [farm.ids("finished"), farm.ids("failed")]
        assert "take concurrency = 1, and more workers with --proc" in log(farm, 0)


class TestAnUnfitWorker:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"function": "work:fial"}, "has no 'fial'; did you mean 'fail'?"),
            ({"setup": "nowhere:f"}, "there is no module 'nowhere'"),
            ({"setup": "work:fail"}, "setup work:fail failed with TypeError"),
            ({"function": "work:pid", "concurrency": 2}, "work:pid is no `async def` function"),
            ({"python": "false"}, "it exited with status 1 before it was ready; the log of task "),
        ],
    )
    def test_ends_the_farm_before_its_tasks_fail(
        self, define: Define, options: dict[str, object], message: str
    ) -> None:
        """A definition that no task can run with ends the farmer in one line, with every task still to do."""
        farm = define(["work:pid"] * 3, **options)
        assert 2 == farm.run("-n", "2", "-r", "py"), farm.started[-1].output
        said = [line for line in farm.started[-1].output.splitlines() if message in line]
        assert [True] == [line.startswith("pytaskfarmer: no worker can be had: ") for line in said]
        assert "Traceback" not in farm.started[-1].output
        assert [0, 1, 2] == sorted(farm.ids("toprocess"))
