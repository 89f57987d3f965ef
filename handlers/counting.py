"""How many events an input has: entries of a ROOT tree, rows of a CSV or TSV file, events of a HepMC text file."""

import os
from array import array
from collections.abc import Iterable

from pytaskfarmer.task import printable

_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
_SEPARATED = (".csv", ".tsv")
_HEPMC = (".hepmc", ".hepmc2", ".hepmc3")
_INSTALL = "pip install 'pytaskfarmer[hep]'"


class Counts:
    """The number of events of each input of a list, looked up once, although the list is read several times.

    Inputs are known by their place in the list; 16 bytes an input. `tree` and `otherwise` are as for `events_in`.
    """

    def __init__(self, tree: str | None, otherwise: str) -> None:
        self._tree, self._otherwise = tree, otherwise
        self._paths = array("q")
        self._events = array("q")

    def of(self, place: int, path: str) -> int:
        """Return the number of events of the input at `place`, which comes after those before it.

        Raises `ValueError` as `events_in` does.
        """
        known = hash(path)
        if place < len(self._paths) and self._paths[place] == known:
            return self._events[place]
        events = events_in(path, self._tree, self._otherwise)
        del self._paths[place:], self._events[place:]
        self._paths.append(known)
        self._events.append(events)
        return events


def events_in(path: str, tree: str | None, otherwise: str) -> int:
    """Return the number of events in the file at `path`: with a `tree`, of ROOT; else its ending says of which kind.

    Raises `ValueError` with one line that does not name the file; where events cannot be counted, it ends in what is to
    be done `otherwise`.
    """
    ending = os.path.splitext(path)[1].lower()
    if tree is not None or ending == ".root":
        return _entries(path, tree, otherwise)
    if ending not in {*_SEPARATED, *_HEPMC}:
        known = ", ".join((".root", *_SEPARATED, *_HEPMC))
        raise ValueError(f"events can be counted in {known} only; {otherwise}")
    try:
        with open(path, "rb") as lines:
            return rows(lines) if ending in _SEPARATED else sum(line.startswith(b"E ") for line in lines)
    except OSError as error:
        raise _unreadable(error) from None


def rows(lines: Iterable[bytes]) -> int:
    """Return how many lines are neither blank nor the first one that is not, the header."""
    return max(0, sum(not line.isspace() for line in lines) - 1)


def _entries(path: str, tree: str | None, otherwise: str) -> int:
    try:
        import uproot
    except ImportError:
        raise ValueError(f"counting the events of a ROOT file needs uproot: {_INSTALL}, or {otherwise}") from None
    try:
        with uproot.open({path: None}) as file:  # in a plain text, a colon would begin the name of a tree
            kinds: dict[str, str] = file.classnames(cycle=False)
            trees = [name for name, kind in kinds.items() if kind in _TREES]
            name = trees[0] if tree is None and len(trees) == 1 else tree
            if name in trees:
                return int(file[name].num_entries)
    except Exception as error:  # what uproot raises for a file that it cannot read is of a dozen types
        if isinstance(error, OSError) and error.strerror:
            raise _unreadable(error) from None
        raise ValueError(f"cannot be read as a ROOT file ({_told(error)})") from None
    there = printable(", ".join(trees)) or "none"
    lacking = f"no tree {tree!r}" if tree is not None else "several trees" if trees else "no tree"
    raise ValueError(f"has {lacking} (there are: {there}); leave this input out, or {otherwise}")


def _unreadable(error: OSError) -> ValueError:
    return ValueError(f"cannot be read to count its events ({error.strerror})")


def _told(error: Exception) -> str:
    """Return type and first line of an exception; the texts of uproot go on with advice on installing things."""
    first = str(error).strip().partition("\n")[0]
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__)
