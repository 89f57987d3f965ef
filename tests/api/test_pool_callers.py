"""Wherever a caller runs, workers find what it has defined: script, notebook, command line, thread, another call."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import called
import pytest

from pytaskfarmer import Pool

pytestmark = pytest.mark.usefixtures("no_leftovers")

Run = Callable[..., str]

SCRIPT = """\
import dataclasses, enum, functools, sys
from pytaskfarmer import Pool

FACTOR = 3

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Point:
    x: int
    def far(self):
        return self.x * FACTOR

class Odd(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.number = number

def triple(number):
    return number * FACTOR

def factorial(number):
    return 1 if number < 2 else number * factorial(number - 1)

def refuse(number):
    raise Odd(number)

def main():
    local = 5
    def add(number):
        return number + local
    with Pool(2) as pool:
        assert [0, 3, 6] == pool.map(triple, range(3))
        assert [5, 6] == pool.map(add, range(2))
        assert [0, 1, 4] == pool.map(lambda x: x * x, range(3))
        assert [6, 24] == pool.map(factorial, [3, 4])
        assert [4] == pool.map(functools.partial(add, -1 + 0), []) or [4] == pool.map(functools.partial(add), [-1])
        points = pool.map(Point, [1, 2])
        assert [Point(1), Point(2)] == points and type(points[0]) is Point
        assert [3, 6] == pool.map(Point.far, points)
        assert 6 == pool.apply(points[1].far)
        assert Colour.RED is pool.apply(lambda: Colour.RED)
        try:
            pool.map(refuse, [7])
        except Odd as error:
            assert 7 == error.number
        else:
            raise AssertionError
    print("well")
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Give a pool for all tests here: none of them may spoil it."""
    with Pool(1, echo=False) as pool:
        yield pool


def test_a_script(run: Run) -> None:
    """Functions, classes, closures and exceptions of `__main__`, without the guard that spawn asks for."""
    assert "well\n" == run(f"{SCRIPT}\nmain()\n")


def test_a_script_with_a_guard(run: Run) -> None:
    """Nor does the guard do any harm."""
    assert "well\n" == run(f"{SCRIPT}\nif __name__ == '__main__':\n    main()\n")


@pytest.mark.parametrize("how", ["-c", "stdin", "module"])
def test_other_ways_to_run_python(how: str, tmp_path: Path) -> None:
    """`python -c`, a script on standard input, and `python -m`."""
    source = f"{SCRIPT}\nmain()\n"
    (tmp_path / "as_module.py").write_text(source)
    arguments = {"-c": ["-c", source], "stdin": ["-"], "module": ["-m", "as_module"]}[how]
    given = source if how == "stdin" else ""
    done = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30
    )
    assert ("well\n", "") == (done.stdout, done.stderr)


def test_a_notebook(run: Run) -> None:
    """Cells are executed one after the other in a `__main__` that no file has; later ones redefine what they like."""
    cells = [
        "from pytaskfarmer import Pool\nfactor = 2\ndef scaled(x): return x * factor",
        "pool = Pool(1)\nfirst = pool.map(scaled, [1, 2])",
        "factor = 10",
        "second = pool.map(scaled, [1, 2])",
        "def scaled(x): return -x",
        "third = pool.map(scaled, [1, 2])\npool.terminate()\nprint(first, second, third)",
    ]
    source = f"""
import sys, types
module = types.ModuleType("__main__")
sys.modules["__main__"] = module
for number, cell in enumerate({cells!r}):
    exec(compile(cell, f"<cell {{number}}>", "exec"), module.__dict__)
"""
    assert "[2, 4] [10, 20] [-1, -2]\n" == run(source)


VARIABLES = """
from pytaskfarmer import Executor, Pool
table, log, factor, settings = None, [], 2, {"colour": "red"}

def load(size):
    global table
    table = [x**3 for x in range(size)]
    log.append("loaded")
    globals()["made"] = factor

def look(x):
    return table[x] * factor, log, made, settings["colour"]
"""


def test_an_initializer_of_a_script(run: Run) -> None:
    """Sets variables that the called functions find, by any of three ways; what the caller changes later travels."""
    source = f"""{VARIABLES}
def values(factor):
    return [(x**3 * factor, ["loaded"], 2, "red") for x in range(5)]

with Pool(2, load, (5,)) as pool, Executor(2, None, load, (5,)) as executor:
    assert values(2) == pool.map(look, range(5)) == list(executor.map(look, range(5)))
    assert values(2) == pool.map(lambda x: look(x), range(5)) == [executor.submit(look, x).result() for x in range(5)]
    factor, log = 3, ["not the workers'"]
    assert values(3) == pool.map(look, range(5)) == list(executor.map(look, range(5)))
    settings = {{"colour": "blue"}}
    assert ["blue"] == [colour for _, _, _, colour in pool.map(look, [1])]
with Pool(1) as pool:
    assert [(8 * 3, [*log, "loaded"], 3, "blue")] == pool.map(lambda x: (load(3), look(x))[1], [2])
print("well")
"""
    assert "well\n" == run(source)


def test_maps_that_know_other_values(run: Run) -> None:
    """Two maps under way at a time, asked for with different values of a variable, each have their own."""
    source = """
from pytaskfarmer import Pool
factor = 1
def scaled(x):
    return x * factor
with Pool(1) as pool:
    ones = pool.imap(scaled, range(1, 2000))
    got = [next(ones)]
    factor = 10
    assert [10, 20] == pool.map(scaled, [1, 2])
    assert [*range(1, 2000)] == [*got, *ones]
print("well")
"""
    assert "well\n" == run(source)


CLASSES = """
import enum
from pytaskfarmer import Pool
scale = 1

class Level(enum.Enum):
    LOW = 1

class Shape:
    registry = {}
    def __init_subclass__(cls):
        Shape.registry[cls.__name__] = cls

class Circle(Shape):
    made, seen = 0, []
    def __init__(self, size):
        Circle.made += 1
        self.size, self.level = size, Level.LOW
    def scaled(self):
        return self.size * scale

class Odd(Exception):
    heard = 0
    def __init__(self, text):
        Odd.heard += 1
        super().__init__(text)
"""


def test_results_leave_the_caller_s_classes_alone(run: Run) -> None:
    """A class of the script stays as it is, with its attributes and what its methods see, whatever comes back."""
    source = f"""{CLASSES}
def refuse(size):
    Odd.heard = 100
    raise Odd(size)

first, seen = Circle(7), Circle.seen
with Pool(2) as pool:
    scale = 5
    circles = pool.map(Circle, range(3), 1)
    scale = 6
    assert [0, 6, 12, 42] == [circle.scaled() for circle in (*circles, first)]
    assert Circle.made == 1 and Circle.seen is seen and Shape.registry == {{"Circle": Circle}}
    assert all(type(circle) is Circle and circle.level is Level.LOW for circle in circles)
    try:
        pool.map(refuse, [1])
    except Odd as error:
        assert type(error) is Odd and Odd.heard == 1, Odd.heard
print("well")
"""
    assert "well\n" == run(source)


def test_results_of_an_earlier_script_are_of_this_one_s_classes(run: Run, tmp_path: Path) -> None:
    """What a named directory returns again is of the classes that have the same names now, also of nested ones."""
    source = f"""{CLASSES}
class Outer:
    class Level(enum.Enum):
        LOW = 2
    class Circle(Circle):
        pass

class Sized(type):
    def __len__(cls):
        return 0

class Empty(metaclass=Sized):
    pass

def work(size):
    return Circle(size), Outer.Circle(size), Outer.Level.LOW, Odd("well"), Empty()

with Pool(1, workdir={str(tmp_path / "named")!r}) as pool:
    ((circle, nested, level, odd, empty),) = pool.map(work, [3])
print(type(circle) is Circle, circle.level is Level.LOW, type(nested) is Outer.Circle, type(odd) is Odd)
print(level is Outer.Level.LOW, type(empty) is Empty)
"""
    assert ["True True True True\nTrue True\n"] * 2 == [run(source), run(source)]


def test_functions_and_arguments_share_variables(run: Run) -> None:
    """A method of what was passed and the function that calls it see the same variables of the script."""
    source = """
from pytaskfarmer import Pool
stats, missing, factor = {"asked": 0}, object(), 1

class Store:
    def get(self):
        stats["asked"] += 1
        return missing
    def scaled(self):
        return 2 * factor

def ask(store):
    global factor
    factor += 9
    return store.get() is missing, stats["asked"], store.scaled()

with Pool(1) as pool:
    print(pool.map(ask, [Store(), Store()], 1), pool.map(lambda store: store.scaled(), [Store()]))
    factor = 3
    print(pool.map(lambda store: store.scaled(), [Store()]))
"""
    assert "[(True, 1, 20), (True, 2, 38)] [2]\n[6]\n" == run(source)


def test_initializers_that_set_attributes(run: Run) -> None:
    """What an initializer sets on a function or a class, calls find, whatever they bring along."""
    source = """
from pytaskfarmer import Pool

class Model:
    table, cache = None, {}
    @classmethod
    def load(cls, size):
        cls.table = list(range(size))
        cls.cache["size"] = size
        look.factor = 3
    def work(self, x):
        return Model.table[x], Model.cache["size"], look(x)

def look(x):
    return look.factor * x

with Pool(1, Model.load, (5,)) as pool:
    print(pool.map(Model().work, [1, 2], 1), pool.map(look, [4]), Model.table, Model.cache, hasattr(look, "factor"))
"""
    assert "[(1, 5, 3), (2, 5, 6)] [12] None {} False\n" == run(source)


def test_initializers_of_nested_pools(run: Run) -> None:
    """A pool within a call has variables of its own."""
    source = f"""{VARIABLES}
def within(x):
    with Pool(1, load, (4,)) as pool:
        return pool.map(look, [x]), table is None
with Pool(1) as pool:
    assert [([(27 * 2, ["loaded"], 2, "red")], True)] == pool.map(within, [3])
print("well")
"""
    assert "well\n" == run(source)


NOTEBOOK = """
import json, nbformat, sys
from nbclient import NotebookClient
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)])
NotebookClient(book, timeout=40, allow_errors=True, kernel_name="python3").execute()
for cell in book.cells:
    print(json.dumps([out.get("text") or out.get("evalue") or out["data"]["text/plain"] for out in cell.outputs]))
