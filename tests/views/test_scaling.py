"""Scaling studies as values: numbers, the fit, the words, the table and the picture."""

import csv
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.errors import UsageError
from pytaskfarmer.views import scaling_words
from pytaskfarmer.views.scaling import Fit, Point, Timing, Undetermined, amdahl, points
from pytaskfarmer.views.scaling_table import COLUMNS, Study, Table

STUDY = Study(datetime(2026, 3, 1, 12, tzinfo=UTC), "a b,c.txt", "0123456789abcdef", 40, "-r shell", "node7", 4, "1.0")


def law(fraction: float, *counts: int, repeat: int = 3, scatter: float = 0.0, seed: int = 1) -> list[tuple[int, float]]:
    """Return workers and seconds as Amdahl's law has them, for 100 seconds of work."""
    chance = random.Random(seed)
    return [
        (n, 100 * (fraction + (1 - fraction) / n) * chance.gauss(1, scatter)) for _ in range(repeat) for n in counts
    ]


def square_sum(times: list[tuple[int, float]], a: float, b: float) -> float:
    return sum(((a + b / n) / seconds - 1) ** 2 for n, seconds in times)


class TestPoints:
    def test_medians_and_what_follows(self) -> None:
        """Time is the median; speed-up is T(1) / T(n), and efficiency that over n."""
        times = [(1, 12.0), (2, 6.0), (1, 11.0), (2, 5.0), (1, 30.0), (2, 7.0)]
        found = points(Timing(n, 1, seconds, 9.5 + n / 2, 9.0) for n, seconds in times)
        assert [
            Point(1, 3, 12.0, 11.0, 30.0, 1.0, 1.0, 10 / 12, 1.0),
            Point(2, 3, 6.0, 5.0, 7.0, 2.0, 1.0, 10.5 / 12, 1.05),
        ] == list(found)

    def test_relative_to_the_fewest(self) -> None:
        """Without a run with one worker, the fewest are taken to be fully efficient."""
        four, eight = points([Timing(8, 1, 3.0, 20.0, 20.0), Timing(4, 1, 5.0, 20.0, 20.0)])
        assert (4.0, 1.0) == (four.speedup, four.efficiency)
        assert (pytest.approx(20 / 3), pytest.approx(20 / 24)) == (eight.speedup, eight.efficiency)

    def test_efficiency_is_idleness_and_slowdown(self) -> None:
        """Where one worker is always busy, efficiency is the busy part divided by the slowdown."""
        _, four = points([Timing(1, 1, 10.0, 10.0, 10.0), Timing(4, 1, 4.0, 12.0, 10.0)])
        assert pytest.approx(four.efficiency) == four.busy / four.slowdown

    def test_nothing_ran(self) -> None:
        """No timings are no points, and tasks of no length no fault."""
        assert () == points([])
        assert 1.0 == points([Timing(1, 1, 0.5, 0.0, 0.0), Timing(2, 1, 0.5, 0.0, 0.0)])[1].slowdown


