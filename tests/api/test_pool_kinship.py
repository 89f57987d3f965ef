"""What a worker has of its caller, as a child that `multiprocessing` has made would have it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("no_leftovers")

Run = Callable[..., str]


def test_shared_memory_is_the_caller_s(run: Run) -> None:
    """Workers that end neither unlink what they have opened nor what they have made, and complain of nothing."""
    source = """
from multiprocessing.shared_memory import SharedMemory
from pytaskfarmer import Pool

def read(name):
    memory = SharedMemory(name)
    value = memory.buf[0]
    memory.close()
    return value

def make(value):
    memory = SharedMemory(create=True, size=1)
    memory.buf[0] = value
    memory.close()
    return memory.name

def make_and_unlink():
    memory = SharedMemory(create=True, size=1)
    memory.close()
    memory.unlink()

mine = SharedMemory(create=True, size=1)
mine.buf[0] = 7
with Pool(1, maxtasksperchild=1) as pool:
    assert [7, 7, 7] == pool.map(read, [mine.name] * 3, chunksize=1)
    theirs = SharedMemory(pool.apply(make, (5,)))
    pool.apply(make_and_unlink)
    pool.close()
    pool.join()
assert (7, 5) == (read(mine.name), theirs.buf[0])
for memory in (mine, theirs):
    memory.close()
    memory.unlink()
print("well")
"""
    assert "well\n" == run(source)


def test_a_worker_has_a_name_and_a_number(run: Run) -> None:
    """As each process of `multiprocessing.Pool` has, whether its module is imported by the worker or by the call."""
    source = """
from pytaskfarmer import Pool

def mine(_):
    import multiprocessing
    process = multiprocessing.current_process()
    return process.name, process._identity

with Pool(1) as pool:
    print(pool.map(mine, range(2)))
import multiprocessing
with Pool(2) as pool:
    assert {*pool.map(mine, range(50), chunksize=1)} <= {("PoolWorker-1", (1,)), ("PoolWorker-2", (2,))}
"""
    assert "[('PoolWorker-1', (1,)), ('PoolWorker-1', (1,))]\n" == run(source)


def test_arguments_and_flags_of_the_interpreter(tmp_path: Path) -> None:
    """`sys.argv` is the caller's, and so are -O, -W and -X; what shuts off the environment is not passed on."""
    source = """
import sys
from pytaskfarmer import Pool
def facts():
    return sys.argv, __debug__, sys.warnoptions, sys.flags.utf8_mode, sys.flags.no_user_site
with Pool(1) as pool:
    print(pool.apply(facts)[1:], facts()[0] == pool.apply(facts)[0])
"""
    flags = ["-O", "-W", "ignore::UserWarning", "-X", "utf8=0", "-s"]
    done = subprocess.run(
        [sys.executable, *flags, "-c", source, "one", *["two" * 20_000] * 5],
        capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30,
    )  # fmt: skip
    assert ("(False, ['ignore::UserWarning'], 0, 0) True\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("options", ["", "workdir='named'"])
def test_queues_of_a_manager(run: Run, tmp_path: Path, options: str) -> None:
    """Work in every worker, also with a named directory, in no file of which the manager's key can be found."""
    source = f"""
import multiprocessing, os, pathlib
from pytaskfarmer import Pool

def put(queue, x):
    queue.put(x)
    return [*os.environ]

key = multiprocessing.current_process().authkey
with multiprocessing.Manager() as manager, Pool(1, {options}) as pool:
    queue = manager.Queue()
    assert not [name for name in pool.apply(put, (queue, 3)) if "KEY" in name and "PYTASK" in name]
    assert 3 == queue.get()
    places = [pathlib.Path(), pathlib.Path(os.environ["TMPDIR"])]
    files = [path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()]
    print(len(files) > 3, [file for file in files if key in file or key.hex().encode() in file])
"""
    assert "True []\n" == run(source)
