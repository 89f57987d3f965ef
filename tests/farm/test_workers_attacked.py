"""Warm workers whose tasks do what nobody foresaw: one task and one worker may be lost by it, and nothing else."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, until

from pytaskfarmer.workdir import results

SERVANT = """
import ast, asyncio, os, signal, socket, sys, threading, time
from dataclasses import replace
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.worker import command

class Runner:
    def __init__(self, concurrency: int = 1, max_tasks: int | None = None, finish: str = "", argv: str = ""):
        self.concurrency, self.max_tasks, self.after, self.argv = concurrency, max_tasks, finish, argv
    def worker(self, context):
        if self.argv:
            return Command((1, 2))
        return replace(command("attacked:Servant", {}), finish=self.finish if self.after else None)
    def finish(self, status):
        if self.after == "raises":
            raise LookupError("no broom")
        return Command((1,)) if self.after == "errs" else Command(("sh", "-c", self.after))
    def request(self, task, context):
        name, _, text = task.text.partition(" ")
        return text if name == "text" else task.text.encode() + b" " * (120_000 if name == "long=1;" else 0)

class Servant:
    def __init__(self):
        if os.path.exists("dies"):
            os.rmdir("dies")
            os.kill(os.getpid(), signal.SIGTERM)
    def perform(self, request, task):
        names = {**globals(), "line": line}
        code = compile(request.decode().strip(), "task", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if asyncio.iscoroutine(running := eval(code, names)):
            return self.awaited(running, names)
        return names.get("result")
    async def awaited(self, running, names):
        await running
        return names.get("result")

def line():
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if int(name) > 2 and os.path.exists(path) or os.path.islink(path):
            if os.readlink(path).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as found:
                    if found.type == socket.SOCK_SEQPACKET:
                        return int(name)

def late(what):
    def wait():
        time.sleep(0.2)
        what()
    threading.Thread(target=wait).start()
"""
DEAF = """
import asyncio, time
async def deaf():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)
async def busy():
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        sum(range(20000))
        await asyncio.sleep(0)
"""
WaitUntil = Callable[..., None]


@pytest.fixture
def warm(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    (farm.directory / "attacked.py").write_text(SERVANT)
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    define(farm)
    return farm


def define(farm: Farm, **options: object) -> None:
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    (farm.directory / "warm.ini").write_text(f"[warm]\nRunner = attacked.Runner\n{lines}")


def run(farm: Farm, tasks: list[str], *options: str, slots: int = 1, seconds: float = 15) -> list[int]:
    """Run the tasks in one farm that ends by itself, and return which of them failed."""
    farm.write(tasks)
    status = farm.run("-n", str(slots), "-r", "warm", "--grace", "0.5s", *options, seconds=seconds)
    assert "Traceback" not in farm.started[-1].output
    failed = sorted(farm.ids("failed"))
    assert status == (1 if failed else 0), farm.started[-1].output
    farm.balance(len(tasks), "finished", "failed")
    return failed


def log(farm: Farm, task_id: int) -> str:
    return Path(farm.layout.log(task_id)).read_text()


def returned(farm: Farm) -> dict[int, bytes | None]:
    return {i: result.read() for i, result in results.latest(farm.layout).items()}


def outcomes(farm: Farm, task_id: int) -> list[str]:
    bars = [bar["args"] for bar in farm.timeline() if bar["ph"] == "X"]
    return [bar["outcome"] for bar in bars if bar["id"] == task_id]


# What a worker says


@pytest.mark.parametrize(
    "garbage",
    [
        "b'x'",
        "b'x' * 300_000",
        "bytes([99]) + bytes(47)",
        "bytes([5, 0, 0, 0, 9]) + bytes(43)",
        "bytes([6, 0, 0, 0, 9]) + bytes(43)",
        "bytes([1]) + bytes(47)",
    ],
    ids=["short", "long", "of no kind", "a part of no call", "the end of no call", "ready again"],
)
def test_garbage_on_the_line_costs_one_task_at_most(warm: Farm, garbage: str) -> None:
    """What a task writes on its worker's line does not end the farm: the other tasks run."""
    well = "result=b'1'"
    assert run(warm, [well, f"os.write(line(), {garbage}); time.sleep(0.2)", well, well, well]) in ([], [1])