class TestAmdahl:
    @pytest.mark.parametrize("fraction", [0.0, 0.01, 0.25, 0.9, 1.0])
    def test_exact_times(self, fraction: float) -> None:
        """Times that obey the law give its serial fraction, with no doubt."""
        fit = amdahl(law(fraction, 1, 2, 4, 8))
        assert pytest.approx((fraction, fraction, fraction), abs=1e-9) == (fit.fraction, fit.low, fit.high)
        assert pytest.approx(100 * (fraction + (1 - fraction) / 16)) == fit.seconds(16)

    def test_least_squares(self) -> None:
        """No other serial and parallel times have a smaller sum of squared relative residuals."""
        times = law(0.1, 1, 2, 4, 8, scatter=0.05)
        fit = amdahl(times)
        best = square_sum(times, fit.serial, fit.parallel)
        for step in (-0.01, 0.01):
            assert best < square_sum(times, fit.serial + step, fit.parallel)
            assert best < square_sum(times, fit.serial, fit.parallel + step)

    @pytest.mark.parametrize(("counts", "fraction"), [((1, 2), 0.1), ((1, 2, 4, 8), 0.05), ((2, 4, 8), 0.3)])
    def test_the_interval_holds_the_truth(self, counts: tuple[int, ...], fraction: float) -> None:
        """Of many studies with a scatter of 2 %, about 95 % have the true fraction in their interval."""
        fits = [amdahl(law(fraction, *counts, scatter=0.02, seed=seed)) for seed in range(500)]
        assert 0.92 <= sum(fit.low <= fraction <= fit.high for fit in fits) / len(fits) <= 0.98

    def test_better_than_the_law(self) -> None:
        """Where more workers gain more than the law allows, the fraction is 0, and the rest fits best."""
        times = [(1, 100.0), (2, 45.0), (4, 20.0), (8, 9.5)]
        fit = amdahl(times)
        assert (0.0, 0.0, 0.0) == (fit.fraction, fit.serial, fit.low)
        assert all(
            square_sum(times, 0, fit.parallel) < square_sum(times, 0, fit.parallel + step) for step in (-0.1, 0.1)
        )

    def test_more_workers_only_harm(self) -> None:
        """Where more workers make it slower, all of it is serial."""
        fit = amdahl([(1, 100.0), (2, 104.0), (4, 109.0), (8, 111.0)])
        assert (1.0, 0.0, 1.0) == (fit.fraction, fit.parallel, fit.high)

    @pytest.mark.parametrize(
        ("times", "why"),
        [
            ([], "two different numbers of workers"),
            ([(2, 5.0), (2, 5.1), (2, 5.2)], "two different numbers of workers"),
            ([(1, 10.0), (2, 5.0)], "two runs cannot tell it from noise"),
            ([(1, 10.0), (2, 5.0), (1, 14.0), (2, 9.0)], "scatter too much: anything from 0% to 100%"),
        ],
    )
    def test_what_determines_nothing(self, times: list[tuple[int, float]], why: str) -> None:
        """Too few or too different runs have no fit, and the reason is said."""
        with pytest.raises(Undetermined, match=why):
            amdahl(times)

    @given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.001, 1e6)), max_size=12))
    def test_any_times(self, times: list[tuple[int, float]]) -> None:
        """Whatever was measured, there is a fraction between 0 and 1 in an interval between them, or none."""
        try:
            fit = amdahl(times)
        except Undetermined:
            return
        assert 0 <= fit.fraction <= 1
        assert 0 <= fit.low <= fit.high <= 1
        assert fit.seconds(1) > 0


class TestWords:
    def test_report(self) -> None:
        """The table, word for word, and what the fit says of many workers."""
        runs = [Timing(n, turn, 0.2 + 12.0 / n * stretch, 12.0, 12.0) for n in (1, 2) for turn, stretch in TURNS]
        fit = scaling_words.fitted([*runs, Timing(8, 1, 99.0, 12.0, 12.0)], cores=2)
        *table, amdahls = scaling_words.report(points(runs), fit)
        assert [
            "workers  runs  seconds       range       speed-up  efficiency  busy  slowdown",
            "      1     3     12.2   11.8 to 12.6        1.00        100%   98%      1.00",
            "      2     3     6.20   6.02 to 6.38        1.97         98%   97%      1.00",
        ] == table
        assert "Amdahl's law: serial fraction 1.6% (0.0% to 8.4%)" == amdahls.partition(",")[0]
        assert "so at most 60.9 times as fast with many workers (11.9 or more)" == amdahls.partition(", ")[2]

    @pytest.mark.parametrize(
        ("fit", "line"),
        [
            (Fit(5.0, 95.0, 0.04, 0.06), "serial fraction 5.0% (4.0% to 6.0%), so at most 20 times as fast with many "),
            (
                Fit(0.0, 9.0, 0.0, 0.02),
                "no serial part seen (0.0% to 2.0%), so 50 times as fast or more with many workers",
            ),
            (Fit(0.0, 9.0, 0.0, 0.0), "no serial part seen (0.0% to 0.0%)"),
            (Fit(9.0, 0.0, 0.9, 1.0), "serial fraction 100% (90.0% to 100.0%): more workers do not make it faster"),
            ("there was rain", "the serial fraction is not determined: there was rain"),
        ],
    )
    def test_the_law_in_words(self, fit: Fit | str, line: str) -> None:
        """What is at most possible is said, and what is not known."""
        assert list(scaling_words.report((), fit))[-1].startswith(f"Amdahl's law: {line}")

    def test_odd_bases_and_first_runs(self) -> None:
        """It is said when the fewest workers are several, and when a first run was probably a slow one."""
        runs = [Timing(2, 1, 10.0, 9.0, 9.0), Timing(4, 1, 4.0, 9.0, 9.0)]
        lines = list(scaling_words.report(points(runs), "no"))
        assert "speed-up is relative to 2 workers, taken to be fully efficient" in lines
        assert any("--warm-up" in line for line in lines)

    def test_before_the_runs(self) -> None:
        """More workers than CPUs, and than tasks, are told; others are not."""
        assert [] == list(scaling_words.notes((1, 2, 4), STUDY))
        assert [
            "8 and 64 workers are more than the 4 CPUs here; with more workers than that, tasks share them",
            "64 workers are more than the 40 tasks of the list; the others stay idle",
        ] == list(scaling_words.notes((4, 8, 64), STUDY))

    def test_chart(self) -> None:
        """Where nothing can be drawn, bars show the speed-ups, and a mark what would be fully efficient."""
        runs = [Timing(1, 1, 8.0, 8.0, 8.0), Timing(2, 1, 4.0, 8.0, 8.0), Timing(4, 1, 3.2, 8.0, 8.0)]
        assert [
            "speed-up, and where it would be with full efficiency (|)",
            "      1  ██████████                                1.00",
            "      2  ████████████████████                      2.00",
            "      4  █████████████████████████              |  2.50",
        ] == list(scaling_words.chart(points(runs)))


