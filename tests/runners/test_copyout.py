import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pytaskfarmer.runners import copyout

TAG = "12-abcdef01"
COMMAND = (sys.executable, "-I", "-S", copyout.__file__)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where results are wanted; not there yet."""
    return tmp_path / "results" / "of this run"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than that of the target."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no second file system at /dev/shm")
    directory = Path(tempfile.mkdtemp(dir=memory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=["the same file system", "another"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A task's own directory."""
    if request.param == "another":
        directory = request.getfixturevalue("elsewhere") / "the task's"
    else:
        directory = tmp_path / "the task's"
    directory.mkdir()
    return Path(directory)


def run(directory: Path, target: Path, *globs: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Return the status and what was said."""
    ended = subprocess.run(
        [*prefix, *COMMAND, directory, target, TAG, *globs],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def fill(directory: Path, *paths: str, text: str = "new") -> None:
    for path in paths:
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def tree(directory: Path) -> dict[str, str | None]:
    """Return all files with their texts, and links with their targets, below a directory; None for a directory."""
    return {
        str(path.relative_to(directory)): f"-> {path.readlink()}"
        if path.is_symlink()
        else None
        if path.is_dir()
        else path.read_text()
        for path in sorted(directory.rglob("*"))
    }


def test_results_arrive_under_their_paths(directory: Path, target: Path) -> None:
    """What the globs match arrives, what they do not match does not, and nothing else is made there."""
    fill(directory, "a.root", "b.root", "log", "out/c.root", "out/log", ".hidden.root")

    assert (0, "") == run(directory, target, "*.root", "out/*.root")
    assert {"a.root": "new", "b.root": "new", "out": None, "out/c.root": "new"} == tree(target)


def test_two_stars_reach_any_depth(directory: Path, target: Path) -> None:
    """`**` stands for directories, also none; what two globs match is moved once."""
    fill(directory, "a.root", "1/b.root", "1/2/c.root", "1/log")

    assert (0, "") == run(directory, target, "**/*.root", "1/*.root")
    assert {"1": None, "1/2": None, "1/2/c.root": "new", "1/b.root": "new", "a.root": "new"} == tree(target)


@pytest.mark.parametrize("glob", ["**", "*", "./*"])
def test_everything(glob: str, directory: Path, target: Path) -> None:
    """A glob may match all there is."""
    fill(directory, "a", "1/2/b")

    assert (0, "") == run(directory, target, glob)
    assert {"1": None, "1/2": None, "1/2/b": "new", "a": "new"} == tree(target)


def test_a_directory_is_moved_with_all_that_is_in_it(directory: Path, target: Path) -> None:
    """Hidden files, empty directories and links are results too, and a link is not what it leads to."""
    fill(directory, "out/.hidden", "out/1/a", "b")
    (directory / "out" / "empty").mkdir()
    (directory / "out" / "link").symlink_to("1/a")
    (directory / "out" / "dangling").symlink_to("/no/such/file")

    assert (0, "") == run(directory, target, "out/")
    assert {
        "out": None,
        "out/.hidden": "new",
        "out/1": None,
        "out/1/a": "new",
        "out/dangling": "-> /no/such/file",
        "out/empty": None,
        "out/link": "-> 1/a",
    } == tree(target)


def test_modes_and_times_stay(directory: Path, target: Path) -> None:
    """Executable, read-only and old files and directories arrive as they are."""
    fill(directory, "run.sh", "data/file")
    (directory / "run.sh").chmod(0o751)
    (directory / "data" / "file").chmod(0o400)
    (directory / "data").chmod(0o500)
    for path in ("run.sh", "data/file", "data"):
        os.utime(directory / path, (1_000_000_000, 1_100_000_000.5))

    assert (0, "") == run(directory, target, "*")
    modes = [stat.S_IMODE((target / path).stat().st_mode) for path in ("run.sh", "data/file", "data")]
    assert [0o751, 0o400, 0o500] == modes
    assert {1_100_000_000.5} == {(target / path).stat().st_mtime for path in ("run.sh", "data/file", "data")}


def test_a_directory_without_permission_to_write_is_moved(
    directory: Path, target: Path, require: Callable[[str], str]
) -> None:
    """Results that a task protected can be moved by the same ordinary user, and replaced when it runs again."""
    ordinary = [require("setpriv"), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    for text in ("old", "new"):
        fill(directory, "out/1/a", text=text)
        for path in ("out/1/a", "out/1", "out"):
            (directory / path).chmod(0o500)
        assert (0, "") == run(directory, target, "out", prefix=ordinary)
        if (directory / "out").exists():  # it was copied
            subprocess.run(["chmod", "-R", "u+w", directory], check=True)
            shutil.rmtree(directory / "out")

    assert {"out": None, "out/1": None, "out/1/a": "new"} == tree(target)
    assert 0o500 == stat.S_IMODE((target / "out").stat().st_mode)
    subprocess.run(["chmod", "-R", "u+w", target], check=True)


def test_what_is_there_is_replaced(directory: Path, target: Path) -> None:
    """A task that runs again replaces its results; of a directory nothing of before is left."""
    fill(target, "a", "out/b", "out/before", "others", text="old")
    fill(directory, "a", "out/b")

    assert (0, "") == run(directory, target, "a", "out")
    assert {"a": "new", "others": "old", "out": None, "out/b": "new"} == tree(target)


def test_a_glob_without_a_match_moves_nothing(directory: Path, target: Path) -> None:
    """The one line says which, and what there is instead."""
    fill(directory, "a", "b", "c", "d", "e", "f")

    holds = "its directory holds 'a', 'b', 'c', 'd', 'e' and more"
    expected = f"pytaskfarmer: copyout: nothing that the task made matches '*.root'; {holds}\n"
    assert (1, expected) == run(directory, target, "a", "*.root")
    assert not target.exists()


@pytest.mark.parametrize("glob", ["*", "**"])
def test_an_empty_directory_matches_nothing(glob: str, directory: Path, target: Path) -> None:
    """A task that made nothing at all has no results, whatever the glob."""
    expected = f"pytaskfarmer: copyout: nothing that the task made matches {glob!r}; its directory is empty\n"
    assert (1, expected) == run(directory, target, glob)


@pytest.mark.parametrize("glob", ["inputs/*", "**/*.dat"])
def test_what_is_behind_a_link_is_not_the_tasks(glob: str, directory: Path, target: Path, tmp_path: Path) -> None:
    """Inputs that a task linked into its directory are not moved away from where they are."""
    fill(tmp_path / "inputs", "precious.dat")
    (directory / "inputs").symlink_to(tmp_path / "inputs")

    status, said = run(directory, target, glob)
    assert (1, 1) == (status, said.count("\n"))
    assert {"precious.dat": "new"} == tree(tmp_path / "inputs")


def test_names_of_any_bytes(directory: Path, target: Path) -> None:
    """Blanks, newlines, characters of a glob, and bytes that are not UTF-8 are only names."""
    names = [b"a b", b"new\nline", b"[1]*", b"-rf", b"caf\xe9", "é".encode()]
    for name in names:
        Path(os.fsdecode(bytes(directory) + b"/" + name)).touch()

    assert (0, "") == run(directory, target, "*")
    assert sorted(names) == sorted(os.listdir(bytes(target)))


def test_rubbish_of_an_earlier_attempt_goes(directory: Path, target: Path) -> None:
    """What an attempt at the same task left when it was killed is removed, that of other tasks stays."""
    fill(target, f".pytaskfarmer-{TAG}/0123abcd/new/a", ".pytaskfarmer-13-abcdef01/0123abcd/new/a", text="half")
    fill(directory, "a")

    assert (0, "") == run(directory, target, "a")
    left = [".pytaskfarmer-13-abcdef01" + path for path in ("", "/0123abcd", "/0123abcd/new", "/0123abcd/new/a")]
    assert [*left, "a"] == sorted(tree(target))


@pytest.mark.parametrize("trap", ["a link", "a directory for all", "a directory of another user"])
def test_a_trap_of_somebody_who_may_write_there(directory: Path, target: Path, tmp_path: Path, trap: str) -> None:
    """Nothing is removed through what others have put where temporary files are to be, and nothing is moved."""
    fill(directory, "a")
    fill(tmp_path / "home", "precious/thesis")
    place = target / f".pytaskfarmer-{TAG}"
    target.mkdir(parents=True)
    if trap == "a link":
        place.symlink_to(tmp_path / "home")
    else:
        fill(place, "precious/thesis")
        place.chmod(0o777 if trap == "a directory for all" else 0o700)
        if trap == "a directory of another user":
            if os.geteuid():
                pytest.skip("only root can give a directory away")
            os.chown(place, 12345, 12345)
    status, said = run(directory, target, "a")
    assert (1, True) == (status, said.endswith("; remove it\n")), said
    assert {"a": "new"} == tree(directory)
    assert (place / "precious/thesis").exists()


def test_what_cannot_get_its_name_goes_back(directory: Path, target: Path) -> None:
    """Where a directory is in the way, the line names it, nothing temporary is left, and the result is not lost."""
    fill(target, "b/in the way")
    fill(directory, "b", "c")

    assert (1, f"pytaskfarmer: copyout: '{target}/b': Is a directory\n") == run(directory, target, "*")
    assert {"b": None, "b/in the way": "new"} == tree(target)
    assert {"b": "new", "c": "new"} == tree(directory)


def test_a_target_that_cannot_be_made(directory: Path, target: Path) -> None:
    """A file where the target is to be is named."""
    fill(target.parent.parent, "results")
    fill(directory, "a")

    assert (1, f"pytaskfarmer: copyout: '{target}': Not a directory\n") == run(directory, target, "a")


def test_a_full_disk_leaves_nothing(elsewhere: Path, target: Path) -> None:
    """If a copy does not fit, none of the results is published, and no part of one stays."""
    fill(elsewhere, "a")
    fill(elsewhere, "b", text="b" * 100_000)

    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]
    status, said = run(elsewhere, target, "*", prefix=limited)
    assert (1, 1, True) == (status, said.count("\n"), said.endswith(": File too large\n")), said
    assert {} == tree(target)
    assert ["a", "b"] == sorted(tree(elsewhere))


def test_what_cannot_be_copied(elsewhere: Path, target: Path) -> None:
    """A pipe in a directory of results is refused, instead of waiting for somebody to write to it."""
    fill(elsewhere, "out/a")
    os.mkfifo(elsewhere / "out" / "pipe")

    expected = f"pytaskfarmer: copyout: '{elsewhere}/out/pipe' is neither a file nor a directory nor a link\n"
    assert (1, expected) == run(elsewhere, target, "out")
    assert {} == tree(target)


def test_killed_while_it_copies(elsewhere: Path, target: Path, wait_until: Callable[..., None]) -> None:
    """No part of a result ever has its name, and the next attempt clears away what the kill left."""
    with open(elsewhere / "big", "wb") as file:
        file.truncate(2 << 30)
    command = [*COMMAND, elsewhere, target, TAG, "big"]
    with subprocess.Popen(command) as copying:
        wait_until(lambda: list(target.rglob("new/big")), hopeless=copying.poll)
        copying.kill()

    left = [path.name for path in target.iterdir()]
    assert [f".pytaskfarmer-{TAG}"] == left
    fill(elsewhere, "big", text="small")
    assert (0, "") == run(elsewhere, target, "big")
    assert {"big": "small"} == tree(target)
