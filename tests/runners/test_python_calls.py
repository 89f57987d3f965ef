"""What a worker of the Python runner does with one task, in this process."""

import array
import asyncio
import contextlib
import importlib
import json
import sys
import textwrap
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytaskfarmer.errors import FarmError
from pytaskfarmer.runners.calls import Calls, write
from pytaskfarmer.task import encode
from pytaskfarmer.worker import TaskFacts

Write = Callable[..., Path]

FITS = """\
    import functools

    class Model:
        order = 3
        def __call__(self, x): return x
        @staticmethod
        def fit(x): return ["fit", x]
        @classmethod
        def other(cls): return cls.order

    model = Model()
    half = functools.partial(divmod, 7)

    def fit(path, order=1, *, scale=1.0):
        return [path, order, scale]

    def anything(*arguments, **keywords):
        return [arguments, keywords]

    def broken(x):
        return x + "1"

    def injected(function):
        @functools.wraps(function)
        def wrapper(*arguments):
            return function("injected", *arguments)
        return wrapper

    @injected
    def given(what, x):
        return [what, x]

    @injected
    def plus(what, x):
        return what + x

    def exits():
        raise SystemExit(3)

    async def waiting(x):
        return {"x": x}

    @functools.wraps(waiting)
    def wrapped(x):
        return waiting(x)

    class Slow:
        async def __call__(self, x): return {"x": x}

    slow = Slow()

    def numbers():
        yield 1
    """


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a directory of its own, and forget all that is imported from it."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def module(tmp_path: Path) -> Write:
    """Return `module(path, source)`, which writes a file."""

    def write(name: str, source: str = FITS) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return path

    return write


def calls(
    function: str | None = None, setup: str | None = None, path: Sequence[str] = (), concurrency: int = 1
) -> Calls:
    return Calls(function=function, setup=setup, path=path, concurrency=concurrency)


def perform(line: str, servant: Calls | None = None) -> Any:
    """Return the result of a task, read from its JSON."""
    result = (servant or calls()).perform(encode(line), TaskFacts(0, 1, 0))
    assert result is None or isinstance(result, bytes)
    return result and json.loads(result)


def complaint(line: str, servant: Calls | None = None) -> str:
    """Return the one line that a task fails with."""
    with pytest.raises(FarmError) as caught:
        perform(line, servant)
    assert str(caught.value).isprintable()
    return str(caught.value)


class Numbers:
    """An array, as libraries of arrays have them."""

    def tolist(self) -> list[float]:
        """Return its numbers."""
        return [1.5, 2.5]


class Torn:
    """An array that cannot be read."""

    def tolist(self) -> list[float]:
        """Raise an error of two lines."""
        raise ValueError("torn\nfile")


