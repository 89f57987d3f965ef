"""Shares of the work: a list for each element of an array, or a shard of one list."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from farm_driver import COMMAND, Farm, Started

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cli import shares
from pytaskfarmer.cli.shares import Shard, Sharded, ShardParam
from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins.contracts import Tasklist

ELEMENT = Allocation(job="9", array_job="8", array_task=7)


class Letters:
    """A handler of a fixed list."""

    prepared = 0

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield ten letters."""
        yield from "abcdefghij"

    def prepare(self, tasklist: Tasklist) -> None:
        """Count the calls."""
        self.prepared += 1


@pytest.mark.parametrize(
    ("task", "expected"), [(0, ("list000", "w000")), (7, ("list007", "w007")), (1234, ("list1234", "w1234"))]
)
def test_an_element_takes_what_bears_its_number(task: int, expected: tuple[str, str]) -> None:
    """Element NNN takes `tasklistNNN` and `workdirNNN`, with three digits or more."""
    element = Allocation(job="9", array_job="8", array_task=task)
    assert expected == shares.paths("list", "w", element, array=True, shard=None)
    assert (expected[0], None) == shares.paths("list", None, element, array=True, shard=None)


def test_outside_of_an_array_there_is_no_element() -> None:
    """--array says what to do where there is no array, and does not go with --shard."""
    with pytest.raises(UsageError, match="sbatch --array="):
        shares.paths("list", None, Allocation(job="9"), array=True, shard=None)
    with pytest.raises(UsageError, match="one of them"):
        shares.paths("list", None, ELEMENT, array=True, shard=Shard(0, 2))


def test_shards_have_directories_of_their_own() -> None:
    """A shard never uses the directory of another one, or of the whole list."""
    found = [shares.paths("t.txt", workdir, Allocation(), array=False, shard=Shard(1, 3)) for workdir in (None, "w")]
    assert [("t.txt", "t.txt_workdir_1of3"), ("t.txt", "w_1of3")] == found
    assert ("t.txt", None) == shares.paths("t.txt", None, Allocation(), array=False, shard=None)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("of", [1, 2, 3, 10, 12])
def test_shards_are_all_of_the_list(of: int, first: int) -> None:
    """Counted from 0 or from 1, the shards together have each task once, in the order of the list."""
    found = [ShardParam().convert(f"{number}/{of}", None, None) for number in range(first, first + of)]
    parts = [list(Sharded(Letters(), shard).tasks(Tasklist("", ""))) for shard in found]
    assert sorted("abcdefghij") == sorted(task for part in parts for task in part)
    assert all(part == sorted(part) for part in parts)
    assert of == len({shard.suffix for shard in found})


@pytest.mark.parametrize("text", ["", "1", "/", "1/0", "5/4", "-1/4", "a/b", "1/4/4", "٣/4"])
def test_what_is_no_shard(text: str) -> None:
    """Anything but I/N with I up to N is refused, with the right form."""
    with pytest.raises(click.BadParameter, match=r"1/4|count from"):
        ShardParam().convert(text, None, None)


def test_a_shard_prepares_what_its_handler_needs() -> None:
    """The handler's own preparation is done, and what it says of other files is kept."""
    letters = Letters()
    sharded = Sharded(letters, Shard(0, 2))
    sharded.prepare(Tasklist("", ""))
    assert (1, False) == (letters.prepared, sharded.reads_other_files)


def test_two_shards_run_a_list(farm: Farm, tmp_path: Path) -> None:
    """Two commands with a shard each run every task once, in directories of their own."""
    farm.write([f"echo {number} >> out" for number in range(7)])
    ends = []
    for shard in ("1/2", "2/2"):
        words = [*COMMAND, "--proc=2", f"--shard={shard}", "--workdir=w", farm.list.name]
        ends.append(Started(words, tmp_path, tmp_path / "said").wait())
    assert [0, 0] == ends
    assert [str(number) for number in range(7)] == sorted((tmp_path / "out").read_text().split())
    lengths = [len((tmp_path / name / "finished").read_text().splitlines()) for name in ("w_1of2", "w_2of2")]
    assert [3, 4] == lengths
