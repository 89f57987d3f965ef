"""Data sets: what is read of CSV and ROOT files, what is refused, and how long they stay open."""

import gzip
import math
import os
from array import array
from pathlib import Path

import awkward
import numpy as np
import pytest
import uproot

from pytaskfarmer.runners.datasets import Shelf, open_dataset, split_name
from pytaskfarmer.runners.tables import DatasetError, read_csv


def columns(path: Path, *names: str) -> dict[str, list[float]]:
    return {name: [*column] for name, column in read_csv(path, names).columns.items()}


def write_root(path: Path) -> None:
    """Write the trees `events` (10 entries) and `runs/meta` (3), and something that is no tree."""
    with uproot.recreate(path) as file:
        jets = awkward.Array([[1.5 * i] * (i % 3) for i in range(10)])
        file.mktree("events", {"x": "f8", "n": "i8", "jets": "var * float64"}).extend(
            {"x": np.arange(10) / 4, "n": np.arange(10), "jets": jets}
        )
        file.mktree("runs/meta", {"lumi": "f4"}).extend({"lumi": np.ones(3, "f4")})
        file["title"] = "ten events"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root") / "events.data"
    write_root(path)
    return path


class TestCsv:
    @pytest.mark.parametrize(
        "content",
        ["x,y\n1,2\n3,4\n", "\ufeffx,y\r\n1,2\r\n\r\n3,4", ' x , y\n\n 1 , 2.0\n  \n3e0,"4"\n', '"x","y"\n"1",2\n3,4'],
        ids=["plain", "of Windows", "blanks", "quotes"],
    )
    def test_is_read_as_columns_of_doubles(self, tmp_path: Path, content: str) -> None:
        """Numbers under a header, however lines end and fields are quoted."""
        path = tmp_path / "events.csv"
        path.write_bytes(content.encode())
        assert {"x": [1.0, 3.0], "y": [2.0, 4.0]} == columns(path)

    def test_only_what_is_named_is_read(self, tmp_path: Path) -> None:
        """Columns that are not named may hold anything, in any encoding, and have any name."""
        path = tmp_path / "events.csv"
        path.write_bytes(b",x,,note,x y\n0,1.5,a,caf\xe9,2\n1,nan,b,,inf\n")
        found = columns(path, "x y", "x")
        assert ["x", "x y"] == [*found]
        assert [2.0, math.inf] == found["x y"]
        assert (1.5, True) == (found["x"][0], math.isnan(found["x"][1]))

    def test_table_is_columns_slices_and_a_length(self, tmp_path: Path) -> None:
        """A table has what an awkward array of records has, and numpy looks at a column without a copy."""
        path = tmp_path / "events.csv"
        path.write_text("x,y\n" + "".join(f"{i},{-i}\n" for i in range(5)))
        table = read_csv(path)
        assert (5, ["x", "y"]) == (len(table), table.fields)
        assert array("d", [1, 2]) == table[1:3]["x"]
        np.asarray(table["y"])[0] = 7
        assert 7.0 == table["y"][0]

    @pytest.mark.parametrize(
        ("content", "names", "complaint"),
        [
            ("", (), ": the file is empty; expected a header line and one event a line"),
            ("x,y\n1,2\n\n3\n", (), ", line 4: 1 field where 2 are expected"),
            ("x,y\n1,2,3\n", ("x",), ", line 2: 3 fields where 2 are expected"),
            ("x,y\n1,2\n3,\n", (), ", line 3: y is '', expected a number"),
            ("x,y\n1,2\n3,4 GeV\n", (), ", line 3: y is '4 GeV', expected a number"),
            ('x,y\n1,"2\n', (), ", line 2: is not comma-separated (unexpected end of data); correct it"),
            ("x,y\n1,2\n", ("x", "z"), ": has no column 'z'; its columns are 'x', 'y'"),
            ("x,x\n1,2\n", (), ": has two columns 'x'; rename one"),
        ],
    )
    def test_refusals_name_file_and_line(
        self, tmp_path: Path, content: str, names: tuple[str, ...], complaint: str
    ) -> None:
        """What cannot be read is one line that says where, what and what is expected."""
        path = tmp_path / "events.csv"
        path.write_text(content)
        with pytest.raises(DatasetError) as error:
            read_csv(path, names)
        assert f"{path}{complaint}" == str(error.value)

    @pytest.mark.parametrize(
        "content", [gzip.compress(b"x\n1\n", mtime=0), "x,y\n1,2\n".encode("utf-16")], ids=["gzip", "UTF-16"]
    )
    def test_what_is_no_text_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """A packed file is not taken for one without events, and one in another encoding is told as what it is."""
        path = tmp_path / "events.csv"
        path.write_bytes(content)
        with pytest.raises(DatasetError) as error:
            open_dataset(str(path), None)
        complaint = "is neither a ROOT file nor comma-separated text in UTF-8; unpack or convert it"
        assert f"{path}: {complaint}" == str(error.value)

    def test_odd_names_stay_in_one_line(self, tmp_path: Path) -> None:
        """What a file calls its columns cannot break the line of a message."""
        path = tmp_path / "events.csv"
        path.write_bytes(b'"x\ny\xff"\n1 GeV\n')
        with pytest.raises(DatasetError, match=r"line 3: x\ufffdy\ufffd is '1 GeV', expected a number$"):
            read_csv(path)

    def test_can_be_asked_for_finite_numbers(self, tmp_path: Path) -> None:
        """A reader that needs finite numbers is told the line of one that is not."""
        path = tmp_path / "events.csv"
        path.write_text("x\n1\ninf\n")
        with pytest.raises(DatasetError, match=r", line 3: x is 'inf', expected a finite number$"):
            read_csv(path, finite=True)

    def test_has_no_trees(self, tmp_path: Path) -> None:
        """A tree asked of a CSV file is refused, with the remedy."""
        path = tmp_path / "events.csv"
        path.write_text("x\n1\n")
        with pytest.raises(DatasetError, match=r"is no ROOT file, so there is no tree 't' in it; leave out ':t'$"):
            open_dataset(str(path), "t")