class TestACall:
    def test_with_arguments(self, module: Write) -> None:
        """The function gets what the line says, and its result comes back as JSON."""
        module("fits.py")
        assert ["a.csv", 2, 0.5] == perform("fits:fit a.csv 2 scale=0.5")

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("fits:Model.fit 1", ["fit", 1]),
            ("fits:Model.other", 3),
            ("fits:model 1", 1),
            ("fits:half 2", [3, 1]),
            ("fits:given 1", ["injected", 1]),
            ("math:hypot 3 4", 5.0),
            ("os.path:basename a/b", "b"),
        ],
    )
    def test_of_whatever_can_be_called(self, module: Write, line: str, expected: object) -> None:
        """Methods, objects, partial and decorated functions and those written in C are functions, too."""
        module("fits.py")
        assert expected == perform(line)

    def test_that_returns_nothing(self, module: Write) -> None:
        """None is no result, rather than the result `null`."""
        module("quiet.py", "def f(): pass")
        assert calls().perform(b"quiet:f", TaskFacts(0, 1, 0)) is None

    def test_of_an_async_function(self, module: Write) -> None:
        """A call of an `async def` function, decorated or a method too, is left to be awaited."""
        module("fits.py")
        for name in ("waiting", "wrapped", "slow"):
            result = calls(concurrency=2).perform(f"fits:{name} 5".encode(), TaskFacts(0, 1, 0))
            assert isinstance(result, Awaitable)

            async def wait(result: Awaitable[bytes | None] = result) -> bytes | None:
                return await result

            assert b'{"x": 5}' == asyncio.run(wait())

    def test_with_the_whole_line(self, module: Write) -> None:
        """A function of the definition gets the line as it is, quotes, blanks, equals signs and odd bytes included."""
        module("fits.py")
        line = " x=1 'a  b' 5 caf\udce9 "
        assert [[line], {}] == perform(line, calls(function="fits:anything"))

    def test_imports_once(self, module: Write) -> None:
        """A module is imported by the first task that needs it, and no other."""
        module("once.py", "file = open('imports', 'a'); file.write('.'); file.close()\ndef f(): pass")
        servant = calls()
        for _ in range(3):
            perform("once:f", servant)
        assert "." == Path("imports").read_text()

    def test_imports_from_the_current_directory_first(self, module: Write, tmp_path: Path) -> None:
        """A module is taken from the current directory, else from `path` in its order, else from where Python looks."""
        for directory in ("", "one/", "two/"):
            module(f"{directory}first.py", f"def f(): return {directory!r}")
        for directory in ("one/", "two/"):
            module(f"{directory}second.py", f"def f(): return {directory!r}")
        servant = calls(path=[str(tmp_path / "one"), str(tmp_path / "two")])
        assert ["", "one/"] == [perform("first:f", servant), perform("second:f", servant)]


class TestAnException:
    def test_passes_through(self, module: Write) -> None:
        """What a function raises is that very exception, with the function's frame next to our own."""
        path = module("fits.py")
        with pytest.raises(TypeError) as caught:
            perform("fits:broken 1")
        assert str(path) == traceback.extract_tb(caught.tb)[-1].filename
        assert (None, False) == (caught.value.__cause__, isinstance(caught.value, FarmError))

    def test_of_exit_passes_through(self, module: Write) -> None:
        """`sys.exit` in a function is that exit, not an error of ours."""
        module("fits.py")
        with pytest.raises(SystemExit) as caught:
            perform("fits:exits")
        assert 3 == caught.value.code

    def test_of_a_wrong_call_inside(self, module: Write) -> None:
        """A function that calls another one wrongly fails with its traceback; the line is not blamed."""
        module("nested.py", "def g(): pass\ndef f(): g(1)")
        with pytest.raises(TypeError, match=r"g\(\) takes 0 positional arguments"):
            perform("nested:f")

    def test_inside_a_function_that_is_decorated(self, module: Write) -> None:
        """A decorator that adds arguments does not make the line look wrong when the function fails."""
        module("fits.py")
        with pytest.raises(TypeError, match="can only concatenate str"):
            perform("fits:plus 1")


