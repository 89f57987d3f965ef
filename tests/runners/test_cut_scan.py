"""The scan of rectangular cuts: what it counts, and how its results merge."""

import csv
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.runners.cut_scan import TRUTH, VARIABLES, MergeError, Scan, merge, prepare, result
from pytaskfarmer.runners.tables import DatasetError, read_csv

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hep_cuts" / "data" / "sample.csv"
COLUMNS = (*VARIABLES, TRUTH)


def sample(n_cuts: int) -> Scan:
    return prepare(read_csv(SAMPLE, COLUMNS), n_cuts, SAMPLE)


def naive_counts(n_cuts: int) -> Iterator[int]:
    """Yield the correct events of each setting of the sample, one comparison after the other."""
    with SAMPLE.open(newline="") as file:
        rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    ranges = []
    for i in range(8):
        mean_s = math.fsum(own := [row[i] for row in rows if row[8] == 2]) / len(own)
        mean_b = math.fsum(own := [row[i] for row in rows if row[8] != 2]) / len(own)
        flip = -1 if mean_b < mean_s else 1
        for row in rows:
            row[i] *= flip
        ranges.append([flip * mean_s + j * (flip * mean_b - flip * mean_s) / n_cuts for j in range(n_cuts)])
    for k in range(n_cuts**8):
        cuts = [ranges[i][k // n_cuts**i % n_cuts] for i in range(8)]
        yield sum(all(row[i] < cuts[i] for i in range(8)) == (row[8] == 2) for row in rows)


class Column(list[object]):
    """A column as `prepare` wants it."""

    def tolist(self) -> list[object]:
        """Return the values."""
        return [*self]


def events(*rows: tuple[object, float]) -> dict[str, Column]:
    """Return events with the same value in each variable, and a truth."""
    return {name: Column(truth if name == TRUTH else value for value, truth in rows) for name in COLUMNS}


def without_time(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "microseconds"}


class TestTheScan:
    @pytest.mark.parametrize("n_cuts", [1, 2, 3])
    def test_counts_as_the_definition_does(self, n_cuts: int) -> None:
        """Each setting has as many correct events as comparing one value after the other finds."""
        scan = sample(n_cuts)
        assert [*naive_counts(n_cuts)] == [scan.correct(k) for k in range(scan.n_settings)]

    def test_finds_the_first_maximum_of_any_range(self) -> None:
        """The best of some settings is the first that has the most correct events."""
        counts, scan = [*naive_counts(2)], sample(2)
        for first, count in ((0, 256), (3, 100), (200, 56), (77, 1)):
            part = counts[first : first + count]
            assert (max(part), first + part.index(max(part))) == scan.best(first, count)

    def test_result_says_what_a_report_needs(self) -> None:
        """A result has the best setting, its cuts, what was scanned, and the time given with the time taken."""
        scan = sample(2)
        found = result(scan, 0, 256, 10**9)
        best = scan.best(0, 256)
        assert {
            "correct": best.correct,
            "k": best.k,
            "cuts": scan.setting(best.k),
            "n_events": 300,
            "n_cuts": 2,
            "checksum": scan.checksum,
            "settings": [[0, 256]],
        } == without_time(found)
        assert 10**9 <= found["microseconds"] < 2 * 10**9

    def test_checksum_tells_events_apart(self) -> None:
        """One value or one truth that differs gives another checksum; whole numbers and doubles give the same."""
        model = prepare(events((1, 2), (2, 0)), 2, "x").checksum
        assert model == prepare(events((1.0, 2.0), (2.0, 7.0)), 3, "x").checksum
        assert model != prepare(events((1, 2), (2.5, 0)), 2, "x").checksum
        assert model != prepare(events((1, 0), (2, 2)), 2, "x").checksum

    @pytest.mark.parametrize(
        ("rows", "complaint"),
        [
            ([], "0 of 0 events are signal (p_truthType = 2); a scan needs events of both kinds"),
            ([(1, 0)], "0 of 1 events are signal (p_truthType = 2); a scan needs events of both kinds"),
            ([(1, 2), (math.nan, 0)], f"event 1: {VARIABLES[0]} is nan, expected a finite number"),
            ([(1, 2), (None, 0)], f"{VARIABLES[0]} has no number for each event, and the scan needs one"),
            ([(1, 2), ([3], 0)], f"{VARIABLES[0]} has no number for each event, and the scan needs one"),
        ],
    )
    def test_refuses_events_it_cannot_scan(self, rows: list[tuple[object, float]], complaint: str) -> None:
        """Events of one kind only and values that are no numbers are one line, with the file."""
        with pytest.raises(DatasetError) as error:
            prepare(events(*rows), 2, "x.root")
        assert f"x.root: {complaint}" == str(error.value)


def part(first: int, end: int, correct: int, k: int) -> dict[str, Any]:
    whose = {"n_events": 9, "n_cuts": 2, "checksum": 5, "microseconds": end}
    return {"correct": correct, "k": k, "cuts": {"p_Rhad": float(k)}, "settings": [[first, end]], **whose}


@st.composite
def parts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return results that cover some of 256 settings, with few different counts, in any order."""
    cuts = sorted({0, 256, *draw(st.lists(st.integers(1, 255), max_size=12))})
    ranges = draw(st.permutations([*pairwise(cuts)]))
    wanted = ranges[: draw(st.integers(1, len(ranges)))]
    return [part(a, b, draw(st.integers(3, 5)), draw(st.integers(a, b - 1))) for a, b in wanted]


class TestMerging:
    @given(parts(), st.data())
    def test_gives_the_same_in_any_order_and_grouping(self, results: list[dict[str, Any]], data: st.DataObject) -> None:
        """However results are paired, the most correct and among them the lowest setting wins, and nothing is lost."""
        covered = {k for each in results for first, end in each["settings"] for k in range(first, end)}
        best = min(results, key=lambda each: (-each["correct"], each["k"]))
        microseconds = sum(each["microseconds"] for each in results)
        while len(results) > 1:
            results = data.draw(st.permutations(results))
            results = [merge(results[0], results[1]), *results[2:]]
        assert {**best, "settings": results[0]["settings"], "microseconds": microseconds} == results[0]
        assert sorted(covered) == [k for first, end in results[0]["settings"] for k in range(first, end)]
        assert all(end < after for (_, end), (after, _) in pairwise(results[0]["settings"]))

    def test_of_all_chunks_is_the_whole(self) -> None:
        """The chunks of a scan merge to the scan of all settings at once."""
        scan = sample(2)
        merged = result(scan, 0, 100, 0)
        for first, count in ((200, 56), (100, 100)):
            merged = merge(merged, result(scan, first, count, 0))
        assert without_time(result(scan, 0, 256, 0)) == without_time(merged)

    def test_changes_neither_result(self) -> None:
        """What is merged stays as it was."""
        one, other = part(0, 3, 5, 1), part(3, 6, 4, 5)
        merge(merge(one, other), part(6, 7, 9, 6))
        assert (part(0, 3, 5, 1), part(3, 6, 4, 5)) == (one, other)

    def test_refuses_settings_that_are_in_both(self) -> None:
        """A setting in both results is named."""
        with pytest.raises(MergeError, match=r"^settings 4 to 5 are in both results; leave one out$"):
            merge(part(0, 6, 1, 0), part(4, 8, 1, 4))
        with pytest.raises(MergeError, match=r"^settings 4 to 5 are in both results; leave one out$"):
            merge(part(0, 60, 1, 0), part(4, 6, 1, 4))

    def test_refuses_results_of_different_scans(self) -> None:
        """Results of other events, or of another number of cuts, are not merged."""
        with pytest.raises(MergeError, match="different scans, their checksum and n_cuts differ"):
            merge(part(0, 1, 1, 0), {**part(1, 2, 1, 1), "checksum": 6, "n_cuts": 3})
