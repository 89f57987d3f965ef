"""Who may import whom. Reads the sources, so that imports in functions, for types only, relative or by name count."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    "pytaskfarmer": 0,
    "pytaskfarmer.task": 0,
    "pytaskfarmer.errors": 0,
    "pytaskfarmer.durations": 0,
    "pytaskfarmer.plugins.contracts": 0,  # words too: what reads a list and what runs a task both speak them
    "pytaskfarmer.workdir": 1,
    "pytaskfarmer.plugins": 1,
    "pytaskfarmer.allocation": 1,
    "pytaskfarmer.worker": 1,
    "pytaskfarmer.farm": 2,
    "pytaskfarmer.cluster": 3,
    "pytaskfarmer.views": 3,
    "pytaskfarmer.api": 4,  # shows progress, as the commands do
    "pytaskfarmer.cli": 4,
    "pytaskfarmer.__main__": 5,
    "pytaskfarmer.bin": 5,
}
"""Every room of the core; imports go to lower layers, or stay in the room. Layer 0 is one room."""

PLUGINS = ("pytaskfarmer.runners", "pytaskfarmer.handlers")
FOR_PLUGINS = ("pytaskfarmer.plugins.contracts", "pytaskfarmer.worker", "pytaskfarmer.task", "pytaskfarmer.errors")
SECOND_COPIES = ("runners", "handlers")
"""The names under which plug-ins would be imported once more, with the root on the path."""

KNOWERS = {
    "click": ("pytaskfarmer.cli",),
    "filelock": ("pytaskfarmer.workdir.locking",),
    "matplotlib": ("pytaskfarmer.views.scaling_plot",),
    "rich": ("pytaskfarmer.cli", "pytaskfarmer.views"),
}
"""The only places that know these libraries."""

LOADERS = (
    "pytaskfarmer", "pytaskfarmer.plugins.registry", "pytaskfarmer.worker.serving", "pytaskfarmer.runners.calls"
)  # fmt: skip
"""The only places that import by a name that they are given: the names that the package exports, plug-ins, what works
in a worker, a user's function."""
LOADS = {"import_module", "__import__", "resolve_name", "run_module"}

MOVERS = ("books", "growth", "opening", "recovery", "revision")
"""The modules of `workdir` that move tasks: a farmer's steps, how a run begins, the audit, changes of the list, and
its growth."""
STATES = ("toprocess", "finished", "failed")
FILE_NAMES = {*STATES, "tasklist.json", "timeline.json", "interrupted", "claims", "logs", "lock", "lock.lease"}
CHANGES = {
    *("write", "writev", "pwrite", "pwritev", "sendfile", "copy_file_range", "truncate", "ftruncate"),
    *("rename", "renames", "replace", "link", "symlink", "unlink", "remove", "fsync", "fdatasync"),
}


@dataclass(frozen=True)
class Import:
    """One import: `target` is the dotted name asked for, `*` at its end for any, None for whatever turns up."""

    importer: str
    line: int
    target: str | None
    relative: bool = False


def below(name: str, rooms: tuple[str, ...]) -> bool:
    """Tell whether `name` is one of `rooms` or lies in one."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def imports(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Yield everything that `source` imports, wherever and however it does."""
    package = module if is_package else module.rpartition(".")[0]
    tree = ast.parse(source)
    loads = LOADS | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in LOADS and alias.asname
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield Import(module, node.lineno, alias.name)
            case ast.ImportFrom():
                start = resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    yield Import(module, node.lineno, f"{start}.{alias.name}", relative=node.level > 0)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if name in loads:
                match first:
                    case ast.Constant(value=str(text)):
                        target = resolve_name(text.partition(":")[0], package)
                        yield Import(module, node.lineno, target, relative=text.startswith("."))
                    case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) if text.endswith("."):
                        yield Import(module, node.lineno, text + "*")
                    case _:
                        yield Import(module, node.lineno, None)


def fault(found: Import) -> str | None:
    """Say what is wrong with an import, if anything."""
    importer, target = found.importer, found.target
    if target is None:
        return None if importer in LOADERS else f"only {' and '.join(LOADERS)} import by a name that they are given"
    top = target.partition(".")[0]
    if top in SECOND_COPIES:
        return f"{top} is a second copy of pytaskfarmer.{top}"
    if top in KNOWERS and not below(importer, KNOWERS[top]):
        return f"{top} is known only to {' and '.join(KNOWERS[top])}"
    if top != "pytaskfarmer":
        return None
    if below(importer, PLUGINS):
        room = ".".join(importer.split(".")[:2])
        if below(target, FOR_PLUGINS) or (found.relative and below(target, (room,))):
            return None
        return "a plug-in imports the contracts, the words and its own siblings, these relatively"
    if below(target, PLUGINS):
        return "the core imports no plug-in"
    if importer == "pytaskfarmer" and below(target, ("pytaskfarmer.api",)):
        return None  # the package's face, which imports them when they are asked for
    mine, theirs = room_of(importer), room_of(target)
    if theirs == "pytaskfarmer" and target not in ("pytaskfarmer", "pytaskfarmer.__version__"):
        return "no room of that name is in the table"
    if mine == theirs or LAYERS[theirs] < LAYERS[mine] or LAYERS[mine] == LAYERS[theirs] == 0:
        return None
    return f"layer {LAYERS[mine]} imports layer {LAYERS[theirs]}"


