import os
import stat
from pathlib import Path

import pytest

from pytaskfarmer.plugins.trust import distrust, rule


def status(mode: int = 0o644, uid: int | None = None, gid: int | None = None) -> os.stat_result:
    """Return what `os.stat` would say of a file of the user's own, or of another's."""
    uid, gid = os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid
    kind = 0 if stat.S_IFMT(mode) else stat.S_IFREG
    return os.stat_result((kind | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o755])
def test_own_files_are_trusted(mode: int) -> None:
    """A file of the user's that only the user can write to is trusted."""
    assert None is distrust("my.ini", status(mode))


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o602, 0o777])
def test_a_file_that_anybody_can_write_to_is_not_trusted(mode: int) -> None:
    """Whoever owns it."""
    assert "chmod go-w my.ini" in str(distrust("my.ini", status(mode)))


def test_a_file_that_a_group_can_write_to_is_not_trusted() -> None:
    """A group that is not the owner's alone may have anybody as a member."""
    assert "chmod go-w my.ini" in str(distrust("my.ini", status(0o664, gid=987_654)))


def test_a_group_of_the_users_alone_may_write() -> None:
    """The group that has the owner's name, is the owner's first one and has no other member, is the owner."""
    assert None is distrust("my.ini", status(0o664, uid=0, gid=0))


def test_a_file_of_another_user_is_not_trusted() -> None:
    """A file that belongs neither to the user nor to root is refused, and so is a link to the user's own file."""
    other = os.geteuid() + 4321
    for mode in (0o644, stat.S_IFLNK | 0o777):
        assert f"uid {other}" in str(distrust("my.ini", status(mode, uid=other)))


def test_a_file_of_root_or_of_a_named_owner_is_trusted() -> None:
    """Root, and users that the caller trusts, may define names."""
    assert None is distrust("my.ini", status(uid=0))
    assert None is distrust("my.ini", status(uid=4321), owners=[4321])


def test_the_mode_of_a_link_means_nothing() -> None:
    """A link of the user's own is trusted, although links look writable for everybody."""
    assert None is distrust("my.ini", status(stat.S_IFLNK | 0o777))


@pytest.mark.parametrize(("mode", "uid"), [(0o666, None), (0o644, 4321)])
def test_whatever_is_refused_names_the_option_that_lifts_the_rule(mode: int, uid: int | None) -> None:
    """Both reasons end with the way out, in one line."""
    reason = str(distrust("my.ini", status(mode, uid=uid)))
    assert "--trust-ini" in reason
    assert "\n" not in reason


class TestRule:
    def test_the_owner_of_the_list_is_trusted(self, tmp_path: Path) -> None:
        """Whose commands are to be run may define how; nobody else of the others may."""
        (tmp_path / "tasks.txt").touch()
        if os.geteuid() == 0:
            os.chown(tmp_path / "tasks.txt", 4321, -1)
        owner = (tmp_path / "tasks.txt").stat().st_uid
        trusts = rule(str(tmp_path / "tasks.txt"))
        assert None is trusts("my.ini", status(uid=owner))
        assert "uid 4322" in str(trusts("my.ini", status(uid=4322)))
        assert "others can write" in str(trusts("my.ini", status(0o666, uid=owner)))

    @pytest.mark.parametrize("tasklist", [None, "-", "missing.txt", "nul\0.txt"])
    def test_without_a_list_there_is_no_such_owner(self, tasklist: str | None) -> None:
        """A list that is standard input, or is not there, makes nobody trusted."""
        trusts = rule(tasklist)
        assert None is trusts("my.ini", status())
        assert "uid 4321" in str(trusts("my.ini", status(uid=4321)))

    def test_the_rule_can_be_lifted(self) -> None:
        """With `--trust-ini` every file is obeyed."""
        assert None is rule("tasks.txt", trust_all=True)("my.ini", status(0o666, uid=4321))