def test_garbage_and_a_quick_end_is_a_failure(warm: Farm) -> None:
    """A call that has ended before anybody reads its garbage has failed, and does not go back to the list for ever."""
    nobody_reads = "farmer = os.getppid(); os.system(f'(sleep 0.3; kill -CONT {farmer}) & kill -STOP {farmer}')"
    tasks = ["result=b'1'", f"{nobody_reads}; os.write(line(), b'x')", "result=b'1'"]
    assert [1] == run(warm, tasks, "--timeout", "10s")
    assert ["killed_by_signal"] == outcomes(warm, 1)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("then", ["", "; sys.exit(3)", "; 1 / 0"])
def test_a_fork_that_comes_back_is_no_second_worker(warm: Farm, concurrency: int, then: str) -> None:
    """A task forks and both processes return from it, or raise: the child answers nothing and takes no more tasks."""
    define(warm, concurrency=concurrency)
    wait = "await asyncio.sleep(0); " if concurrency > 1 else ""
    fork = f"{wait}pid = os.fork(); os.waitpid(pid, 0) if pid else None; result = b'%d' % (pid > 0)"
    child_ends = f"{fork}\nif not pid:\n pass{then}" if then else fork
    text = "exec(" + repr(child_ends.replace(wait, "")) + ", names := {**globals()}); result = names['result']"
    tasks = [f"{wait}{text}"] + [f"{wait}result = b'%d' % os.getppid()"] * 20
    assert [] == run(warm, tasks)
    values = returned(warm)
    assert b"1" == values.pop(0)
    assert 1 == len({*values.values()})
    assert 21 == len([bar for bar in warm.timeline() if bar["ph"] == "X"])


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("closes", ["os.close(line())", "os.closerange(3, 200)"])
def test_a_worker_without_its_line_is_replaced(warm: Farm, concurrency: int, closes: str) -> None:
    """A task that closes its worker's line, as daemons close everything, fails, however its worker lives on."""
    define(warm, concurrency=concurrency)
    text = f"await asyncio.sleep(0.3); {closes}" if concurrency > 1 else closes
    tasks = [*["result=b'1'"] * 5, text, *["result=b'1'"] * 3]
    assert [5] == run(warm, tasks)
    assert "the worker" in log(warm, 5)


def test_a_worker_that_stays_after_its_last_task_is_killed(warm: Farm) -> None:
    """Workers that have had enough tasks and do not end, since a thread goes on, do not pile up."""
    define(warm, max_tasks=1)
    linger = "threading.Thread(target=time.sleep, args=(600,)).start()"
    count = "int(os.popen('pgrep -c -f [a]ttacked:Servant -P %d' % os.getppid()).read())"
    assert [] == run(warm, [*[linger] * 5, f"time.sleep(1.2); result = b'%d' % {count}"])
    assert int(returned(warm)[5] or 99) <= 2


# What a runner says


def test_a_request_that_is_no_bytes_is_one_failure(warm: Farm) -> None:
    """A runner whose request is a text fails that task, whether its worker is ready or not."""
    assert [0, 2] == run(warm, ["text one", "result=b'1'", "text two", "result=b'2'"])
    assert "bytes" in log(warm, 0)


def test_a_worker_command_that_is_none_is_no_tasks_fault(warm: Farm) -> None:
    """A runner that returns nonsense for a worker ends the farm with one line; all tasks stay in the list."""
    define(warm, argv="wrong")
    warm.write(["1"] * 3)
    assert 2 == warm.run("-n", "1", "-r", "warm"), warm.started[-1].output
    assert "Traceback" not in warm.started[-1].output
    assert 1 == warm.started[-1].output.count("no worker can be had: it cannot be started")
    warm.balance(3, "toprocess")