"""


def test_a_real_notebook(tmp_path: Path, environment: dict[str, str]) -> None:
    """The same by the program that executes notebooks: an initializer, redefined functions, prints, an executor."""
    for module in ("nbclient", "ipykernel"):
        if importlib.util.find_spec(module) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{module} is not installed")
    cells = [
        f"{VARIABLES}\npool = Pool(1, load, (5,))",
        "pool.map(look, [3])",
        "def look(x): return table[x] + 1",
        "pool.map(look, [3])",
        "pool.map(print, ['from a call'])",
        "pool.map(lambda x: [][x], [0])",
        "pool.terminate()\nwith Executor(1) as executor: print(executor.submit(lambda: factor).result())",
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NOTEBOOK],
        input=json.dumps(cells), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[], ["[(54, ['loaded'], 2, 'red')]"], [], ["[28]"]] == told[:4]
    assert ["from a call\n", "[None]"] == told[4]
    assert [["list index out of range"], ["2\n"]] == told[5:]


def test_modules_beside_the_script(run: Run, tmp_path: Path) -> None:
    """Workers import from where the caller does, and from nowhere else: not from the directory it happens to be in."""
    (tmp_path / "beside.py").write_text("def half(x): return x / 2\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "random.py").write_text("raise RuntimeError('not the one that you want')\n")
    source = (
        "import beside\nfrom pytaskfarmer import Pool\nwith Pool(1, seed=3) as pool: print(pool.map(beside.half, [3]))"
    )
    assert "[1.5]\n" == run(source, cwd=elsewhere)


def test_a_path_that_was_changed(run: Run, tmp_path: Path) -> None:
    """What the caller has put on `sys.path` by hand counts, too."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "afar.py").write_text("def half(x): return x / 2\n")
    source = """
import pathlib, sys
sys.path.insert(0, pathlib.Path("far").resolve())
sys.path[0] = str(sys.path[0])
import afar
from pytaskfarmer import Pool
with Pool(1) as pool: print(pool.map(afar.half, [3]))
"""
    assert "[1.5]\n" == run(source)


