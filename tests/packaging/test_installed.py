import ast
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pytaskfarmer import __version__
from pytaskfarmer.plugins import installed

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "pytaskfarmer/bin/pytaskfarmer.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, 'build_' + sys.argv[1])(sys.argv[2]))"

IMPORTS = """
import sys

def test_the_package_is_the_package():
    folders = sys.path[:]
    import pytaskfarmer
    from pytaskfarmer.task import Task
    import pytaskfarmer.runners.shell
    assert folders == sys.path
    assert sys.modules["pytaskfarmer"] is pytaskfarmer
    assert pytaskfarmer.__file__.endswith("__init__.py")
"""


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the package in it, and the source tree that it was made from."""

    bin: Path
    tree: Path

    def run(self, *argv: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with this environment's programs first on PATH."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )


def copy_tree(to: Path) -> Path:
    """Copy what the package is built from."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "pytaskfarmer", "runners", "handlers"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
    return to


def build(what: str, tree: Path, to: Path) -> Path:
    """Build `sdist`, `wheel` or `editable` of `tree`, with the setuptools at hand and no network."""
    to.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(to)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    return to / done.stdout.splitlines()[-1]


def unpack(sdist: Path, to: Path) -> Path:
    """Return the source tree in an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(to, filter="data")
    return to / sdist.name.removesuffix(".tar.gz")


def environment(folder: Path, wheel: Path | None) -> Path:
    """Make a virtual environment with `wheel` and whatever is installed beside pytest; return its bin."""
    venv.create(folder, symlinks=True)
    scripts = folder / "bin"
    if wheel is not None:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "--python",
            str(scripts / "python"),
        ]
        subprocess.run([*pip, "install", "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    places = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=places))
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Paths named in a .pth file are not searched for further .pth files, so the package under development stays hidden.
    (site / "dependencies.pth").write_text("".join(f"{other}\n" for other in sorted(others)))
    (scripts / "pytest").write_text(
        f"#!{scripts / 'python'}\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
    )
    (scripts / "pytest").chmod(0o755)
    return scripts


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installation]:
    """Return a function that installs from a wheel, from an sdist, editable, or nothing; once each."""

    @functools.cache
    def install(kind: str) -> Installation:
        folder = tmp_path_factory.mktemp(kind)
        tree = copy_tree(folder / "clone")
        match kind:
            case "nothing":
                wheel = None
            case "sdist":
                unpacked = unpack(build("sdist", tree, folder / "dist"), folder)
                wheel = build("wheel", unpacked, folder / "dist")
            case _:
                wheel = build(kind, tree, folder / "dist")
        return Installation(environment(folder / "venv", wheel), tree)

    return install


def commands(at: Installation) -> dict[str, list[str | Path]]:
    """Return every way to start the program."""
    script = at.bin / "pytaskfarmer.py"
    return {
        "pytaskfarmer": [at.bin / "pytaskfarmer"],
        "pytaskfarmer.py": [script],
        "python pytaskfarmer.py": [at.bin / "python", script],
        "python -P pytaskfarmer.py": [at.bin / "python", "-P", script],
        "python -m pytaskfarmer": [at.bin / "python", "-m", "pytaskfarmer"],
    }


@pytest.mark.parametrize("place", ["outside", "clone", "bin"])
@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_every_command_starts(install: Callable[[str], Installation], kind: str, place: str, tmp_path: Path) -> None:
    """However it was installed, and wherever one stands, each way to start the program knows its version."""
    at = install(kind)
    cwd = {"outside": tmp_path, "clone": at.tree, "bin": at.bin}[place]
    for name, command in commands(at).items():
        done = at.run(*command, "--version", cwd=cwd)
        assert (name, 0, "") == (name, done.returncode, done.stderr)
        assert __version__ in done.stdout


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_the_script_is_the_run_command(install: Callable[[str], Installation], kind: str, tmp_path: Path) -> None:
    """`pytaskfarmer.py` is `pytaskfarmer run`, and `python -m pytaskfarmer` in its folder is `pytaskfarmer`."""
    at = install(kind)
    every = commands(at)
    run = at.run(*every["pytaskfarmer"], "run", "--help", cwd=tmp_path).stdout
    top = at.run(*every["pytaskfarmer"], "--help", cwd=tmp_path).stdout
    assert "--retry-failed" in run
    assert run.splitlines()[1:] == at.run(*every["pytaskfarmer.py"], "--help", cwd=tmp_path).stdout.splitlines()[1:]
    for cwd in (tmp_path, at.bin):
        there = at.run(*every["python -m pytaskfarmer"], "--help", cwd=cwd).stdout
        assert top.splitlines()[1:] == there.splitlines()[1:]


@pytest.mark.parametrize("kind", ["wheel", "editable", "nothing"])
def test_a_task_runs(install: Callable[[str], Installation], kind: str, tmp_path: Path) -> None:
    """The script finds the plug-ins too, also straight from a source tree where nothing is installed."""
    at = install(kind)
    script = at.tree / SCRIPT if kind == "nothing" else at.bin / "pytaskfarmer.py"
    (tmp_path / "tasks.txt").write_text("echo hello | tr a-z A-Z\n")
    done = at.run(at.bin / "python", script, "-n", "1", "--logs", "files", "tasks.txt", cwd=tmp_path)
    assert (0, "0 echo hello | tr a-z A-Z\n") == (
        done.returncode,
        (tmp_path / "tasks.txt_workdir/finished").read_text(),
    ), done.stderr
    assert "HELLO\n" == (tmp_path / "tasks.txt_workdir/logs/log_0").read_text()


@pytest.mark.parametrize("place", ["outside", "bin"])
@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("module", [False, True])
def test_programs_of_the_same_bin_import_the_package(
    install: Callable[[str], Installation], kind: str, place: str, module: bool, tmp_path: Path
) -> None:
    """`pytest`, started from the folder that holds the script, imports the package, and its path is as it was."""
    at = install(kind)
    test = tmp_path / "test_imports.py"
    test.write_text(IMPORTS)
    pytest_there: list[str | Path] = [at.bin / "python", "-m", "pytest"] if module else [at.bin / "pytest"]
    plain: list[str | Path] = ["-q", "-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider", test]
    cwd = at.bin if place == "bin" else tmp_path
    done = at.run(*pytest_there, *plain, cwd=cwd, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTEST_ADDOPTS="")
    assert (0, "1 passed") == (done.returncode, done.stdout.splitlines()[-1][:8]), done.stdout


def test_a_source_tree_uses_itself(install: Callable[[str], Installation], tmp_path: Path) -> None:
    """Started from a source tree, by a link too, the script runs that tree, though another version is installed."""
    tree = copy_tree(tmp_path / "tree")
    package = tree / "pytaskfarmer/__init__.py"
    package.write_text(package.read_text().replace(__version__, "9.8.7"))
    link = tmp_path / "pytaskfarmer.py"
    link.symlink_to(tree / SCRIPT)
    starts: list[list[str | Path]] = [[tree / SCRIPT], [link], ["python3", "-P", tree / SCRIPT]]
    for kind in ("wheel", "nothing"):
        for command in starts:
            done = install(kind).run(*command, "--version", cwd=tmp_path)
            assert (0, "") == (done.returncode, done.stderr)
            assert "9.8.7" in done.stdout


def test_a_python_without_the_package_is_told_so(install: Callable[[str], Installation], tmp_path: Path) -> None:
    """Another Python that starts the script gets one line with the remedy, and status 2."""
    other = install("nothing").bin / "python"
    done = install("wheel").run(
        other, install("wheel").bin / "pytaskfarmer.py", "--version", cwd=tmp_path, PYTHONPATH=""
    )
    assert (2, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines())
    assert f"{other} has no module 'pytaskfarmer'" in done.stderr


def test_old_pythons_can_parse_the_script() -> None:
    """A Python that is too old gets as far as the line that says so."""
    ast.parse((ROOT / SCRIPT).read_text(), feature_version=(3, 6))


def test_what_is_in_the_archives(tmp_path: Path) -> None:
    """The wheel holds the packages, the marker for type checkers and the script, and no more; the sdist all sources."""
    tree = copy_tree(tmp_path / "tree")
    sources = {
        path.relative_to(ROOT) for top in ("pytaskfarmer", "runners", "handlers") for path in (ROOT / top).rglob("*.py")
    }
    with zipfile.ZipFile(build("wheel", tree, tmp_path)) as wheel:
        wheeled = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    packaged = {str(p) if p.parts[0] == "pytaskfarmer" else f"pytaskfarmer/{p}" for p in sources} - {SCRIPT}
    data = f"pytaskfarmer-{__version__}.data/scripts/pytaskfarmer.py"
    assert packaged | {"pytaskfarmer/py.typed", data} == wheeled
    with tarfile.open(build("sdist", tree, tmp_path)) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {*map(str, sources), "pytaskfarmer/py.typed", "LICENSE", "pyproject.toml"} <= held


def test_every_package_is_listed() -> None:
    """The list of packages is what lies on the disk."""
    folders = [
        path.parent.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py") if path.parts[-3:-1] != ("tests",)
    ]
    on_disk = {".".join(folder.parts) for folder in folders if folder.parts[0] == "pytaskfarmer"}
    assert {*on_disk, "pytaskfarmer.runners", "pytaskfarmer.handlers"} == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("kind", ["runner", "handler"])
def test_the_entry_points_are_the_built_in_names(kind: str) -> None:
    """The entry points name the same classes as the table of built-in names, and each of them loads."""
    group = installed.ENTRY_POINTS[kind]
    points = {name: EntryPoint(name, value, group) for name, value in PROJECT["project"]["entry-points"][group].items()}
    assert installed.BUILT_IN[kind] == {name: f"{point.module}.{point.attr}" for name, point in points.items()}
    assert all(callable(point.load()) for point in points.values())


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff names the version that is here."""
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_checkout_can_be_imported_as_it_is(tmp_path: Path) -> None:
    """Where nothing is installed, or the folder of a checkout comes first, runners and handlers are found beside it."""
    copy_tree(tmp_path / "checkout")
    code = "import pytaskfarmer.runners.shell, pytaskfarmer.handlers.lines as l; print(l.__file__)"
    words = [sys.executable, "-S", "-c", code]
    told = subprocess.run(words, cwd=tmp_path / "checkout", capture_output=True, text=True, check=False)
    assert (f"{tmp_path}/checkout/handlers/lines.py\n", "") == (told.stdout, told.stderr)