class TestALineThatDoesNotFit:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("fits:fit", "missing a required argument: 'path'"),
            ("fits:fit a b c", "too many positional arguments"),
            ("fits:fit a size=3", "got an unexpected keyword argument 'size'"),
            ("fits:fit a path=b", "multiple values for argument 'path'"),
        ],
    )
    def test_its_function(self, module: Write, line: str, message: str) -> None:
        """Arguments that a function does not take are an error of one line, which shows what it takes."""
        module("fits.py")
        assert f"the line does not fit fits:fit(path, order=1, *, scale=1.0): {message}" == complaint(line)

    def test_an_async_function(self, module: Write) -> None:
        """The arguments of an `async def` function are looked at no later."""
        module("fits.py")
        assert "the line does not fit fits:waiting(x): missing a required argument: 'x'" == complaint("fits:waiting")

    def test_a_function_without_signature(self) -> None:
        """Where Python does not know what a function takes, its own TypeError is all there is."""
        with pytest.raises(TypeError):
            perform("builtins:iter")

    def test_no_module(self, module: Write, tmp_path: Path) -> None:
        """A module that does not exist is named, and where it was looked for."""
        module("package/__init__.py", "")
        rest = f"in {tmp_path} or where Python looks; name it as `import` would, without .py, and its directory in the "
        for name in ("nowhere", "package.nowhere"):
            assert f"there is no module {name!r} {rest}option `path`" == complaint(f"{name}:f")

    def test_no_function(self, module: Write) -> None:
        """A function that does not exist is named, with those that have a similar name."""
        path = module("fits.py")
        found = f"module 'fits' ({path}) has no"
        assert f"{found} 'waitng'; did you mean 'waiting'?" == complaint("fits:waitng")
        assert f"{found} 'qqq'; correct the name" == complaint("fits:qqq")
        assert "'Model' has no 'fitt'; did you mean 'fit'?" == complaint("fits:Model.fitt")
        assert "module 'sys' (built in) has no 'qqq'; correct the name" == complaint("sys:qqq")

    def test_what_cannot_be_called(self) -> None:
        """A value is no function."""
        expected = "string:digits is a value of type str, which cannot be called; name a function"
        assert expected == complaint("string:digits")


class TestAModuleThatFails:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("\n1 / 0", "ZeroDivisionError: division by zero ({path}, line 2)"),
            ("raise SystemExit(0)", "SystemExit: 0 ({path}, line 1)"),
            ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' ({path}, line 1)"),
            ("def f(:", "SyntaxError: invalid syntax (failing.py, line 1)"),
            ("raise ValueError('two\\nlines')", "ValueError: two ({path}, line 1)"),
            ("raise KeyError", "KeyError ({path}, line 1)"),
            (
                r"raise ValueError('\x1b\ud800')",
                "ValueError: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} ({path}, line 1)",
            ),
        ],
    )
    def test_says_where(self, module: Write, source: str, told: str) -> None:
        """The exception that ended the import is named with its place, in one line."""
        path = module("failing.py", source)
        expected = f"importing 'failing' failed with {told.format(path=path)}; `python3 -c 'import failing'` shows more"
        assert expected == complaint("failing:f")

    def test_is_tried_again(self, module: Write) -> None:
        """Once whatever it needs is there, the next task succeeds in the same worker."""
        module("late.py", "open('needed').close()\ndef f(): return 1")
        servant = calls()
        complaint("late:f", servant)
        Path("needed").touch()
        assert 1 == perform("late:f", servant)


class TestAnUnfitWorker:
    def unfit(self, **options: Any) -> str:
        """Return the one line with which the worker is refused."""
        with pytest.raises(FarmError) as caught:
            calls(**options)
        return str(caught.value)

    def test_without_the_function(self, module: Write) -> None:
        """A function of the definition is looked up before any task."""
        module("fits.py")
        assert "did you mean 'fit'?" in self.unfit(function="fits:fitt")

    def test_whose_setup_fails(self, module: Write) -> None:
        """The exception that ended `setup` is named with its place."""
        path = module("prepare.py", "import sys\ndef raises(): {}['a']\ndef exits(): sys.exit('no data')")
        assert f"setup prepare:raises failed with KeyError: 'a' ({path}, line 2)" == self.unfit(setup="prepare:raises")
        assert f"setup prepare:exits failed with SystemExit: no data ({path}, line 3)" == self.unfit(
            setup="prepare:exits"
        )

    def test_whose_setup_is_async(self, module: Write) -> None:
        """An `async def` setup is refused rather than silently not run."""
        module("fits.py")
        expected = "setup fits:waiting is `async def`, but runs before there is an event loop; write it as plain `def`"
        assert expected == self.unfit(setup="fits:waiting")

    def test_that_cannot_hold_several_calls(self, module: Write) -> None:
        """A plain function and a concurrency above 1 contradict each other: each call would wait for the one before."""
        module("fits.py")
        expected = (
            "fits:fit is no `async def` function, so a worker cannot hold 4 calls of it in flight; "
            "take concurrency = 1, and more workers with --proc"
        )
        assert expected == self.unfit(function="fits:fit", concurrency=4)
        assert expected == complaint("fits:fit a", calls(concurrency=4))


