"""CPython's own tests for `ProcessPoolExecutor`, with `Executor` in its place.

They are part of the interpreter's package `test`, which some distributions split off. Where a test looks for something
under a private name, it finds here what is ours; what it expects is only changed in the table `OTHERWISE`, and what
cannot be asked of `Executor` stands in the table `SKIPPED`.
"""

import importlib.util
import multiprocessing.resource_tracker
import os
import sys
import threading
import unittest
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from pytaskfarmer import CannotTravel, Executor, RemoteError, WorkerDied
from pytaskfarmer.api.faults import RemoteTraceback

SKIPPED = {
    "test_max_workers_too_large": "about a limit of Windows; CPython skips it here, too",
    "test_killed_child": "wants one death to break the executor; here it costs one call, see test_executor.py",
    "test_saturation": "sends a semaphore of multiprocessing, which only a child can inherit, and counts processes",
    "test_processes_terminate": "the same",
    "test_max_tasks_per_child_defaults_to_spawn_context": "about start methods, of which there is one here",
    "test_python_finalization_error": "replaces a private function of threading to break CPython's own feeder thread",
    "test_spawn": "about the resource tracker of multiprocessing, which is not used here",
    "test_forkserver": "the same",
}

NEWER = {"test_python_finalization_error", "test_spawn", "test_forkserver"}
"""Not in all versions."""

OTHERWISE: dict[str, tuple[type[BaseException], str]] = {
    "test_error_at_task_unpickle": (CannotTravel, "the call raises it, and the executor goes on; CPython's breaks"),
    "test_exit_at_task_unpickle": (RemoteError, "the same"),
    "test_error_during_result_unpickle_in_result_handler": (CannotTravel, "the same"),
    "test_exit_during_result_unpickle_in_result_handler": (CannotTravel, "the same"),
    "test_exit_during_func_exec_on_worker": (RemoteError, "SystemExit would end the caller without a word"),
    "test_exit_during_result_pickle_on_worker": (RemoteError, "the same"),
}

PACKAGE = "test_concurrent_futures"


def _home() -> Path | None:
    """Return the directory that has the tests: that of the interpreter, or of Debian for its version."""
    spec = importlib.util.find_spec("test")
    own = [] if spec is None else list(spec.submodule_search_locations or ())
    for place in (*own, f"/usr/lib/python3.{sys.version_info.minor}/test"):
        if os.path.exists(f"{place}/{PACKAGE}") or os.path.exists(f"{place}/{PACKAGE}.py"):
            return Path(place)
    return None


HOME = _home()
if HOME is None and not os.environ.get("CI"):
    pytest.skip(f"CPython's test package has no {PACKAGE}", allow_module_level=True)
assert HOME is not None, f"no {PACKAGE}: install libpython3.{sys.version_info.minor}-testsuite"


def _import(name: str) -> ModuleType:
    """Import one of the modules by a name under which workers find it, too; before 3.12 there is but one."""
    package = import_module(PACKAGE)
    return import_module(f"{PACKAGE}.{name}") if hasattr(package, "__path__") else package


sys.path.append(str(HOME))  # at the end, where it hides nothing; workers get this path
UTIL, PROCESS_POOL, AS_COMPLETED, WAIT, SHUTDOWN, INIT, DEADLOCK = map(
    _import,
    ("util", "test_process_pool", "test_as_completed", "test_wait", "test_shutdown", "test_init", "test_deadlock"),
)


