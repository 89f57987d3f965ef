"""Lengths of time, as people write and read them. In between they are `float` seconds."""

import math
import re

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_SECONDS = re.compile(_NUMBER)
_WITH_UNITS = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS))
_CLOCK = re.compile(r"(?:(?:(?P<d>[0-9]+)-)?(?P<h>[0-9]+):(?=[0-5][0-9]:))?(?P<m>[0-9]+):(?P<s>[0-5][0-9])")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` says: a finite number, not negative.

    Accepts plain seconds (`90`, `1.5`), units from the largest down (`90s`, `10m`, `2h30m`, `1d`), and clock times
    as batch systems write them (`10:00` is ten minutes, `1:30:00`, `1-12:00:00`). Raises ValueError, with one line that
    lists these forms, for anything else.
    """
    words = text.strip()
    if _SECONDS.fullmatch(words):
        seconds = float(words)
    elif words and (match := _WITH_UNITS.fullmatch(words) or _CLOCK.fullmatch(words)):
        seconds = sum(_UNITS[unit] * float(count) for unit, count in match.groupdict().items() if count)
    else:
        seconds = math.inf
    if math.isinf(seconds):
        raise ValueError(
            f"{text!r} is not a length of time: "
            "write seconds (90, 1.5), units (90s, 10m, 2h, 1d, 2h30m) or a clock (10:00, 1:30:00, 1-12:00:00)"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Return `seconds` (finite, not negative) for people: `340 ms`, `4.2 s`, `2 min 5 s`, `1 h 23 min`, `3 d 4 h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole, 60, "min", "s")
    if (minutes := round(seconds / 60)) < 1440:
        return _two_units(minutes, 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def _two_units(count: int, size: int, large: str, small: str) -> str:
    many, few = divmod(count, size)
    return f"{many} {large} {few} {small}" if few else f"{many} {large}"
