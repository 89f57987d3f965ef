"""Data sets that a worker opens once: CSV files, and trees in ROOT files. Which of the two, the first bytes say.

A CSV file is read as a whole into columns of doubles. Of a ROOT file only the description of a tree is kept, and each
range of events is read from disk.

What has been opened is of use until its file changes. So size, time and inode of the file are taken before it is
opened, and compared before each use. Where this still fails: a file that is overwritten while a range of it is being
read, and one that changes twice within a tick of the file system's clock and keeps its size.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from pytaskfarmer.task import printable

from .tables import DatasetError, listed, read_csv, unreadable

_TREES = frozenset({"TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"})

Opened = TypeVar("Opened", bound="Closeable")


class Dataset(Protocol):
    """An open data set; `path` is its file."""

    path: str

    def __len__(self) -> int:
        """Return the number of events."""
        ...

    def read(self, first: int, count: int) -> Any:
        """Return `count` events from `first` on, all of which exist. Raises `DatasetError`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class CsvDataset:
    """A CSV file in memory; `names` as for `read_csv`."""

    def __init__(self, path: str, names: Collection[str] = ()) -> None:
        self.path = path
        self._table = read_csv(path, names)

    def __len__(self) -> int:
        return len(self._table)

    def read(self, first: int, count: int) -> Any:
        """Return a table of these events, a copy."""
        return self._table[first : first + count]

    def close(self) -> None:
        """Do nothing: the file has been closed since it was read."""


class RootDataset:
    """A tree of a ROOT file, of which only the branches `names` are read, or all if none is named.

    `tree` may be None if the file has no more than one. Raises `DatasetError`.
    """

    def __init__(self, path: str, tree: str | None, names: Collection[str] = ()) -> None:
        try:
            import awkward  # noqa: F401  # uproot would miss it at the first range only
            import uproot
        except ImportError as error:
            remedy = f"reading ROOT files needs {error.name}; pip install 'pytaskfarmer[hep]'"
            raise DatasetError(path, None, remedy) from error
        self.path = path
        with _reading(path, "cannot be opened as a ROOT file"):
            self._file = uproot.open({path: None})  # in a plain text, a colon would begin the name of a tree
        try:
            self._tree = self._find(tree)
            self._wanted = _select(path, list(self._tree.keys()), names).__contains__ if names else None
        except BaseException:
            self.close()
            raise

    def _find(self, tree: str | None) -> Any:
        with _reading(self.path, "the list of its trees cannot be read"):
            trees = list(dict.fromkeys(self._file.keys(filter_classname=_TREES.__contains__, cycle=False)))
        name = _choose(self.path, tree, trees)
        with _reading(self.path, f"the tree {name!r} cannot be read"):
            found = self._file[name]
            self._entries = int(found.num_entries)  # which of an RNTuple is not read before it is asked for
        return found

    def __len__(self) -> int:
        return self._entries

    def read(self, first: int, count: int) -> Any:
        """Return an awkward array of these events, read from the file."""
        with _reading(self.path, f"events {first} to {first + count - 1} cannot be read"):
            return self._tree.arrays(  # without a cache: nobody asks for the same range again
                filter_name=self._wanted, entry_start=first, entry_stop=first + count, library="ak", array_cache=None
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_dataset(path: str, tree: str | None, names: Collection[str] = ()) -> Dataset:
    """Open a file, of which only the columns or branches `names` are read, or all if none is named.

    Raises `DatasetError`.
    """
    if is_root(path):
        return RootDataset(path, tree, names)
    if tree is not None:
        raise DatasetError(path, None, f"is no ROOT file, so there is no tree {tree!r} in it; leave out ':{tree}'")
    return CsvDataset(path, names)


def is_root(path: str) -> bool:
    """Whether a file begins as ROOT files do. Raises `DatasetError` if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"root"
    except OSError as error:
        raise unreadable(path, error) from None


def split_name(word: str) -> tuple[str, str | None]:
    """Return file and tree of `FILE[:TREE]`; a file that has a colon in its own name is found if it exists."""
    path, colon, tree = word.rpartition(":")
    return (word, None) if not (path and colon and tree) or os.path.exists(word) else (path, tree)


# -- ROOT


def _choose(path: str, tree: str | None, trees: list[str]) -> str:
    """Return the name of the tree that is meant."""
    if tree is None and len(trees) == 1:
        return trees[0]
    if not trees:
        raise DatasetError(path, None, "has no tree, and events are read from one; name another file")
    if tree is None:
        raise DatasetError(path, None, f"has several trees; write FILE:TREE with one of {listed(trees)}")
    if tree.lstrip("/").partition(";")[0] not in trees:
        raise DatasetError(path, None, f"has no tree {tree!r}; its trees are {listed(trees)}")
    return tree.lstrip("/")


def _select(path: str, branches: list[str], names: Collection[str]) -> frozenset[str]:
    """Return the full names of the branches that are meant, with those below them."""
    selected: set[str] = set()
    for name in names:
        found = {b for b in branches if name in {b, b.rpartition("/")[2]} or b.startswith(f"{name}/")}
        if not found:
            raise DatasetError(path, None, f"has no branch {name!r}; its branches are {listed(branches)}")
        selected |= found
    return frozenset(selected)


@contextmanager
def _reading(path: str, failure: str) -> Iterator[None]:
    """Make one line of whatever a library raises about a file that it cannot read."""
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        if error.strerror:
            raise unreadable(path, error) from None
        raise DatasetError(path, None, f"{failure} ({_first_line(error)})") from error
    except Exception as error:
        raise DatasetError(path, None, f"{failure} ({type(error).__name__}: {_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return printable(" ".join(str(error).split()), 120)


# -- kept open


class Closeable(Protocol):
    """What a shelf can hold."""

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class Shelf(Generic[Opened]):
    """What `open_one` made of the last `keep` files (and trees) asked for, made anew when a file has changed."""

    def __init__(self, keep: int, open_one: Callable[[str, str | None], Opened]) -> None:
        self._keep, self._open = keep, open_one
        self._shelf: OrderedDict[tuple[str, str | None], tuple[tuple[int, ...], Opened]] = OrderedDict()

    def take(self, path: str, tree: str | None) -> Opened:
        """Return what belongs to this file. Raises `DatasetError`, and what `open_one` raises."""
        key = (path, tree)
        try:
            status = os.stat(path)
        except OSError as error:
            raise unreadable(path, error) from None
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key in self._shelf and self._shelf[key][0] == stamp:
            self._shelf.move_to_end(key)
            return self._shelf[key][1]
        if key in self._shelf:
            self._shelf.pop(key)[1].close()
        while len(self._shelf) >= self._keep:
            self._shelf.popitem(last=False)[1][1].close()
        opened = self._open(path, tree)
        self._shelf[key] = (stamp, opened)
        return opened
