import pytest
from desk import COMMAND, FARM, Desk


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