TURNS = ((1, 1.0), (2, 0.97), (3, 1.03))


class TestTable:
    def test_a_head_once(self, tmp_path: Path) -> None:
        """Rows are appended below one head, also by a later study, and names with commas stay whole."""
        path = str(tmp_path / "deep/results/scaling.csv")
        for _ in range(2):
            table = Table(path)
            table.prepare()
            table.add(STUDY.row(STUDY.began, Timing(2, 1, 1.5, 2.5, 2.25)))
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        assert 2 == len(rows)
        assert rows[0] == rows[1]
        assert list(COLUMNS) == list(rows[0])
        assert {
            "study": "2026-03-01T12:00:00+00:00", "date": "2026-03-01T12:00:00+00:00", "list": "a b,c.txt",
            "digest": "0123456789abcdef", "tasks": "40", "options": "-r shell", "workers": "2", "repeat": "1",
            "seconds": "1.500", "task_seconds": "2.500", "cpu_seconds": "2.250", "host": "node7", "cores": "4",
            "version": "1.0",
        } == rows[0]  # fmt: skip

    def test_after_a_torn_line(self, tmp_path: Path) -> None:
        """A row begins on a line of its own where a full disk has cut the last one off."""
        path = tmp_path / "scaling.csv"
        path.write_text(",".join(COLUMNS) + "\n2026-03-01T12")
        Table(str(path)).add(STUDY.row(STUDY.began, Timing(2, 1, 1.5, 2.5, 2.25)))
        assert ["2026-03-01T12", "2026-03-01T12:00:00+00:00,2026"] == [
            line[:30] for line in path.read_text().splitlines()[1:]
        ]

    @pytest.mark.parametrize("text", ["workers,seconds\n1,2.0\n", "\x00\xff", '"'])
    def test_a_table_of_another_make(self, tmp_path: Path, text: str) -> None:
        """A file with other columns is refused, and left as it is."""
        path = tmp_path / "scaling.csv"
        path.write_text(text, encoding="latin-1")
        with pytest.raises(UsageError, match="other columns"):
            Table(str(path))
        assert text == path.read_text(encoding="latin-1")


@pytest.mark.parametrize(
    ("counts", "cores", "fit"),
    [((1, 2, 4, 8), 2, Fit(1, 99, 0.0, 0.02)), ((4,), 8, None), ((2, 3), 1, None), ((1, 64), 64, Fit(0, 9, 0, 0))],
)
def test_the_picture(tmp_path: Path, counts: tuple[int, ...], cores: int, fit: Fit | None) -> None:
    """It is drawn in both formats, without a warning, whatever was measured; the SVG has its words."""
    if not os.environ.get("CI"):
        pytest.importorskip("matplotlib")
    from pytaskfarmer.views import scaling_plot

    paths = [str(tmp_path / name) for name in ("a.png", "a.svg")]
    timings = [Timing(n, turn, 60 / n + turn, 60.0, 60.0) for n in counts for turn in range(3)]
    scaling_plot.draw(paths, points(timings), fit, cores, r"$\no$ <&> tasks.txt")
    assert b"\x89PNG\r\n" == Path(paths[0]).read_bytes()[:6]
    text = Path(paths[1]).read_text()
    assert ("more workers than CPUs" in text) == (counts[-1] > cores)
    assert ("Amdahl" in text) == (fit is not None)
    assert r"$\no$ &lt;&amp;&gt; tasks.txt" in text