def test_threads(pool: Pool) -> None:
    """Several threads may use one pool."""
    got: dict[int, list[int]] = {}

    def use(number: int) -> None:
        got[number] = pool.map(called.square, range(number, number + 20), chunksize=3)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: [i * i for i in range(n, n + 20)] for n in range(5)} == got


def test_a_pool_in_a_thread(tmp_path: Path) -> None:
    """A pool may be made, used and ended in a thread that ends before the others."""
    got: list[list[int]] = []

    def use() -> None:
        with Pool(1) as pool:
            got.append(pool.map(called.square, range(3)))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert [[0, 1, 4]] == got


def test_nested_pools(pool: Pool) -> None:
    """A call may have a pool of its own."""

    def inner(number: int) -> list[int]:
        with Pool(2) as within:
            return within.map(lambda x: x + number, range(3))

    assert [[10, 11, 12], [20, 21, 22]] == pool.map(inner, [10, 20])


def test_processes_of_a_call(pool: Pool) -> None:
    """A call may start processes by the standard library, by spawn, which looks at the `__main__` of the worker."""

    def inner(numbers: list[int]) -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("spawn").Pool(1) as theirs:
            return theirs.map(abs, numbers)

    assert [1, 2] == pool.apply(inner, ([-1, 2],))


def test_cached_functions_of_a_script(run: Run) -> None:
    """Travel by value like others, and are cached in the worker."""
    source = """
import functools, time
from pytaskfarmer import Executor, Pool

@functools.lru_cache(maxsize=7)
def seen_at(x):
    return time.perf_counter_ns()

def twice(x):
    return seen_at(x) == seen_at(x), seen_at.cache_parameters()["maxsize"]

def main():
    offset = 2
    @functools.cache
    def plus(x):
        return x + offset
    with Pool(1) as pool, Executor(1) as executor:
        assert [(True, 7)] == pool.map(twice, [1])
        first, second = pool.map(seen_at, [3, 3])
        assert first == second
        assert 5 == executor.submit(plus, 3).result()

main()
"""
    assert "" == run(source)