def test_setup_runs_once(module: Write) -> None:
    """`setup` runs before the first task, without arguments, and not again."""
    module("prepare.py", "ready = []\ndef get(): ready.append(1)\ndef count(): return len(ready)")
    servant = calls(setup="prepare:get")
    assert [1, 1] == [perform("prepare:count", servant) for _ in range(2)]


class TestAResult:
    @pytest.mark.parametrize(
        ("result", "expected"),
        [
            (0, b"0"),
            (False, b"false"),
            ("é\udce9", b'"\\u00e9\\udce9"'),
            ({"a": (1, [None])}, b'{"a": [1, [null]]}'),
            (array.array("d", [1, 2]), b"[1.0, 2.0]"),
            ({"x": [Numbers()]}, b'{"x": [[1.5, 2.5]]}'),
        ],
    )
    def test_is_json(self, result: object, expected: bytes) -> None:
        """What JSON can say is said, arrays as lists."""
        assert expected == write("m:f", result)

    def test_of_numpy_is_json(self) -> None:
        """Numbers and arrays of numpy are plain numbers and lists."""
        numpy = pytest.importorskip("numpy")
        result = {
            "n": numpy.int64(3),
            "x": numpy.float32(0.5),
            "ok": numpy.bool_(True),
            "a": numpy.arange(4).reshape(2, 2),
        }
        assert b'{"n": 3, "x": 0.5, "ok": true, "a": [[0, 1], [2, 3]]}' == write("m:f", result)

    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            ({1, 2}, "it has a value of type set"),
            ([b"a"], "it has a value of type bytes"),
            (map(str, [1]), "it has a value of type map"),
            ({(1, 2): 3}, "keys must be str, int, float, bool or None, not tuple"),
            ({"x": [float("nan")]}, "Out of range float values are not JSON compliant"),
            (Torn(), "torn\N{REPLACEMENT CHARACTER}file"),
            (float("-inf"), "Out of range float values are not JSON compliant"),
        ],
    )
    def test_that_json_cannot_say(self, result: object, reason: str) -> None:
        """It is an error that says what is in the way and what to return instead; nothing is altered silently."""
        with pytest.raises(FarmError) as caught:
            write("m:f", result)
        start, found, end = str(caught.value).partition(reason)
        assert ("the result of m:f cannot be written as JSON (", reason) == (start, found)
        assert end.endswith(
            "); return numbers other than NaN and infinity, texts, lists, dicts with texts as keys, or None"
        )

    def test_that_refers_to_itself(self) -> None:
        """A list within itself, and one far too deep, are errors of one line, too."""
        circle: list[object] = []
        circle.append(circle)
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        for result in (circle, deep):
            with pytest.raises(FarmError, match="cannot be written as JSON"):
                write("m:f", result)

    def test_of_a_generator(self, module: Write) -> None:
        """A generator function has not even begun when it returns, so that is no success."""
        module("fits.py")
        assert "the result of fits:numbers cannot be written as JSON (it has a value of type generator)" in complaint(
            "fits:numbers"
        )

    def test_of_an_async_function_is_checked(self, module: Write) -> None:
        """The result of an `async def` function is held to the same."""
        module("sets.py", "async def f(): return {1}")
        result = calls().perform(b"sets:f", TaskFacts(0, 1, 0))
        assert isinstance(result, Awaitable)

        async def wait() -> None:
            with contextlib.suppress(FarmError):
                await result
                pytest.fail("a set was written as JSON")

        asyncio.run(wait())
