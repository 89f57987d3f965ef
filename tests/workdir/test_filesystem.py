"""The mount table, and what locks are worth: tables of lines as they stand in /proc/self/mountinfo."""

import subprocess
from pathlib import Path

import pytest

from pytaskfarmer.workdir.filesystem import LockWorth, Mount, mount_of, verdict

TABLE = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k,mode=755
25 24 0:23 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,size=24684084k
40 27 0:40 / /scratch rw,relatime shared:12 master:3 - lustre 10.1.1.67@tcp:/xeo3 rw,checksum,flock,lazystatfs
41 27 0:41 / /home rw,relatime - nfs4 nas:/home rw,vers=4.2,hard,proto=tcp,sec=sys,local_lock=none,addr=10.0.0.1
42 41 0:42 / /home/ann rw,relatime - nfs nas:/ann rw,vers=3,hard,local_lock=all,addr=10.0.0.1
43 27 0:43 / /mnt/my\040disk\134 rw - xfs /dev/sd\011b rw
44 27 0:44 / /mnt rw,nodev propagate_from:2 unbindable - btrfs /dev/sdc rw
45 44 0:45 / /mnt/over rw - ext3 /dev/sdd rw
46 45 0:46 / /mnt/over rw - ceph 10.0.0.1:6789:/ rw,name=admin
47 27 0:47 / /opt/a rw - xfs /dev/sde rw
48 27 0:48 / /opt/a rw - zfs tank/a rw
49 27 0:49 / /data rw - autofs systemd-1 rw,fd=49,direct
50 49 0:50 / /data rw - gpfs store04 rw
garbage
99 27 0:99 / /cut rw
"""


@pytest.mark.parametrize(
    ("path", "point", "fstype"),
    [
        ("/", "/", "ext4"),
        ("/usr/lib", "/", "ext4"),
        ("/dev/shm/x", "/dev/shm", "tmpfs"),
        ("/dev/shmx", "/dev", "devtmpfs"),
        ("/scratch/run/workdir", "/scratch", "lustre"),
        ("/scratch", "/scratch", "lustre"),
        ("/home/bob", "/home", "nfs4"),
        ("/home/ann/work", "/home/ann", "nfs"),
        ("/home/anna", "/home", "nfs4"),
        ("/mnt/my disk\\/x", "/mnt", "btrfs"),  # a later mount on /mnt hides it
        ("/mnt/over/x", "/mnt/over", "ceph"),
        ("/opt/a/x", "/opt/a", "zfs"),
        ("/data/x", "/data", "gpfs"),
        ("/cut/x", "/", "ext4"),
    ],
)
def test_a_path_is_found_on_the_mount_that_the_kernel_would_use(path: str, point: str, fstype: str) -> None:
    """The deepest visible mount holds a path: overmounts win, hidden ones and damaged lines do not count."""
    found = mount_of(path, TABLE)
    assert (point, fstype) == (found.point, found.fstype)


def test_escapes_and_both_sets_of_options_are_read() -> None:
    """Blanks and backslashes of names come back, and options of the mount and of the file system are one set."""
    line = r"43 27 0:43 / /mnt/my\040disk\134 rw,nodev shared:1 - xfs /dev/sd\011b rw,noquota"
    expected = Mount("/mnt/my disk\\", "xfs", frozenset({"rw", "nodev", "noquota"}), "/dev/sd\tb")
    assert expected == mount_of("/mnt/my disk\\/x", line)


@pytest.mark.parametrize("table", ["", "nonsense\n", "1 1 0:2 / / rw - rootfs rootfs rw\n"])
def test_a_poor_table_is_no_error(table: str) -> None:
    """Without a usable line the type is empty, and locks are believed; a mount on itself is a root."""
    found = mount_of("/x", table)
    assert ("/", "rootfs" if table.startswith("1") else "") == (found.point, found.fstype)
    assert verdict(found).shared


@pytest.mark.parametrize("path", ["/", "/proc/self", "/dev/shm"])
def test_this_machines_table_agrees_with_df(path: str) -> None:
    """For real paths the answer is the one that `df` gives."""
    shown = subprocess.run(["df", "--output=fstype,target", path], capture_output=True, text=True, check=True).stdout
    fstype, point = shown.splitlines()[1].split()
    found = mount_of(path)
    assert (fstype, point) == (found.fstype, found.point)


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    """A work directory reached through a link is judged by where it lies."""
    link = tmp_path / "link"
    link.symlink_to("/proc/self")
    assert "proc" == mount_of(str(link)).fstype


LOCAL = "local disk"
REACH = "locks reach all"
STAY = "locks stay here"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tmpfs tmpfs rw,size=24684084k", LOCAL),
        ("ext4 /dev/sda1 rw,stripe=64", LOCAL),
        ("xfs /dev/mapper/root rw,attr2,inode64,noquota", LOCAL),
        ("btrfs /dev/sda2 rw,subvol=/@home", LOCAL),
        ("zfs rpool/ROOT/ubuntu rw,xattr,posixacl", LOCAL),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w", LOCAL),
        ("fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0,group_id=0", LOCAL),
        ("fuseblk /dev/sdc1 rw", LOCAL),
        ("lustre 10.1.1.67@tcp:/fs rw,seclabel,checksum,flock,nouser_xattr,lruresize,lazystatfs", REACH),
        ("lustre 10.0.0.1@tcp:/fs rw,user_xattr", REACH),
        ("lustre 10.0.0.1@tcp:/fs rw,localflock,user_xattr", STAY),
        ("lustre 10.0.0.1@tcp:/fs rw,noflock", STAY),
        ("nfs4 nas:/home rw,vers=4.1,hard,proto=tcp,sec=sys,clientaddr=10.0.0.2,local_lock=none,addr=10.0.0.1", REACH),
        ("nfs nas:/home rw,vers=3,hard,mountproto=udp,local_lock=none,addr=10.0.0.1", REACH),
        ("nfs nas:/home rw,vers=3,hard,local_lock=posix,addr=10.0.0.1", REACH),
        ("nfs nas:/home rw,vers=3,hard,nolock,local_lock=all,addr=10.0.0.1", STAY),
        ("nfs nas:/home rw,vers=3,hard,local_lock=flock,addr=10.0.0.1", STAY),
        ("nfs4 nas:/home rw,vers=4.0,local_lock=all,addr=10.0.0.1", STAY),
        ("gpfs store04 rw", REACH),
        ("ceph 10.0.0.1:6789:/ rw,name=admin,secret=<hidden>,acl", REACH),
        ("gfs2 /dev/vg/lv rw", REACH),
        ("gfs2 /dev/vg/lv rw,localflocks", STAY),
        ("beegfs beegfs_nodev rw,cfgFile=/etc/beegfs/beegfs-client.conf", STAY),
        ("beegfs_ondemand beegfs_ondemand rw", STAY),
        ("fuse.glusterfs 10.0.0.1:/vol rw,user_id=0,group_id=0,default_permissions,allow_other,max_read=131072", REACH),
        ("fuse.ceph-fuse ceph-fuse rw,user_id=0,group_id=0,allow_other", REACH),
        ("fuse.sshfs user@host:/data rw,user_id=1000,group_id=1000", STAY),
        ("fuse.s3fs s3fs rw,nosuid,nodev", STAY),
        ("fuse https://dav.example.com rw", STAY),
        ("9p share rw,trans=virtio,version=9p2000.L", STAY),
        ("virtiofs share rw", STAY),
        ("cifs //server/share rw,vers=3.1.1", REACH),
        ("cifs //server/share rw,vers=3.1.1,nobrl", STAY),
        ("afs #root.cell rw,flock=local", STAY),
        ("newfs somewhere rw", REACH),
    ],
)
def test_the_worth_of_locks(line: str, expected: str) -> None:
    """Locks are believed, unless the mount table says, or cannot deny, that they stay on one node."""
    worth = verdict(mount_of("/w/x", f"5 1 0:5 / /w rw,relatime shared:9 - {line}"))
    found = LOCAL if worth.local_disk else REACH if worth.shared else STAY
    assert expected == found
    assert worth.shared or not worth.local_disk


def test_the_reason_names_place_type_and_option() -> None:
    """A person reads which mount is meant, and which option is to blame."""
    worth = verdict(Mount("/scratch", "lustre", frozenset({"rw", "localflock"}), "s"))
    expected = LockWorth(False, False, "/scratch (lustre) is mounted with localflock, so locks stay on one node")
    assert expected == worth
