"""Which INI files are obeyed: a definition makes us import code, and people keep them where others can write.

A file must belong to the user, to root, or to the owner of the task list, whose commands are to be run anyway; and it
must be writable by its owner only, or by a group that is the owner's alone (where the umask is 002, every file looks
like that). `--trust-ini` lifts the rule.

Owner and mode are those of the open file, so nobody can swap it in between. The directory is not looked at: whoever
can write there can add files and links of their own, which the rule refuses, or rename files that the user wrote.
Where it still fails: access that mode bits do not show, such as the access lists of NFSv4, and hard links to a file
of the user's with somebody else's contents (Linux forbids those unless fs.protected_hardlinks is off).
"""

import os
import stat
from collections.abc import Callable, Collection

Distrust = Callable[[str, os.stat_result], str | None]


def distrust(path: str, status: os.stat_result, owners: Collection[int] = ()) -> str | None:
    """Return why the file or link at `path` is not to be obeyed, and what to do; None if it is.

    `owners` are the ids of users who are trusted besides root and the user.
    """
    if status.st_uid not in {os.geteuid(), 0, *owners}:
        other = f"it belongs to another user (uid {status.st_uid})"
        return f"not trusted, since {other}; use a copy of your own, or --trust-ini"
    if stat.S_ISLNK(status.st_mode):  # its mode means nothing
        return None
    if status.st_mode & 0o002 or (status.st_mode & 0o020 and not _is_private(status.st_gid, status.st_uid)):
        mend = f"chmod go-w {_quoted(path)}"
        return f"not trusted, since others can write to it; if its contents are yours: {mend} (or use --trust-ini)"
    return None


def rule(tasklist: str | None = None, *, trust_all: bool = False) -> Distrust:
    """Return the rule for a command about `tasklist`, whose owner is to be trusted as well; `-` has none."""
    if trust_all:
        return lambda path, status: None
    owners: list[int] = []
    if tasklist not in {None, "-"}:
        try:
            owners.append(os.stat(str(tasklist)).st_uid)
        except (OSError, ValueError):  # what is wrong with the list is said by who reads it
            pass
    return lambda path, status: distrust(path, status, owners)


def _is_private(gid: int, uid: int) -> bool:
    """Return whether the group is the one that many systems make for each user, and has no other members."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and {*group.gr_mem} <= {user.pw_name}


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