def room_of(module: str) -> str:
    """Return the longest entry of the table in which `module` lies."""
    return max((room for room in LAYERS if below(module, (room,))), key=len)


def changes(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each call that changes files other than through `disk`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=name)) if name in CHANGES:
                yield node.lineno, f"os.{name}"
            case ast.Call(func=ast.Name(id="open"), args=[_, ast.Constant(value=str(mode)), *_]) if set(mode) & set(
                "wax+"
            ):
                yield node.lineno, f"open, mode {mode}"
            case ast.Import(names=names) if any(alias.name == "shutil" for alias in names):
                yield node.lineno, "shutil"


def states_named(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each use of a state file's path."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=attribute) if (
                attribute in STATES and owner.endswith("layout")
            ):
                yield node.lineno, attribute


def names_written_out(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each file name that is put into a path by hand."""
    for node in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr)):
        match node:
            case ast.Call(func=ast.Attribute(attr="join", value=ast.Attribute(attr="path")), args=words):
                pass
            case ast.BinOp(op=ast.Div(), right=word):
                words = [word]
            case ast.JoinedStr(values=words):
                pass
            case _:
                words = []
        texts = {str(word.value).removeprefix("/") for word in words if isinstance(word, ast.Constant)}
        for text in texts & FILE_NAMES:
            yield node.lineno, text


def sources() -> Iterator[tuple[str, Path]]:
    """Yield module and path of every source file of the core and the plug-ins."""
    for top, prefix in (("pytaskfarmer", ""), ("runners", "pytaskfarmer."), ("handlers", "pytaskfarmer.")):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield prefix + ".".join(parts).removesuffix(".__init__"), path


def test_every_import_goes_down() -> None:
    """Every import in the sources is one that the table allows."""
    found = [
        (path, each)
        for module, path in sources()
        for each in imports(module, path.read_text(), path.stem == "__init__")
    ]
    assert [] == [f"{path}:{each.line}: {each.target}: {wrong}" for path, each in found if (wrong := fault(each))]
    assert {"filelock.lock_descriptor", "pytaskfarmer.plugins.contracts.TaskContext"} <= {
        each.target for _, each in found
    }


def test_every_module_has_a_room() -> None:
    """No source file lies outside the rooms of the table."""
    homeless = [
        m for m, _ in sources() if not below(m, PLUGINS) and m != "pytaskfarmer" and room_of(m) == "pytaskfarmer"
    ]
    assert [] == homeless


def test_only_the_books_move_tasks() -> None:
    """Shared files change only through `disk`, which only `workdir` has, and tasks move only in the books."""
    wrong = []
    for module, path in sources():
        source = path.read_text()
        inside = below(module, ("pytaskfarmer.workdir",))
        if not inside:
            has = [each for each in imports(module, source) if each.target == "pytaskfarmer.workdir.layout.disk"]
            wrong += [f"{path}:{each.line}: has disk" for each in has]
        elif path.stem != "layout":
            wrong += [f"{path}:{line}: {what}" for line, what in changes(source)]
        if inside and path.stem not in ("layout", *MOVERS):
            wrong += [f"{path}:{line}: {what}" for line, what in states_named(source)]
    assert [] == wrong


def test_only_the_layout_names_files() -> None:
    """No module but `workdir/layout.py` puts the name of a file below the work directory into a path."""
    others = [(module, path) for module, path in sources() if module != "pytaskfarmer.workdir.layout"]
    assert [] == [f"{path}:{line}: {name}" for _, path in others for line, name in names_written_out(path.read_text())]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pytaskfarmer.task", "import pytaskfarmer.workdir"),
        ("pytaskfarmer.errors", "from pytaskfarmer import workdir"),
        ("pytaskfarmer.plugins.contracts", "from pytaskfarmer.plugins import registry"),
        ("pytaskfarmer.workdir.books", "from pytaskfarmer.farm.farmer import Farmer"),
        ("pytaskfarmer.workdir.books", "from pytaskfarmer.plugins.registry import load"),
        ("pytaskfarmer.workdir.books", "from ..farm import farmer"),
        ("pytaskfarmer.farm.farmer", "def late():\n    from pytaskfarmer.views import progress"),
        ("pytaskfarmer.farm.farmer", "class Late:\n    def late(self):\n        import pytaskfarmer.cli.run as run"),
        ("pytaskfarmer.farm.farmer", "if TYPE_CHECKING:\n    from pytaskfarmer.views.progress import Line"),
        ("pytaskfarmer.farm.farmer", "try:\n    from .. import cli\nexcept ImportError:\n    pass"),
        ("pytaskfarmer.farm.farmer", "import os, pytaskfarmer.cli"),
        ("pytaskfarmer.farm.farmer", "import importlib\nimportlib.import_module('pytaskfarmer.cli.run')"),
        ("pytaskfarmer.farm.farmer", "import_module('..cli', __package__)"),
        ("pytaskfarmer.farm.farmer", "from importlib import import_module as load\nload('pytaskfarmer.cli')"),
        ("pytaskfarmer.farm.farmer", "__import__('pytaskfarmer.cli')"),
        ("pytaskfarmer.farm.farmer", "import_module(f'pytaskfarmer.cli.{name}')"),
        ("pytaskfarmer.cli.main", "import_module(f'pytaskfarmer.{name}')"),
        ("pytaskfarmer.cli.main", "import_module(f'pytaskfarmer.cli{name}')"),
        ("pytaskfarmer.farm.farmer", "pkgutil.resolve_name('pytaskfarmer.cli.run:main')"),
        ("pytaskfarmer.farm.farmer", "from pytaskfarmer import nowhere"),
        ("pytaskfarmer.farm.farmer", "from pytaskfarmer import *"),
        ("pytaskfarmer.views.status", "from pytaskfarmer.api import Pool"),
        ("pytaskfarmer.cli.run", "from pytaskfarmer.runners.shell import Shell"),
        ("pytaskfarmer.cli.run", "from pytaskfarmer import handlers"),
        ("pytaskfarmer.plugins.registry", "import pytaskfarmer.handlers.lines"),
        ("pytaskfarmer.plugins.registry", "importlib.import_module('pytaskfarmer.runners.shell')"),
        ("pytaskfarmer.cli.run", "import runners.shell"),
        ("pytaskfarmer.cli.run", "importlib.import_module(name)"),
        ("pytaskfarmer.workdir.books", "import filelock"),
        ("pytaskfarmer.workdir.books", "def late():\n    from filelock import FileLock"),
        ("pytaskfarmer.farm.farmer", "from rich.progress import Progress"),
        ("pytaskfarmer.farm.farmer", "import click"),
        ("pytaskfarmer.runners.shell", "from pytaskfarmer.workdir.layout import Layout"),
        ("pytaskfarmer.runners.shell", "from pytaskfarmer.plugins import registry"),
        ("pytaskfarmer.runners.shell", "from pytaskfarmer.runners import plain"),
        ("pytaskfarmer.runners.shell", "from ..handlers import lines"),
        ("pytaskfarmer.runners.shell", "from ..farm import farmer"),
        ("pytaskfarmer.runners.shell", "from handlers.lines import Lines"),
        ("pytaskfarmer.handlers.lines", "from pytaskfarmer.durations import parse_duration"),
    ],
)
def test_forbidden_imports_are_seen(module: str, source: str) -> None:
    """The reading of sources finds each kind of import, and the table forbids it."""
    assert [True] == [fault(each) is not None for each in imports(module, source) if fault(each)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pytaskfarmer.errors", "import difflib"),
        ("pytaskfarmer.plugins.contracts", "from pytaskfarmer.task import Task"),
        ("pytaskfarmer.workdir.books", "from . import claims\nfrom pytaskfarmer.workdir.claims import OwnClaims"),
        ("pytaskfarmer.workdir.locking", "import filelock"),
        ("pytaskfarmer.plugins.registry", "importlib.import_module(name)"),
        (
            "pytaskfarmer.cli.main",
            "from pytaskfarmer import __version__\nimport click\nimport pytaskfarmer.farm.farmer",
        ),
        ("pytaskfarmer.cli.main", "importlib.import_module(f'pytaskfarmer.cli.{command}')"),
        ("pytaskfarmer.__main__", "from pytaskfarmer.cli.main import main"),
        ("pytaskfarmer.runners.shell", "from .plain import words\nfrom pytaskfarmer.plugins.contracts import Command"),
        ("pytaskfarmer.runners.shell", "import subprocess\nfrom pytaskfarmer.worker import serve"),
    ],
)
def test_allowed_imports_pass(module: str, source: str) -> None:
    """What the table allows is not called a fault."""
    assert [] == [wrong for each in imports(module, source) if (wrong := fault(each))]


def test_hands_on_files_are_seen() -> None:
    """The reading of sources finds changes behind the back of `disk`, uses of states and file names in paths."""
    hidden = changes("os.rename(a, b); open(p, 'ab'); open(p, 'rb'); import shutil; os.stat(p)")
    assert {"os.rename", "open, mode ab", "shutil"} == {what for _, what in hidden}
    named = states_named("f(layout.failed); self.layout.toprocess; result.failed; TaskState.finished")
    assert {"failed", "toprocess"} == {what for _, what in named}
    written = names_written_out("os.path.join(w, 'claims'); w / 'finished'; f'{w}/lock'; x = 'failed'; f'{n} failed'")
    assert {"claims", "finished", "lock"} == {what for _, what in written}
