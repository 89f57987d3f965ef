"""The mount table, and what kernel locks are worth on the file system of a work directory.

`flock` is believed unless the mount table says that it stays on one node. What the table cannot say (BeeGFS and most
FUSE file systems keep locks on the node unless a configuration elsewhere says otherwise) counts as staying there. A
file system nobody has heard of is believed too: there the proof against lies of the lock's own users has to do.
"""

import os
import re
from dataclasses import dataclass

_LINUX_DISKS = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "reiserfs", "xfs", "zfs")
_FOREIGN_DISKS = ("exfat", "fuseblk", "ntfs3", "vfat")
_MEMORY = ("devtmpfs", "ramfs", "rootfs", "tmpfs")
_LAYERS = ("aufs", "fuse.fuse-overlayfs", "overlay", "overlayfs")
_LOCAL_DISKS = frozenset((*_LINUX_DISKS, *_FOREIGN_DISKS, *_MEMORY, *_LAYERS))
_REACHING = frozenset(("ceph", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2"))
_REACHING_FUSE = frozenset(("fuse.ceph-fuse", "fuse.glusterfs", "fuse.juicefs"))
_STAYING = frozenset(("9p", "prl_fs", "vboxsf", "virtiofs"))
_STAYING_WITH = {
    "afs": ("flock=local",),
    "cifs": ("nobrl",),
    "gfs2": ("localflocks", "lockproto=lock_nolock"),
    "lustre": ("localflock", "noflock"),
    "nfs": ("nolock", "local_lock=flock", "local_lock=all"),
    "nfs4": ("nolock", "local_lock=flock", "local_lock=all"),
    "ocfs2": ("localflocks",),
    "smb3": ("nobrl",),
}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system; `options` are those of the mount and those of the file system together."""

    point: str
    fstype: str
    options: frozenset[str]
    source: str


@dataclass(frozen=True, slots=True)
class LockWorth:
    """What a kernel lock (`flock`) on a file there is worth.

    `local_disk`: no other node sees the files. `shared`: everybody who can see a file also sees a lock on it, so a
    local disk's locks are. `reason` says why, without a full stop.
    """

    local_disk: bool
    shared: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Line:
    id: str
    parent: str
    mount: Mount


def mount_of(path: str, mountinfo: str | None = None) -> Mount:
    """Return the mount that holds an absolute path.

    `mountinfo` is the text of a /proc/PID/mountinfo, where `path` has no symbolic links; None reads this process's own
    and resolves them. Follows the path from the root as the kernel does, from each mount to the first that stands on
    it, so that what a later mount hides is not found. Without an answer the type is "".
    """
    if mountinfo is None:
        mountinfo, path = _read_mountinfo(), os.path.realpath(path)
    lines = [line for text in mountinfo.split("\n") if (line := _parse(text))]
    ids = {line.id for line in lines}
    here = "", Mount("/", "", frozenset(), "")
    left = [line for line in lines if _holds(line.mount.point, path)]
    while True:
        on_it = [line for line in left if line.parent == here[0] or (not here[0] and _is_top(line, ids))]
        if not on_it:
            return here[1]
        # Of two on the same point and parent, the later one is on top.
        first = min(reversed(on_it), key=lambda line: len(line.mount.point))
        left.remove(first)
        here = first.id, first.mount


def verdict(mount: Mount) -> LockWorth:
    """Return what kernel locks below a mount are worth."""
    fstype = mount.fstype
    place = f"{mount.point} ({fstype or 'of unknown type'})"
    if fstype in _LOCAL_DISKS:
        return LockWorth(True, True, f"{place} is a disk of this node alone")
    for option in _STAYING_WITH.get(fstype, ()):
        if option in mount.options:
            return LockWorth(False, False, f"{place} is mounted with {option}, so locks stay on one node")
    if fstype.startswith("beegfs"):
        unless = "unless its client sets tuneUseGlobalFileLocks, which the mount table does not show"
        return LockWorth(False, False, f"on {place} locks stay on one node, {unless}")
    if fstype in _REACHING | _REACHING_FUSE:
        return LockWorth(False, True, f"on {place} locks reach all nodes")
    if fstype in _STAYING or fstype.split(".")[0] == "fuse":
        return LockWorth(False, False, f"on {place} locks stay on one node, as far as the mount table shows")
    return LockWorth(False, True, f"on {place} locks are believed to reach all nodes")


def _read_mountinfo() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            return table.read()
    except OSError:
        return ""


def _parse(text: str) -> _Line | None:
    front, dash, back = text.partition(" - ")
    fields, rest = front.split(" "), back.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 2:
        return None
    options = frozenset(fields[5].split(",")) | frozenset(rest[2].split(",") if len(rest) > 2 else ())
    return _Line(fields[0], fields[1], Mount(_plain(fields[4]), rest[0], options, _plain(rest[1])))


def _plain(field: str) -> str:
    """Undo the octal escapes of blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _holds(point: str, path: str) -> bool:
    return point in {"/", path} or path.startswith(point + "/")


def _is_top(line: _Line, ids: set[str]) -> bool:
    return line.parent not in ids or line.parent == line.id