class TestRoot:
    def test_range_is_an_awkward_array_of_these_entries(self, root: Path) -> None:
        """A range has the entries asked for, with jagged branches."""
        dataset = open_dataset(str(root), "events")
        events = dataset.read(4, 3)
        dataset.close()
        assert 10 == len(dataset)
        assert [1.0, 1.25, 1.5] == events["x"].tolist()
        assert [[6.0], [7.5, 7.5], []] == events["jets"].tolist()

    def test_only_the_branches_named_are_read(self, root: Path) -> None:
        """With branches named, the array has no others."""
        dataset = open_dataset(str(root), "events", ("n", "jets"))
        events = dataset.read(0, 10)
        dataset.close()
        assert {"n", "jets"} == {*events.fields}

    def test_the_only_tree_needs_no_name(self, tmp_path: Path) -> None:
        """Where a file has one tree, be it a TTree or an RNTuple, and with several cycles, that is it."""
        for make in ("mktree", "mkrntuple"):
            path = tmp_path / f"{make}.root"
            with uproot.recreate(path) as file:
                getattr(file, make)("deep/t", {"x": "f8"}).extend({"x": np.arange(4.0)})
            dataset = open_dataset(str(path), None)
            assert [2.0, 3.0] == dataset.read(2, 2)["x"].tolist()
            dataset.close()

    def test_a_directory_and_a_cycle_may_be_named(self, root: Path) -> None:
        """A tree in a directory has its path as its name; a leading slash and a cycle are understood."""
        for name in ("runs/meta", "/runs/meta", "runs/meta;1"):
            dataset = open_dataset(str(root), name)
            assert 3 == len(dataset)
            dataset.close()

    def test_a_colon_in_its_name_is_part_of_it(self, tmp_path: Path, root: Path) -> None:
        """A file of which the name looks like file and tree is opened as what it is."""
        path = tmp_path / "a.root:b.root"
        path.write_bytes(root.read_bytes())
        dataset = open_dataset(str(path), "events")
        assert 10 == len(dataset)
        dataset.close()

    @pytest.mark.parametrize(
        ("tree", "branches", "complaint"),
        [
            ("nominal", (), "has no tree 'nominal'; its trees are 'events', 'runs/meta'"),
            ("title", (), "has no tree 'title'; its trees are 'events', 'runs/meta'"),
            (None, (), "has several trees; write FILE:TREE with one of 'events', 'runs/meta'"),
            ("runs/meta", ("lumi", "pt"), "has no branch 'pt'; its branches are 'lumi'"),
        ],
    )
    def test_refusals_list_what_there_is(
        self, root: Path, tree: str | None, branches: tuple[str, ...], complaint: str
    ) -> None:
        """A tree or branch that is not there is one line with those that are; the file is closed again."""
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DatasetError) as error:
            open_dataset(str(root), tree, branches)
        assert f"{root}: {complaint}" == str(error.value)
        assert before == len(os.listdir("/proc/self/fd"))

    def test_file_without_trees_is_refused(self, tmp_path: Path) -> None:
        """A ROOT file with no tree at all is said to have none."""
        with uproot.recreate(tmp_path / "a.root") as file:
            file["title"] = "nothing"
        with pytest.raises(DatasetError, match="has no tree, and events are read from one"):
            open_dataset(str(tmp_path / "a.root"), None)

    @pytest.mark.parametrize("size", [4, 100, 800])
    def test_torn_file_is_one_line(self, root: Path, tmp_path: Path, size: int) -> None:
        """A ROOT file of which the end is missing is refused in one line that names it."""
        path = tmp_path / "torn.root"
        path.write_bytes(root.read_bytes()[:size])
        with pytest.raises(DatasetError) as error:
            open_dataset(str(path), "events").read(0, 10)
        assert f"{path}: " in str(error.value)
        assert 1 == len(str(error.value).splitlines())

    def test_torn_ntuple_is_one_line(self, tmp_path: Path) -> None:
        """So is an RNTuple of which only what says how many entries there are is missing, and the file is closed."""
        path = tmp_path / "torn.root"
        with uproot.recreate(path) as file:
            file.mkrntuple("events", {"x": "f8"}).extend({"x": np.arange(10.0)})
        path.write_bytes(path.read_bytes()[:-250])
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DatasetError, match=r"torn\.root: the tree 'events' cannot be read \([^\n]*\)$"):
            open_dataset(str(path), "events")
        assert before == len(os.listdir("/proc/self/fd"))


