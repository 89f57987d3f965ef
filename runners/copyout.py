"""Moves what a task made in its own directory to where it is wanted. Run by its path, as a program of its own.

Invariant: under a name in the target directory is a whole file of one attempt, or none, whenever this is killed.

What does not work. Copying to the name itself: a reader, or the next run, takes half a file for a result. A temporary
name that is always the same: an attempt that was given up, but still copies, would write into the file of the next. One
that is never the same: what was killed leaves rubbish for ever.

What we do. Everything is first brought to TARGET/.pytaskfarmer-TAG/RANDOM/, by a rename or by copying and `fsync`, and
only then, each by a rename, to its name. TAG is the task's and the user's, so who runs it again removes what earlier
attempts left there. What exists under a name is replaced, since a task may run again after its results were moved.

Where it fails. Several results are not moved in one step. A directory cannot replace another in one step: for a moment
there is none. Hard links become files of their own, and holes are filled, when copied to another file system.
"""

import contextlib
import errno
import glob
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence

_OPEN_FILES = "/proc/self/fd"


class Refusal(Exception):
    """Why the results cannot be moved, in one line."""


def main(arguments: Sequence[str]) -> int:
    """Move what the globs match: `copyout.py DIRECTORY TARGET TAG GLOB...`; print one line if that fails."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    directory, target, tag, *globs = arguments
    try:
        move(directory, target, tag, matching(directory, globs))
    except Refusal as refusal:
        print(f"pytaskfarmer: copyout: {refusal}")
    except OSError as error:
        place = error.filename2 or error.filename or target
        known = target if str(place).startswith(_OPEN_FILES) else place
        print(f"pytaskfarmer: copyout: {known!r}: {error.strerror or error}")
    else:
        return 0
    return 1


def matching(directory: str, globs: Sequence[str]) -> list[str]:
    """Return the paths, relative to `directory`, that the globs match; what is below one of them goes with it.

    What can be reached only through a symbolic link is not in the directory, and does not match. Raises `Refusal` for a
    glob that matches nothing.
    """
    real = os.path.realpath(directory)
    matches: set[str] = set()
    for pattern in globs:
        paths = map(os.path.normpath, glob.iglob(pattern, root_dir=directory, recursive=True))
        inside = {path for path in paths if path != os.curdir and _is_inside(real, path)}
        if not inside:
            raise Refusal(f"nothing that the task made matches {pattern!r}; {_contents(directory)}")
        matches |= inside
    return sorted(path for path in matches if matches.isdisjoint(_directories_above(path)))


def move(directory: str, target: str, tag: str, paths: Sequence[str]) -> None:
    """Move each path from `directory` to the same one in `target`.

    Raises `OSError` or `Refusal`; then nothing temporary is left in `target`, and what got no name there is back in
    `directory`.
    """
    with _stage(target, tag) as stage:
        try:
            for path in paths:
                os.makedirs(os.path.dirname(f"{stage}/new/{path}"), exist_ok=True)
                _bring(f"{directory}/{path}", f"{stage}/new/{path}")
            for path in paths:
                os.makedirs(os.path.dirname(f"{target}/{path}"), exist_ok=True)
                _publish(f"{stage}/new/{path}", f"{target}/{path}", f"{stage}/old/{path}")
        except (OSError, Refusal):
            for path in paths:
                with contextlib.suppress(OSError):  # it was copied, or not even brought: it is still there
                    _rename(f"{stage}/new/{path}", f"{directory}/{path}")
            raise
        for place in {os.path.dirname(f"{target}/{path}") for path in paths}:
            with contextlib.suppress(OSError):  # not every file system can do that for a directory
                _sync(place)


@contextlib.contextmanager
def _stage(target: str, tag: str) -> Iterator[str]:
    """Make a directory in `target` for this attempt alone, remove those of earlier ones, and this one at the end."""
    try:
        os.makedirs(target, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target) from None
    name = f"{target}/.pytaskfarmer-{tag}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, stat.S_IRWXU)
    with _opened(name) as above:
        for earlier in os.listdir(above):
            _remove(f"{above}/{earlier}")
        stage = f"{above}/{os.urandom(4).hex()}"
        os.mkdir(stage)
        try:
            yield stage
        finally:
            _remove(stage)
            with contextlib.suppress(OSError):  # another attempt has begun
                os.rmdir(name)


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[str]:
    """Yield a path that leads to a directory whatever happens to its name, which anybody can know beforehand.

    Where others may write to the target, they can put a link there, or a directory of theirs, and at any moment: so it
    must be ours, and what was opened is used. Raises `Refusal`.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (NotADirectoryError, PermissionError):
        raise Refusal(f"{directory!r} is in the way; remove it") from None
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refusal(f"{directory!r} is not for you alone to write to; remove it")
        yield f"{_OPEN_FILES}/{descriptor}"
    finally:
        os.close(descriptor)


def _bring(source: str, staged: str) -> None:
    try:
        _rename(source, staged)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, staged)


def _copy(source: str, target: str) -> None:
    """Copy a file, a link or a tree with modes and times; it is on the disk when this returns."""
    mode = os.lstat(source).st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(target)
        for name in os.listdir(source):
            _copy(f"{source}/{name}", f"{target}/{name}")
        shutil.copystat(source, target)
    elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        shutil.copy2(source, target, follow_symlinks=False)
        if stat.S_ISREG(mode):
            _sync(target)
    else:
        raise Refusal(f"{source!r} is neither a file nor a directory nor a link")


def _publish(staged: str, name: str, aside: str) -> None:
    try:
        _rename(staged, name)
        return
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    os.makedirs(os.path.dirname(aside), exist_ok=True)
    _rename(name, aside)
    try:
        _rename(staged, name)
    except OSError:
        _rename(aside, name)
        raise


def _rename(source: str, target: str) -> None:
    """Rename. A directory to which its owner may not write cannot be moved either, so meanwhile the owner may."""
    mode = os.lstat(source).st_mode
    if not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
        os.rename(source, target)
        return
    os.chmod(source, stat.S_IMODE(mode) | stat.S_IWUSR)
    try:
        os.rename(source, target)
    except OSError:
        os.chmod(source, stat.S_IMODE(mode))
        raise
    os.chmod(target, stat.S_IMODE(mode))


def _remove(tree: str) -> None:
    for above, names, _ in os.walk(tree):
        for name in names:
            if not os.path.islink(f"{above}/{name}"):
                with contextlib.suppress(OSError):
                    os.chmod(f"{above}/{name}", stat.S_IRWXU)
    shutil.rmtree(tree, ignore_errors=True)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_inside(real: str, path: str) -> bool:
    above = os.path.normpath(f"{real}/{os.path.dirname(path)}")
    return above == os.path.realpath(above)


def _directories_above(path: str) -> Iterator[str]:
    while path := os.path.dirname(path):
        yield path


def _contents(directory: str) -> str:
    names = sorted(os.listdir(directory))
    if not names:
        return "its directory is empty"
    return f"its directory holds {', '.join(map(repr, names[:5]))}{' and more' if len(names) > 5 else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