def test_a_worker_that_a_batch_system_ends(warm: Farm) -> None:
    """The first worker is ended by a signal from outside before it is ready: that is no proof that none can be had."""
    (warm.directory / "dies").mkdir()
    assert [] == run(warm, ["result=b'1'"] * 3)


@pytest.mark.parametrize("finish", ["raises", "errs", "exit 3", "kill -9 $$"])
def test_tidying_up_after_a_worker_may_fail(warm: Farm, finish: str) -> None:
    """Whatever tidies up after a worker raises, returns or dies of, all tasks run."""
    define(warm, finish=finish, max_tasks=2)
    assert [] == run(warm, ["result=b'1'"] * 6)


def test_tidying_up_after_a_worker_has_an_end(warm: Farm) -> None:
    """What tidies up after the last worker and hangs is killed after the grace, and the farmer sleeps meanwhile."""
    define(warm, finish="touch began; exec sleep 600")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [] == run(warm, ["result=b'1'"], seconds=10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (warm.directory / "began").exists()
    assert after.ru_stime - before.ru_stime < 0.4, "it spins"


# Several in one worker


class TestSeveralAtOnce:
    """One worker that holds four calls."""

    @pytest.fixture(autouse=True)
    def four(self, warm: Farm) -> None:
        """Define it."""
        define(warm, concurrency=4)

    def test_more_than_a_socket_holds(self, warm: Farm) -> None:
        """Four calls with long requests wait for a worker that is not ready: each begins when there is room."""
        assert [] == run(warm, ["long=1; result=b'1'"] * 12)
        assert "no more tasks" not in warm.started[-1].output

    def test_who_does_not_obey_is_to_blame(self, warm: Farm) -> None:
        """A call that swallows its cancellation fails by its time limit, not those that compute beside it."""
        (warm.directory / "deaf.py").write_text(DEAF)
        tasks = ["import deaf; await deaf.deaf()", *["import deaf; await deaf.busy()"] * 8]
        assert [0] == run(warm, tasks, "--task-timeout", "1.6s", seconds=25)
        assert ["timed_out"] == outcomes(warm, 0)

    def test_a_worker_with_no_descriptor_left(self, warm: Farm) -> None:
        """A worker that cannot take over a log ends when it can, and who was not answered runs in another."""
        most = "(len(os.listdir('/proc/self/fd')) - 1,) * 2"
        fill = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, {most}); await asyncio.sleep(0.1)"
        assert [] == run(warm, [fill, *["await asyncio.sleep(0)"] * 9])

    def test_what_cannot_be_told(self, warm: Farm) -> None:
        """A call fails although its stderr is closed: its end is told, if not its reason."""
        closes = "await asyncio.sleep(0); sys.stderr.close(); 1 / 0"
        assert [0, 1] == run(warm, [closes, "await asyncio.sleep(0); 1 / 0"])


def test_a_worker_that_is_stopped(warm: Farm) -> None:
    """A worker that has stopped itself is killed at the time limit, and the tasks after it run in another."""
    stop = "os.kill(os.getpid(), signal.SIGSTOP)"
    assert [0] == run(warm, [stop, *["result=b'1'"] * 3], "--task-timeout", "0.7s")
    assert ["timed_out"] == outcomes(warm, 0)


# What a task leaves


@pytest.mark.parametrize(
    "what",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "import io; sys.stdout = io.StringIO()",
        "sys.stdout.detach()",
        "os.close(1); os.close(2)",
        "sys.stderr = sys.stdout = open(os.devnull, 'w')",
    ],
)
def test_a_replaced_stdout_is_the_tasks_own(warm: Farm, what: str) -> None:
    """What a task does to its stdout, the next task in that worker does not feel."""
    assert [] == run(warm, [f"print('one'); {what}", "print('two'); print('three', file=sys.stderr)"])
    assert ("one\n", "two\nthree\n") == (log(warm, 0), log(warm, 1))


