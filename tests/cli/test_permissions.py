import os
import signal
from collections.abc import Callable

import pytest
from desk import COMMAND, FARM, Desk

from pytaskfarmer import Pool
from pytaskfarmer.errors import WorkdirError


@pytest.fixture
def desk(ordinary_desk: Desk) -> Desk:
    ordinary_desk.write("tasks.txt", "echo one >> ran")
    return ordinary_desk


def test_an_unreadable_list_is_refused(desk: Desk) -> None:
    """A list that may not be read is named, with the reason."""
    desk.write("secret.txt", "true")
    (desk / "secret.txt").chmod(0)
    ended = desk.run(FARM, "secret.txt")
    expected = f"pytaskfarmer: error: {desk.place}/secret.txt: cannot read the task list: Permission denied.\n"
    assert (2, "", expected) == (ended.status, ended.out, ended.err)
    assert not (desk / "secret.txt_workdir").exists()


@pytest.mark.parametrize("command", ["run tasks.txt -w farm/below", "run tasks.txt -w farm", "run - -w farm/below"])
def test_a_directory_that_cannot_be_written_is_refused(desk: Desk, command: str) -> None:
    """Where the work directory cannot be made, it is named with the reason."""
    (desk / "farm").mkdir(mode=0o555)
    message = desk.error(COMMAND, *command.split(), stdin="echo two >> ran\n")
    assert message.startswith(f"{desk.place}/farm")
    assert "Permission denied" in message


@pytest.mark.parametrize(("name", "mode"), [("", 0), ("lock", 0o444), ("claims", 0o555), ("finished", 0)])
def test_a_work_directory_of_somebody_else_is_refused(desk: Desk, name: str, mode: int) -> None:
    """Where a file of the work directory may not be used, a resuming farmer says which, and changes nothing."""
    desk.farm("tasks.txt")
    before = desk.tree()
    locked = desk / "tasks.txt_workdir" / name
    locked.chmod(mode)
    ended = desk.run(FARM, "tasks.txt", "--retry-failed")
    locked.chmod(0o755)
    assert (2, "", 1) == (ended.status, ended.out, ended.err.count("\n")), ended
    assert str(locked) in ended.err
    assert "permission denied" in ended.err.lower()
    assert before == desk.tree()


def test_a_move_that_is_refused_halfway_loses_nothing(desk: Desk) -> None:
    """Where a failed task cannot be put back, since `toprocess` may not be written, the next run puts it back."""
    desk.write("tasks.txt", "echo one", "echo two >> ran; [ -e mended ]")
    desk.farm("tasks.txt", status=1)
    (desk / "tasks.txt_workdir/toprocess").chmod(0o444)
    ended = desk.run(FARM, "tasks.txt", "--retry-failed")
    assert (2, 1) == (ended.status, ended.err.count("\n")), ended
    assert "toprocess" in ended.err
    (desk / "tasks.txt_workdir/toprocess").chmod(0o644)
    (desk / "mended").touch()
    desk.farm("tasks.txt", "--retry-failed")
    assert [0, 1] == desk.ids("tasks.txt_workdir/finished")
    assert ["two", "two"] == desk.lines("ran")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("status farm", "finished"),
        ("logs farm 0", ""),
        ("retry farm", "finished"),
        ("run tasks.txt -w farm --dry-run", "finished"),
    ],
)
def test_those_who_only_look_say_what_they_may_not_read(desk: Desk, command: str, name: str) -> None:
    """A command that may not read the work directory says so in one line, instead of calling it something else."""
    desk.farm("tasks.txt", "-w", "farm")
    (desk / "farm" / name).chmod(0)
    ended = desk.run(COMMAND, *command.split())
    (desk / "farm" / name).chmod(0o755)
    assert (2, "", 1) == (ended.status, ended.out, ended.err.count("\n")), ended
    assert "permission denied" in ended.err.lower()


STRANGER = 23456


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
class TestStrangers:
    """Somebody else has made the work directory of a list, and filled it."""

    @pytest.fixture
    def planted(self, desk: Desk) -> Desk:
        """A desk in a directory where everybody can make files, and on it a work directory of a stranger."""
        desk.farm("tasks.txt")
        self.give(desk, "tasks.txt_workdir")
        os.chmod(desk.place, 0o1777)
        return desk

    def give(self, desk: Desk, name: str) -> None:
        """Let a file, or a tree, belong to the stranger."""
        desk.prefix = []
        for path in (desk / name, *(desk / name).rglob("*")):
            os.chown(path, STRANGER, STRANGER)

    def test_is_not_believed(self, planted: Desk) -> None:
        """Where everybody could make it, it is refused with the way out: its tasks would run as the user."""
        expected = (
            f"{planted.place}/tasks.txt_workdir: another user (uid {STRANGER}) has made this work directory, where "
            "everybody can make one; what it holds would run as you. Use --workdir to name another place."
        )
        assert expected == planted.error(FARM, "tasks.txt")
        assert expected == planted.error(COMMAND, "submit", "tasks.txt", "--engine", "slurm")
        with pytest.raises(WorkdirError, match="another user"):
            Pool(1, workdir=planted / "tasks.txt_workdir")

    def test_nor_is_a_link_of_theirs(self, planted: Desk) -> None:
        """A link that a stranger has put there is refused, wherever it leads."""
        (planted / "tasks.txt_workdir").rename(planted / "elsewhere")
        (planted / "tasks.txt_workdir").symlink_to(planted / "elsewhere")
        for path in (planted / "elsewhere", *(planted / "elsewhere").rglob("*")):
            os.chown(path, 0, 0)
        os.lchown(planted / "tasks.txt_workdir", STRANGER, STRANGER)
        assert "another user" in planted.error(FARM, "tasks.txt")

    def test_is_shared_in_a_directory_for_some(self, planted: Desk) -> None:
        """Where only those can make one who could replace the list, too, people share work directories."""
        os.chmod(planted.place, 0o775)
        assert "1 done before" in planted.farm("tasks.txt").out

    def test_with_a_list_of_theirs_is_theirs(self, planted: Desk) -> None:
        """Who runs somebody else's list believes that user."""
        self.give(planted, "tasks.txt")
        assert "1 done before" in planted.farm("tasks.txt").out


def test_locks_are_not_for_others(desk: Desk, wait_until: Callable[..., None]) -> None:
    """Nobody but owner and group can open the files that are locked, so nobody else can keep them locked."""
    desk.write("tasks.txt", "touch begun; sleep 100")
    farmer = desk.start(FARM, "tasks.txt")
    wait_until((desk / "begun").exists)
    locks = [desk / "tasks.txt_workdir/lock", *(desk / "tasks.txt_workdir/claims").glob("*.lock")]
    assert [0, 0] == [path.stat().st_mode & 0o007 for path in locks]
    desk.end(farmer, signal.SIGTERM)