def test_a_module_that_makes_calls_when_it_is_imported(run: Run, tmp_path: Path) -> None:
    """Its workers would import it, too, and theirs again: the first of them refuses, and says what to do."""
    (tmp_path / "eager.py").write_text(
        "from pytaskfarmer import Executor, Pool\n"
        "def same(x):\n    return x\n"
        "with Pool(1) as pool:\n    values = pool.map(same, [1])\n"
    )
    (tmp_path / "lazy.py").write_text(
        "from pytaskfarmer import Pool\npool = Pool(1)\ndef same(x):\n    return x\n"  # it is used by others
    )
    source = """
from pytaskfarmer import CannotTravel
try:
    import eager
except CannotTravel as error:
    print(error)
import lazy
print(lazy.pool.map(lazy.same, [1]))
"""
    refusal, values = run(source).splitlines()
    assert 'a module makes calls while it is imported; let it do that `if __name__ == "__main__":`' in refusal
    assert "[1]" == values


@pytest.mark.parametrize("limit", [64, 32])
def test_more_workers_than_descriptors(run: Run, limit: int) -> None:
    """There are as many as `ulimit -n` allows, and a warning tells; nothing waits for ever."""
    source = f"""
import resource
from pytaskfarmer import Pool
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
with Pool(40) as pool:
    print(sum(pool.map(abs, range(100), chunksize=1)))
"""
    warning, value = run(source).splitlines()
    assert warning.startswith("pytaskfarmer: 40 workers: more than `ulimit` allows; using ")
    assert "4950" == value