class _Worker:
    """A process as multiprocessing has it."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def join(self) -> None:
        self._process.wait()


def _serves(process: psutil.Process) -> bool:
    try:
        return "pytaskfarmer.worker" in process.cmdline()
    except psutil.Error:  # it has ended
        return False


class ProcessPoolExecutor(Executor):
    """Our executor, with what the tests look at."""

    @property
    def _max_workers(self) -> int | None:
        return self._wish.workers

    @property
    def _processes(self) -> dict[int, _Worker]:
        below = psutil.Process().children(recursive=True)
        return {each.pid: _Worker(each) for each in below if _serves(each)}

    @property
    def _executor_manager_thread(self) -> threading.Thread:
        assert self._farming is not None
        return self._farming._ender

    @property
    def _call_queue(self) -> SimpleNamespace:
        return SimpleNamespace(join_thread=lambda: None)

    @property
    def _broken(self) -> str:
        assert self._farming is not None
        return str(self._farming._caller.session._over or "")


def _run_script(*words: str) -> Any:
    """Run a script of the tests with our executor in it."""
    from test.support.script_helper import assert_python_ok

    *options, script = words
    script = script.replace("from concurrent.futures import", "from pytaskfarmer import Executor as")
    script = script.replace(f"test.{PACKAGE}", PACKAGE)
    return assert_python_ok(*options, f"import multiprocessing, sys; sys.path.append({str(HOME)!r})\n{script}")


def _adapt() -> None:
    """Put our names where the tests have CPython's."""
    process = SimpleNamespace(**{**vars(futures.process), "_RemoteTraceback": RemoteTraceback})
    ours = SimpleNamespace(**{**vars(futures), "ProcessPoolExecutor": ProcessPoolExecutor, "process": process})
    for module in {PROCESS_POOL, SHUTDOWN}:
        module.futures = ours
    SHUTDOWN.assert_python_ok = _run_script
    DEADLOCK.BrokenProcessPool = WorkerDied
    DEADLOCK.PicklingError = CannotTravel


_adapt()


class _Ours(UTIL.ProcessPoolSpawnMixin):
    """The tests are made for each start method; with fresh processes, spawn is what comes nearest."""

    executor_type = ProcessPoolExecutor


class TestExecutor(_Ours, PROCESS_POOL.ProcessPoolExecutorTest, UTIL.BaseTestCase):
    pass


class TestAsCompleted(_Ours, AS_COMPLETED.AsCompletedTests, UTIL.BaseTestCase):
    pass


class TestWait(_Ours, WAIT.WaitTests, UTIL.BaseTestCase):
    pass


class TestShutdown(_Ours, SHUTDOWN.ProcessPoolShutdownTest, UTIL.BaseTestCase):
    pass


class TestInitializer(_Ours, INIT.InitializerMixin, UTIL.BaseTestCase):
    pass


class TestFailingInitializer(_Ours, INIT.FailingInitializerMixin, UTIL.BaseTestCase):
    def setUp(self) -> None:
        """Leave out the queue through which CPython's workers log: what went wrong stands in the exception."""
        self.executor_kwargs = {"initializer": INIT.init_fail}
        UTIL.ExecutorMixin.setUp(self)

    @contextmanager
    def _assert_logged(self, text: str) -> Iterator[None]:
        yield
        assert text in self.executor._broken


class TestDeadlock(_Ours, DEADLOCK.ExecutorDeadlockTest, UTIL.BaseTestCase):
    def _check_crash(self, error: type[BaseException], *args: Any, **kwargs: Any) -> None:
        error, _ = OTHERWISE.get(self._testMethodName, (error, ""))
        super()._check_crash(error, *args, **kwargs)


CLASSES = [TestExecutor, TestAsCompleted, TestWait, TestShutdown, TestInitializer, TestFailingInitializer, TestDeadlock]
if hasattr(INIT, "FailingInitializerResourcesTest"):

    class TestResources(INIT.FailingInitializerResourcesTest):
        pass

    CLASSES.append(TestResources)


@pytest.fixture(autouse=True)
def resource_tracker() -> Iterator[None]:
    """End the process that multiprocessing starts for its managers and semaphores."""
    yield
    multiprocessing.resource_tracker._resource_tracker._stop()


def _names(tests: type) -> list[str]:
    return [name for name in dir(tests) if name.startswith("test")]


def _skip(tests: type) -> None:
    for name in {*_names(tests)} & {*SKIPPED}:
        setattr(tests, name, unittest.skip(SKIPPED[name])(getattr(tests, name)))


for number in range(len(CLASSES)):
    _skip(CLASSES[number])


def test_few_are_skipped() -> None:
    """Fewer than a quarter of CPython's tests are skipped or changed, and the tables name only tests that there are."""
    names = [name for tests in CLASSES for name in _names(tests)]
    exceptions = {*SKIPPED, *OTHERWISE}
    assert 4 * sum(name in exceptions for name in names) < len(names)
    assert exceptions - {*names} <= NEWER
