"""The picture of a scaling study, drawn by matplotlib, which only this module knows."""

import importlib
from collections.abc import Sequence
from typing import Any

from pytaskfarmer.views.scaling import Fit, Point

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "0.55"  # told apart also by the colour-blind, and in print
_STEPS = 64


def draw(paths: Sequence[str], points: Sequence[Point], fit: Fit | None, cores: int, title: str) -> None:
    """Write the picture to each path, in the format of its ending. Raises ImportError without matplotlib.

    On the left speed-up, on the right efficiency, over the number of workers: each the median of the runs, with a
    line from the slowest to the fastest one. Beyond the CPUs the ground is grey, and Amdahl's law is dotted.
    """
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(8, 3.6), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    left, right = figure.subplots(1, 2)
    counts = [point.workers for point in points]
    curve = _steps(counts[0], counts[-1])
    whole = points[0].seconds * points[0].workers
    left.plot(curve, curve, color=_GREY, linestyle="--", linewidth=1, label="full efficiency")
    right.plot(curve, [100.0 for _ in curve], color=_GREY, linestyle="--", linewidth=1)
    if fit is not None:
        label = f"Amdahl, serial fraction {fit.fraction:.1%}"
        known = [n for n in curve if n <= cores]
        for part, style, name in ((known, "-", label), (curve[len(known) :], ":", None)):
            law = [whole / fit.seconds(n) for n in part]
            left.plot(part, law, style, color=_ORANGE, linewidth=1.5, label=name)
            right.plot(part, [100 * s / n for s, n in zip(law, part, strict=True)], style, color=_ORANGE, linewidth=1.5)
    _measured(left, points, [(point.speedup, 1.0) for point in points], whole)
    _measured(right, points, [(100 * point.efficiency, 100 / point.workers) for point in points], whole)
    left.set(yscale="log", ylabel="speed-up")
    right.set(ylim=(0, None), ylabel="efficiency, %")
    ticks = sorted({*counts, 1})
    left.set_yticks(ticks, [str(n) for n in ticks], minor=False)
    left.set_yticks([], minor=True)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="workers")
        axes.set_xticks(counts, [str(n) for n in counts], minor=False)
        axes.set_xticks([], minor=True)
        axes.spines[["top", "right"]].set_visible(False)
        if counts[-1] > cores:
            low, high = axes.get_xlim()
            axes.axvspan(max(cores, low), high, color="0.94", zorder=-1, label="more workers than CPUs")
            axes.set_xlim(low, high)
    left.legend(frameon=False, fontsize=8)
    for path in paths:
        figure.savefig(path)


def _measured(axes: Any, points: Sequence[Point], values: Sequence[tuple[float, float]], whole: float) -> None:
    """Draw values, given with what a speed-up of 1 comes to, and lines over the range of the runs."""
    spans = [
        (middle - unit * whole / point.slowest, unit * whole / point.fastest - middle)
        for point, (middle, unit) in zip(points, values, strict=True)
    ]
    below, above = ([max(0.0, span[way]) for span in spans] for way in (0, 1))
    axes.errorbar(
        [point.workers for point in points], [middle for middle, _ in values], yerr=[below, above], color=_BLUE,
        fmt="o", markersize=5, capsize=3, linewidth=1, label="measured", zorder=3,
    )  # fmt: skip


def _steps(first: int, last: int) -> list[float]:
    """Return numbers from the first to the last, evenly spaced for the eye."""
    return [first * (last / first) ** (step / _STEPS) for step in range(_STEPS + 1)]
