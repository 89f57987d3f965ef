import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pytaskfarmer.errors import FarmError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.runners.scratch import Scratch
from pytaskfarmer.task import Task

NODE = os.uname().nodename
HOLDER = """
import os, signal, sys, time
from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.scratch import Scratch
from pytaskfarmer.task import Task
scratch = Scratch(sys.argv[1])
directory = scratch.fresh(Task(7, ""), TaskContext(0, 1, "/w", {}))
os.makedirs(directory + "/deep/er")
open(directory + "/deep/er/file", "w").close()
os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
print(os.path.dirname(directory), flush=True)
signal.pause()
"""
CHURN = """
import os, sys
from pytaskfarmer.plugins.contracts import TaskContext
from pytaskfarmer.runners.scratch import Scratch
from pytaskfarmer.task import Task
for number in range(150):
    scratch = Scratch(sys.argv[1])
    directory = scratch.fresh(Task(number, ""), TaskContext(0, 1, "/w", {}))
    with open(directory + "/mine", "w") as file:
        file.write("whole")
    with open(directory + "/mine") as file:
        assert file.read() == "whole"
    scratch.finish(directory)(0)
    scratch.close()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "the node's disk"
    place.mkdir()
    return place


@pytest.fixture
def made() -> Iterator[list[Scratch]]:
    """Scratches to be closed at the end."""
    made: list[Scratch] = []
    yield made
    for scratch in made:
        scratch.close()


def fresh(scratch: Scratch, task: int = 3, attempt: int = 1) -> Path:
    return Path(scratch.fresh(Task(task, "a line"), TaskContext(0, attempt, "/somewhere", {})))


def run(command: Command | None, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Run what tidies up, and return its status and what it said; nothing to do is a success."""
    if command is None:
        return 0, ""
    environment = {**os.environ, **{name: value for name, value in command.environment.items() if value is not None}}
    program = command.program or command.argv[0]
    ended = subprocess.run(
        [*prefix, program, *command.argv[1:]],
        cwd=command.cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


class TestFresh:
    def test_nothing_is_made_before_it_is_needed(self, place: Path) -> None:
        """Making a runner leaves no trace, since the farmer's process comes later."""
        Scratch(str(place)).close()
        assert [] == names(place)

    def test_each_attempt_has_its_own(self, place: Path, made: list[Scratch]) -> None:
        """Directories are empty, closed to others, and different, also where one attempt asks twice."""
        made.append(Scratch(str(place)))
        directories = [fresh(made[0]), fresh(made[0]), fresh(made[0], attempt=2), fresh(made[0], task=4)]

        assert 4 == len(set(directories))
        assert [[]] * 4 == [names(directory) for directory in directories]
        assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in [*directories, directories[0].parent]}
        assert [directories[0].parent] == list(place.iterdir())

    def test_it_is_made_anew_after_a_cleaner(self, place: Path, made: list[Scratch]) -> None:
        """Whoever cleans the disk meanwhile costs the tasks that run, not those that follow."""
        made.append(Scratch(str(place)))
        shutil.rmtree(fresh(made[0]).parent)
        assert fresh(made[0]).is_dir()

    def test_a_place_that_went_away_is_one_line(self, place: Path, made: list[Scratch]) -> None:
        """Where nothing can be made, the attempt fails with the reason."""
        made.append(Scratch(str(place)))
        place.rmdir()
        with pytest.raises(FarmError) as caught:
            fresh(made[0])
        expected = f"no directory for the task can be made below {place}: No such file or directory"
        assert expected == str(caught.value)

    def test_below_tmpdir(self, place: Path, made: list[Scratch], monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a place, $TMPDIR is the place, and where that is no directory of this node, /tmp."""
        monkeypatch.setenv("TMPDIR", str(place))
        made.append(Scratch())
        monkeypatch.setenv("TMPDIR", str(place / "on another node"))
        made.append(Scratch())

        assert [place, Path("/tmp")] == [fresh(scratch).parent.parent for scratch in made]


class TestFinish:
    def test_an_empty_directory_costs_no_process(self, place: Path, made: list[Scratch]) -> None:
        """What a task left empty, or removed itself, is gone without one."""
        made.append(Scratch(str(place)))
        empty, gone = fresh(made[0]), fresh(made[0])
        gone.rmdir()

        assert [None, None] == [made[0].finish(str(directory))(0) for directory in (empty, gone)]
        assert not empty.exists()

    def test_a_full_one_is_removed_by_a_process(self, place: Path, made: list[Scratch]) -> None:
        """Trees go, links in them are not followed, and nothing is said."""
        made.append(Scratch(str(place)))
        directory = fresh(made[0])
        (directory / "a b" / "c").mkdir(parents=True)
        (directory / "-rf").touch()
        (place / "precious").touch()
        (directory / "link").symlink_to(place)

        assert (0, "") == run(made[0].finish(str(directory))(0))
        assert not directory.exists()
        assert (place / "precious").exists()

    def test_directories_without_permissions_are_removed(
        self, place: Path, made: list[Scratch], require: Callable[[str], str]
    ) -> None:
        """What the task closed to itself is opened and removed, and the task is not blamed."""
        made.append(Scratch(str(place)))
        directory = fresh(made[0])
        (directory / "closed" / "too").mkdir(parents=True)
        (directory / "closed" / "too" / "file").touch()
        for path in (directory / "closed" / "too", directory / "closed", directory):
            path.chmod(0)
        ordinary = [require("setpriv"), "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
        assert 0 != subprocess.run([*ordinary, "ls", directory], stderr=subprocess.DEVNULL, check=False).returncode

        assert (0, "") == run(made[0].finish(str(directory))(0), ordinary)
        assert not directory.exists()

    @pytest.mark.parametrize(
        ("keep", "status", "kept"),
        [
            ("never", 0, False),
            ("never", 1, False),
            ("failed", 0, False),
            ("failed", 1, True),
            ("failed", -15, True),
            ("always", 0, True),
            ("always", 1, True),
        ],
    )
    def test_what_is_kept(self, keep: str, status: int, kept: bool, place: Path, made: list[Scratch]) -> None:
        """A kept directory outlives its farmer, under the name that the log has; any other is gone."""
        made.append(Scratch(str(place), keep))
        directory = fresh(made[0])
        (directory / "result").write_text("here")
        ended, said = run(made[0].finish(str(directory))(status))
        made[0].close()
        told = re.fullmatch(rf"pytaskfarmer: kept the directory of this task: (.+) on {NODE}\n", said)

        assert (0, kept) == (ended, told is not None)
        assert ([told[1]] if told else []) == [str(path) for path in place.iterdir()]
        assert told is None or Path(told[1], "result").read_text() == "here"

    def test_what_is_to_be_done_first(self, place: Path, made: list[Scratch]) -> None:
        """The runner's own tidying up learns the status, runs as it asks to, before the directory goes."""
        made.append(Scratch(str(place)))
        directory = fresh(made[0])
        script = 'echo "$0 $1 $COLOUR $(pwd)"; ls "$2"'
        argv = ("zeroth", "-c", script, "first", "a  word", str(directory))

        def also(status: int) -> Command:
            return Command((*argv, str(status)), "/bin/sh", {"COLOUR": "green"}, cwd=str(place))

        (directory / "file").touch()

        assert (0, f"first a  word green {place}\nfile\n") == run(made[0].finish(str(directory), also)(0))
        assert not directory.exists()

    @pytest.mark.parametrize(("keep", "left"), [("never", 0), ("failed", 1)])
    def test_a_failure_of_that_is_the_tasks(self, keep: str, left: int, place: Path, made: list[Scratch]) -> None:
        """Its status is that of tidying up, and what is kept of failed attempts is kept then too."""
        made.append(Scratch(str(place), keep))
        directory = fresh(made[0])
        (directory / "file").touch()
        status, _ = run(made[0].finish(str(directory), lambda status: Command(("sh", "-c", "exit 5")))(0))
        made[0].close()

        assert (5, left) == (status, len(names(place)))

    def test_nothing_to_be_done_first(self, place: Path, made: list[Scratch]) -> None:
        """A runner may decide that there is nothing, for this status."""
        made.append(Scratch(str(place)))
        directory = fresh(made[0])
        assert None is made[0].finish(str(directory), lambda status: None)(1)
        assert not directory.exists()

    def test_close_removes_all_that_is_left(self, place: Path) -> None:
        """Directories whose tidying up never ran go with the farmer."""
        scratch = Scratch(str(place))
        (fresh(scratch) / "deep").mkdir()
        fresh(scratch, task=4)
        scratch.close()
        scratch.close()
        assert [] == names(place)


class TestAbandoned:
    @pytest.fixture
    def hold(self, place: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
        """Return what starts a farmer that has a directory, with a task in it, and prints the directory's path."""
        with contextlib.ExitStack() as stack:

            def start() -> "subprocess.Popen[str]":
                farmer = stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", HOLDER, place], stdout=subprocess.PIPE, text=True, start_new_session=True
                    )
                )
                stack.callback(os.killpg, farmer.pid, signal.SIGKILL)
                return farmer

            yield start

    def test_what_a_killed_farmer_left_is_removed(
        self, place: Path, made: list[Scratch], hold: Callable[[], "subprocess.Popen[str]"]
    ) -> None:
        """The next farmer's first task takes it along, though a task of the dead lives on; the living keep theirs."""
        dead, alive = hold(), hold()
        left, kept = (Path(farmer.stdout.readline().strip()) for farmer in (dead, alive) if farmer.stdout)
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait()
        made.append(Scratch(str(place)))
        directory = fresh(made[0])
        finish = made[0].finish(str(directory))

        assert not left.exists()
        assert (0, "") == run(finish(0))
        assert (kept / "7.1" / "deep" / "er" / "file").exists()
        assert [] == names(directory.parent)

    def test_what_nobody_removed_goes_with_the_next(
        self, place: Path, hold: Callable[[], "subprocess.Popen[str]"]
    ) -> None:
        """A farmer that ends before its first task did removes what it found all the same."""
        dead = hold()
        assert dead.stdout is not None
        dead.stdout.readline()
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait()
        scratch = Scratch(str(place))
        fresh(scratch)
        scratch.close()

        assert [] == names(place)

    def test_what_is_no_such_directory_is_left_alone(self, place: Path, made: list[Scratch]) -> None:
        """Links, files, kept directories, and those of other machines are not touched, whatever they are called."""
        made += [Scratch(str(place)), Scratch(str(place))]
        mine = fresh(made[0]).parent.name.rpartition("-")[0]
        (place / f"{mine}-file").touch()
        (place / "elsewhere").mkdir()
        (place / f"{mine}-link").symlink_to(place / "elsewhere")
        (place / "pytaskfarmer-kept-12345678-1.1").mkdir()
        (place / "pytaskfarmer-00000000-12345678").mkdir()
        before = names(place)
        new = fresh(made[1]).parent

        assert sorted([*before, new.name]) == names(place)

    def test_farmers_that_begin_at_once_do_not_rob_each_other(self, place: Path) -> None:
        """A directory that has been handed out stays, however many look for abandoned ones at that moment."""
        farmers = [
            subprocess.Popen([sys.executable, "-c", CHURN, place], stderr=subprocess.PIPE, text=True) for _ in range(4)
        ]
        said = [farmer.communicate()[1] for farmer in farmers]

        assert ["", "", "", ""] == said
        assert [] == names(place)