class TestNames:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("a.root:events", ("a.root", "events")),
            ("a:b.root:d/events", ("a:b.root", "d/events")),
            ("a.csv", ("a.csv", None)),
            ("a.root:", ("a.root:", None)),
            (":events", (":events", None)),
        ],
    )
    def test_are_a_file_and_a_tree(self, word: str, expected: tuple[str, str | None]) -> None:
        """What stands behind the last colon is the tree."""
        assert expected == split_name(word)

    def test_may_have_colons(self, tmp_path: Path) -> None:
        """A file that exists under the whole name is that file."""
        path = tmp_path / "run:7"
        path.touch()
        assert (str(path), None) == split_name(str(path))

    @pytest.mark.parametrize(("name", "complaint"), [("absent", "No such file or directory"), ("", "Is a directory")])
    def test_of_nothing_readable_are_refused(self, tmp_path: Path, name: str, complaint: str) -> None:
        """A missing file and a directory are named with the system's words."""
        with pytest.raises(DatasetError) as error:
            open_dataset(str(tmp_path / name), None)
        assert f"{tmp_path / name}: {complaint}" == str(error.value)


class Thing:
    """What a shelf may hold: it remembers whether it is open."""

    def __init__(self, name: str) -> None:
        self.name, self.open = name, True

    def close(self) -> None:
        """Be closed."""
        self.open = False


class TestShelf:
    def test_opens_a_file_once(self, tmp_path: Path) -> None:
        """The same file and tree is the same thing; another tree of it is another."""
        path = str(tmp_path / "a")
        Path(path).touch()
        shelf = Shelf(2, lambda path, tree: Thing(f"{path}:{tree}"))
        one, other = shelf.take(path, "t"), shelf.take(path, "u")
        assert (one, other) == (shelf.take(path, "t"), shelf.take(path, "u"))
        assert (f"{path}:t", f"{path}:u") == (one.name, other.name)

    def test_closes_what_was_asked_for_longest_ago(self, tmp_path: Path) -> None:
        """At most `keep` things are open; the one not asked for has to go."""
        for name in "abc":
            (tmp_path / name).touch()
        shelf = Shelf(2, lambda path, tree: Thing(path))
        a, b = (shelf.take(str(tmp_path / name), None) for name in "ab")
        shelf.take(str(tmp_path / "a"), None)
        c = shelf.take(str(tmp_path / "c"), None)
        assert (True, False, True) == (a.open, b.open, c.open)
        assert a is shelf.take(str(tmp_path / "a"), None)

    def test_opens_a_changed_file_anew(self, tmp_path: Path) -> None:
        """A file of another size, of another time, or replaced by another is opened again, and the old one closed."""
        path = tmp_path / "a"
        path.write_text("1")
        os.utime(path, ns=(0, 10**9))
        shelf = Shelf(2, lambda path, tree: Thing(Path(path).read_text()))
        things = [shelf.take(str(path), None)]
        path.write_text("22")
        os.utime(path, ns=(0, 10**9))
        things.append(shelf.take(str(path), None))
        path.write_text("33")
        os.utime(path, ns=(0, 10**9 + 1))
        things.append(shelf.take(str(path), None))
        (tmp_path / "b").write_text("44")
        os.utime(tmp_path / "b", ns=(0, 10**9 + 1))
        (tmp_path / "b").rename(path)
        things.append(shelf.take(str(path), None))
        assert [("1", False), ("22", False), ("33", False), ("44", True)] == [(t.name, t.open) for t in things]

    def test_keeps_nothing_that_failed_to_open(self, tmp_path: Path) -> None:
        """What could not be opened is tried again."""
        path = tmp_path / "a.csv"
        path.write_text("x\noops\n")
        shelf = Shelf(1, open_dataset)
        for _ in range(2):
            with pytest.raises(DatasetError, match="line 2: x is 'oops'"):
                shelf.take(str(path), None)
