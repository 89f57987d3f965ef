"""Whose work directory it is: what stands in `toprocess` is run as the user, so a stranger's must not be believed.

Where everybody may make directories, as on many scratch disks, somebody else may have made the one that a list would
use. In a directory for a group, whoever may make a work directory may also replace the list; people there trust one
another, and share work directories.
"""

import os
import stat
from collections.abc import Collection

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.workdir.layout import Layout


def refuse_strangers(layout: Layout, owners: Collection[int] = ()) -> None:
    """Raise `WorkdirError` if a stranger has made the work directory, or a link of its name, where everybody can.

    No strangers are the user, root, and the users with the ids `owners`. Ask when it is there: in a sticky directory,
    what is not a stranger's then will not become one's.
    """
    try:
        makers = {os.lstat(layout.root).st_uid, os.stat(layout.root).st_uid}
        above = os.stat(os.path.dirname(layout.root))
    except OSError:  # it is made, or said, later on
        return
    strangers = makers - {os.geteuid(), 0, *owners}
    if strangers and above.st_mode & stat.S_IWOTH:
        raise WorkdirError(
            f"{layout.root}: another user (uid {min(strangers)}) has made this work directory, where everybody can "
            "make one; what it holds would run as you. Use --workdir to name another place."
        )