class TestWanted:
    @pytest.mark.parametrize("word", [None, False, "", "no", "False", "off", "0"])
    def test_no(self, word: str | bool | None) -> None:
        """Without the option there are no directories."""
        assert None is Scratch.wanted(word, "never")

    @pytest.mark.parametrize("word", [True, "yes", "True", "ON", "1"])
    def test_yes(self, word: str | bool, place: Path, made: list[Scratch], monkeypatch: pytest.MonkeyPatch) -> None:
        """A yes means the node's own place."""
        monkeypatch.setenv("TMPDIR", str(place))
        wanted = Scratch.wanted(word, "never")
        assert wanted is not None
        made.append(wanted)
        assert place == fresh(wanted).parent.parent

    def test_a_path(self, place: Path, made: list[Scratch], monkeypatch: pytest.MonkeyPatch) -> None:
        """A path may have a variable of the batch system in it."""
        monkeypatch.setenv("NODES_DISK", str(place.parent))
        wanted = Scratch.wanted(f"$NODES_DISK/{place.name}", "never")
        assert wanted is not None
        made.append(wanted)
        assert place == fresh(wanted).parent.parent

    @pytest.mark.parametrize(
        ("tempdir", "keep", "message"),
        [
            ("ture", "never", "tempdir is 'ture'; it must be true, false, or the absolute path of a directory"),
            ("no", "failed", "keep is about the directories of tasks; it needs tempdir = true"),
            ("/tmp", "sometimes", "keep is 'sometimes'; it must be one of never, failed, always"),
            ("/no/such", "never", "tempdir: '/no/such' is not a directory of this node in which you can create files"),
            (
                "$NO_SUCH/x",
                "never",
                "tempdir is '$NO_SUCH/x', and the environment lacks a variable of it; set it or name another path",
            ),
        ],
    )
    def test_neither(self, tempdir: str, keep: str, message: str) -> None:
        """Anything else is one line."""
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            Scratch.wanted(tempdir, keep)
