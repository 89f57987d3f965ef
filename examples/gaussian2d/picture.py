"""Pictures of the values and of run times: by matplotlib or, without it, by characters."""

from array import array
from collections.abc import Sequence
from importlib import import_module
from typing import Any

PIXELS = 500
COLUMNS, LINES = 48, 24
SHADES = " .:-=+*#%@"


def draw(path: str, values: "array[float]", points: int) -> None:
    """Write a picture of `points` rows of as many values each, and print its name.

    `path` ends in .png; without matplotlib the picture is of characters, and its name ends in .txt.
    """
    try:
        figure, axes = _figure((5, 4))
    except ImportError:
        text = f"{path.removesuffix('.png')}.txt"
        with open(text, "w") as file:
            file.write(f"{characters(values, points)}\n")
        print(f"{text} (no matplotlib, so no {path}; pip install 'pytaskfarmer[plot]')")
        return
    rows = import_module("numpy").frombuffer(values).reshape(points, points)
    every = -(-points // PIXELS)
    image = axes.imshow(rows[::every, ::every].T, origin="lower", extent=(-2, 2, -2, 2))
    axes.set(xlabel="x", ylabel="y")
    figure.colorbar(image)
    figure.savefig(path)
    print(path)


def characters(values: "array[float]", points: int) -> str:
    """Return the picture in lines of characters, the darker the higher."""
    highest = max(values)
    lines = []
    for line in range(min(LINES, points)):
        row = points * line // min(LINES, points)
        columns = (points * column // min(COLUMNS, points) for column in range(min(COLUMNS, points)))
        shades = (values[row * points + column] / highest * (len(SHADES) - 1) for column in columns)
        lines.append("".join(SHADES[round(shade)] for shade in shades))
    return "\n".join(lines)


def draw_times(path: str, workers: Sequence[int], seconds: Sequence[float], cpus: int) -> None:
    """Print run times as bars, and write a picture of them."""
    for n, taken in zip(workers, seconds, strict=True):
        noun, bar = "worker" if n == 1 else "workers", "#" * max(1, round(40 * taken / max(seconds)))
        print(f"{n:6} {noun:7}{taken:8.2f} s  {bar}")
    try:
        figure, axes = _figure((5, 3.5))
    except ImportError:
        print(f"no matplotlib, so no {path}; pip install 'pytaskfarmer[plot]'")
        return
    axes.plot(workers, seconds, "o-", color="#0072b2")
    axes.axvline(cpus, color="0.6", linestyle="--", label="CPUs here")
    axes.set(xscale="log", xlabel="max_workers", ylabel="run time [s]", ylim=(0, None))
    axes.set_xticks(workers, [str(n) for n in workers])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path)
    print(path)


def _figure(inches: tuple[float, float]) -> tuple[Any, Any]:
    figure = import_module("matplotlib.figure").Figure(figsize=inches, dpi=120, layout="constrained")
    return figure, figure.subplots()
