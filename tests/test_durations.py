import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytaskfarmer.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        (".5", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1d2h3m4.5s", 93784.5),
        ("10:00", 600),
        ("90:00", 5400),
        ("1:30:00", 5400),
        ("100:00:01", 360001),
        ("1-12:00:00", 129600),
        (" 10m ", 600),
    ],
)
def test_accepted_forms(text: str, seconds: float) -> None:
    """Plain seconds, units and clock times mean what batch users expect."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-1", "+1", "nan", "inf", "infinity", "1e3", "ten", "10 m", "m", "10m2h", "5m5m", "10M", "1w"),
        *("1:2", "1:60", "1:60:00", "1:5:00", ":10", "10:", "1:00:00:00", "1-10:00", "-1:00", "1h30", "1,5", "."),
        *("\N{ARABIC-INDIC DIGIT FIVE}", "9" * 400, "9" * 400 + "d", "10\n20"),
    ],
)
def test_refused_forms(text: str) -> None:
    """Anything else raises one line that repeats the text and lists the forms."""
    with pytest.raises(ValueError, match="10m, 2h") as caught:
        parse_duration(text)
    assert str(caught.value).startswith(repr(text))
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.34, "340 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (4.2, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3599.6, "1 h"),
        (4980, "1 h 23 min"),
        (86399, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """Two units say a duration, and rounding carries into the larger one."""
    assert text == format_duration(seconds)


@given(st.floats(0, 1e9))
def test_what_people_read_is_near_the_truth(seconds: float) -> None:
    """What is printed, read back, is within half of its smallest unit."""
    text = format_duration(seconds)
    if text.endswith("ms"):
        back, half = float(text.removesuffix(" ms")) / 1000, 0.0005
    else:
        back = parse_duration(text.replace("min", "m").replace(" ", ""))
        half = {"s": 0.5, "m": 30, "h": 1800, "d": 1800}[text.replace("min", "m")[-1]]
        half = max(half, {"min": 0.5, "h": 30, "d": 1800}.get(text.split()[1], 0))
    assert math.isclose(seconds, back, abs_tol=half * 1.001, rel_tol=0)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_clock_and_units_agree(hours: int, minutes: int, seconds: int) -> None:
    """The same time means the same in every form."""
    expected = float(hours * 3600 + minutes * 60 + seconds)
    assert expected == parse_duration(f"{hours}:{minutes:02}:{seconds:02}")
    assert expected == parse_duration(f"{hours}h{minutes}m{seconds}s")
    assert expected == parse_duration(str(int(expected)))
