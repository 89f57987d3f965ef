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
    """Raise `WorkdirError` if a stranger has made the work directory where everybody can.

    No strangers are the user, root, and the users with the ids `owners`.
    """
    try:
        facts = os.stat(layout.root)
        above = os.stat(os.path.dirname(layout.root))
    except OSError:  # it is made, or said, later on
        return
    if facts.st_uid not in {os.geteuid(), 0, *owners} and above.st_mode & stat.S_IWOTH:
        raise WorkdirError(
            f"{layout.root}: another user (uid {facts.st_uid}) has made this work directory, where everybody can make "
            "one; what it holds would run as you. Use --workdir to name another place."
        )