def test_coroutines_end_with_their_task(warm: Farm) -> None:
    """What a task has begun and not awaited is cancelled at its end: it prints nothing into the next task's log."""
    (warm.directory / "leaves.py").write_text(
        "import asyncio\nkept = []\nasync def late():\n await asyncio.sleep(0.1)\n print('late')\n"
        "async def main():\n kept.append(asyncio.create_task(late()))\n await asyncio.sleep(0)\n"
    )
    assert [] == run(warm, ["import leaves; await leaves.main()", "print('two'); await asyncio.sleep(0.3)"])
    assert ("", "two\n") == (log(warm, 0), log(warm, 1))


# Full disks and full nodes


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
class TestSmallDisk:
    """The work directory has a disk of its own, of a few megabytes."""

    @pytest.fixture
    def small(self, warm: Farm) -> object:
        """Mount it."""
        import subprocess

        warm.workdir.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "small", str(warm.workdir)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("cannot mount")
        yield warm
        warm.end()
        subprocess.run(["umount", "-l", str(warm.workdir)], check=True)

    def test_a_result_that_finds_no_room(self, small: Farm, wait_until: WaitUntil) -> None:
        """A task whose result finds no room is not finished: when there is room, it is, with its result."""
        small.write(["result=b'x' * 2_000_000", "result=b'1'"])
        small.workdir.joinpath("ballast").write_bytes(b"x" * 1_800_000)
        started = small.start("-n", "1", "-r", "warm")
        wait_until(lambda: "no more tasks are taken" in started.output, hopeless=started.over)
        assert [] == small.ids("finished")
        small.workdir.joinpath("ballast").unlink()
        assert 0 == started.wait(), started.output
        small.balance(2, "finished")
        assert {0: b"x" * 2_000_000, 1: b"1"} == returned(small)

    def test_a_result_that_never_finds_room(self, small: Farm) -> None:
        """If there never is room, the farmer gives up, and the task goes back to the list."""
        small.write(["result=b'x' * 4_000_000", "result=b'1'"])
        assert 3 == small.run("-n", "1", "-r", "warm", "--grace", "0.5s", seconds=20), small.started[-1].output
        small.balance(2, "toprocess", "finished")
        assert 0 in small.ids("toprocess")


def test_tidying_up_waits_for_a_descriptor(farm: Farm, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil) -> None:
    """What tidies up after a task that succeeded is started once the farmer can open a file again."""
    (farm.directory / "swept.py").write_text(
        "from pytaskfarmer.plugins.contracts import Command\n"
        "class Swept:\n"
        "    def command(self, task, context):\n"
        "        sweep = Command(('sh', '-c', 'echo tidied'))\n"
        "        return Command(('sh', '-c', task.text), finish=lambda status: sweep)\n"
    )
    (farm.directory / "swept.ini").write_text("[swept]\nRunner = swept.Swept\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    farm.write(["touch up; until [ -e go ]; do sleep 0.02; done; touch gone", "true"])
    started = farm.start("-n", "1", "-r", "swept")
    wait_until((farm.directory / "up").exists, hopeless=started.over)
    farmer = started.farmer
    assert farmer is not None
    before = resource.prlimit(farmer, resource.RLIMIT_NOFILE)
    resource.prlimit(farmer, resource.RLIMIT_NOFILE, (3, before[1]))
    (farm.directory / "go").touch()
    wait_until((farm.directory / "gone").exists)
    assert not until(started.over, 0.7)
    resource.prlimit(farmer, resource.RLIMIT_NOFILE, before)
    assert 0 == started.wait(), started.output
    assert ["tidied\n", "tidied\n"] == [log(farm, 0), log(farm, 1)]
    farm.balance(2, "finished")
