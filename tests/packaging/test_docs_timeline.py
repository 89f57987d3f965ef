"""The timeline of a run in the real Perfetto UI, by the script that makes the manual's picture."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "docs/pictures"))

import make_timeline
import perfetto


@pytest.fixture
def viewer() -> None:
    """Make sure that the viewer is there."""
    if missing := perfetto.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")


@pytest.fixture
def trace(tmp_path: Path, viewer: None, require: Callable[[str], str]) -> Path:
    """Return the timeline of two farmers, one of which was stopped and started again."""
    require("unshare")
    return make_timeline.run(tmp_path, pace=3)


def test_the_real_viewer_shows_every_attempt_in_its_lane(trace: Path, tmp_path: Path) -> None:
    """It finds nothing wrong; each attempt is a bar of its slot's track, and each farmer a group of its name."""
    events = json.loads(trace.read_text())
    bars = [event for event in events if event["ph"] == "X"]
    assert {"nid001", "nid002"} == {bar["args"]["host"] for bar in bars}
    assert len(bars) > len(make_timeline.LIST)  # some ran twice
    slots = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    with perfetto.opened(trace) as timeline:
        assert 0 == timeline.import_errors
        shown = timeline.query(
            "select slice.name as text, slice.dur as dur, tid, pid from slice"
            " join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid)"
        )
        assert sorted((bar["name"], bar["dur"] * 1000, bar["tid"], bar["pid"]) for bar in bars) == sorted(
            (one["text"], int(one["dur"]), int(one["tid"]), int(one["pid"])) for one in shown
        )
        (tracks,) = timeline.query("select count(distinct track_id) as n from slice where depth = 0 and dur > 0")
        assert len({bar["tid"] for bar in bars}) == int(tracks["n"])
        named = timeline.query("select pid, name from process where pid > 0")
        assert [("1", "nid001"), ("2", "nid002")] == sorted((row["pid"], row["name"]) for row in named)
        threads = timeline.query("select name from thread where name is not null and tid > 0")
        assert slots == {row["name"] for row in threads}
        (marks,) = timeline.query("select count(*) as n from slice where category = 'farmer'")
        assert sum(event["ph"] == "i" for event in events) == int(marks["n"])


def test_the_viewer_sees_what_is_wrong(viewer: None, tmp_path: Path) -> None:
    """Bars that overlap in a track do not pass for good ones."""
    broken = tmp_path / "broken.json"
    bars = [{"name": name, "ph": "X", "ts": ts, "dur": 10, "pid": 1, "tid": 1} for name, ts in (("a", 0), ("b", 5))]
    broken.write_text(json.dumps(bars))
    with perfetto.opened(broken) as timeline:
        assert timeline.import_errors > 0


def test_the_picture_of_the_manual_is_small_enough_and_one_that_the_script_makes(trace: Path, tmp_path: Path) -> None:
    """It is a PNG as wide as the script's, below 200 KB; how high, depends on who found something to do."""
    picture = ROOT / "docs/pictures/timeline.png"
    assert picture.stat().st_size < 200_000
    make_timeline.draw(trace, tmp_path / "new.png")
    assert (tmp_path / "new.png").read_bytes()[:20] == picture.read_bytes()[:20]  # format and width
