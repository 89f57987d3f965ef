"""Every shape of INI file that people have: it loads, and gives the command line that it always gave."""

from pathlib import Path

import numpy as np
import pytest
import uproot
from plugin_places import FOUR_SHAPES, Places

from pytaskfarmer.errors import DefinitionError
from pytaskfarmer.plugins.contracts import TaskContext, Tasklist, WorkerRunner
from pytaskfarmer.task import Task

CONTEXT = TaskContext(0, 1, "/w", {"PATH": "/bin", "USER": "u"})
TASK = Task(3, "sim-worker.sh in.hepmc out 10 0")


@pytest.fixture
def shapes(places: Places, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Places whose current directory has the definitions, and a shifter on PATH."""
    shifter = places.root / "bin/shifter"
    shifter.parent.mkdir()
    shifter.write_text("#!/bin/sh\n")
    shifter.chmod(0o755)
    monkeypatch.setenv("PATH", str(shifter.parent), prepend=":")
    places.ini("cwd/all.ini", FOUR_SHAPES)
    return places


@pytest.fixture
def hits(tmp_path: Path) -> Path:
    """A list of two files, of 250 and of 100 events."""
    for name, events in (("a.root", 250), ("b.root", 100)):
        with uproot.recreate(tmp_path / name) as file:
            file.mktree("CollectionTree", {"x": np.int64})
            file["CollectionTree"].extend({"x": np.arange(events)})
    (tmp_path / "hits.txt").write_text(f"{tmp_path}/a.root\n{tmp_path}/b.root\n")
    return tmp_path


def argv(places: Places, name: str) -> list[str]:
    """Return the words that a runner starts for `TASK`, and close it."""
    runner = places.registry().runner(name)
    assert not isinstance(runner, WorkerRunner)
    words = list(runner.command(TASK, CONTEXT).argv)
    getattr(runner, "close", bool)()
    return words


def tasks(places: Places, name: str, path: Path, **options: str) -> list[str]:
    return list(places.registry().handler(name, options).tasks(Tasklist(str(path / "hits.txt"), "/w/farm")))


def test_shifter_with_everything(shapes: Places) -> None:
    """Image, fresh work directory, volume, module, then bash with setup and task."""
    words = argv(shapes, "mcd-runner")
    assert words[3].startswith("--workdir=/")
    assert [
        "shifter",
        "--image",
        "docker:gitlab-registry.example.org/muon-collider/mucoll:2.9-alma9",
        words[3],
        "-V/global/cfs/cdirs/atlas/user/MuonCollider/data:/data",
        "-mcvmfs",
        "--",
        "/bin/bash",
        "-c",
        "source /opt/setup_mucoll.sh && sim-worker.sh in.hepmc out 10 0",
    ] == words


def test_shifter_with_colons_for_equals(shapes: Places) -> None:
    """`key: value` and `key=value` are the same, so image and setup arrive."""
    expected = [
        *("shifter", "--image", "docker:user/wcd:main-gaudi-alma9", "--", "/bin/bash", "-c"),
        "source /opt/spack/setup.sh && sim-worker.sh in.hepmc out 10 0",
    ]
    assert expected == argv(shapes, "wcd_runner")


def test_a_transform(shapes: Places, hits: Path) -> None:
    """Each file becomes pieces of a hundred events, the last one smaller."""
    start = "Reco_tf.py --postInclude 'default:PyJobTransforms/UseFrontier.py'"
    assert [
        f"{start} --inputHITSFile {hits}/{name}.root --outputRDOFile RDO.{place}.{piece}.root"
        f" --skipEvents {100 * piece} --maxEvents 100 && rsync -avr RDO.{place}.{piece}.root /w/farm/output"
        for place, name, pieces in ((0, "a", 3), (1, "b", 1))
        for piece in range(pieces)
    ] == tasks(shapes, "digi", hits)


def test_athena(shapes: Places, hits: Path) -> None:
    """Each file is one job, since nothing says how many events one may have; the option of `-T` says it."""
    start = f"athena.py --nprocs '64' --filesInput {hits}"
    end = "InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py && rsync -avr M_output.root /w/farm/output"
    assert [
        f"{start}/a.root {end}/M_output.root.0",
        f"{start}/b.root {end}/M_output.root.1",
    ] == tasks(shapes, "valid", hits)
    assert [
        f"{start}/a.root --skipEvents 0 --evtMax 200 {end}/M_output.root.0",
        f"{start}/a.root --skipEvents 200 --evtMax 200 {end}/M_output.root.1",
        f"{start}/b.root --skipEvents 0 --evtMax 200 {end}/M_output.root.2",
    ] == tasks(shapes, "valid", hits, maxEventsPerJob="200")


@pytest.mark.parametrize("place", ["cwd/shapes.ini", "home/runners.d/shapes.ini", "home/tasklists.d/shapes.ini"])
def test_good_ones_among_broken_ones(shapes: Places, hits: Path, place: str) -> None:
    """In every directory that is read, good definitions load beside files that are broken in all ways."""
    (shapes.root / "cwd/all.ini").unlink()
    shapes.ini(place, FOUR_SHAPES)
    directory = str(Path(place).parent)
    broken: dict[str, str | bytes] = {
        "0.ini": "no section = 1\n",
        "1.ini": "[x\nRunner = m.C\n",
        "2.ini": "[mine]\nRunner = taskfarmer.runners.ShifterRunner\nimage = a\nimage = b\n",
        "3.ini": b"\xff\xfe\0\0[utf-16]\n",
        "4.ini": "",
        "5.ini": "[percent]\nRunner = no.such.Class\nsetup = %(nothing)s %\n",
    }
    for name, text in broken.items():
        shapes.ini(f"{directory}/{name}", text)
    assert "docker:user/wcd:main-gaudi-alma9" == argv(shapes, "wcd_runner")[2]
    assert "shifter" == argv(shapes, "mcd-runner")[0]
    assert 4 == len(tasks(shapes, "digi", hits))
    assert 2 == len(tasks(shapes, "valid", hits))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("tempdir", "perhaps", "the option 'tempdir' must be true or false, not 'perhaps'"),
        (
            "volume",
            "/a:/b",
            "there is no option 'volume'. Did you mean 'volumes'? Its options: image, setup, volumes, ",
        ),
        ("volumes", "/a", "volumes: '/a' is not of the form SOURCE:DESTINATION"),
    ],
)
def test_a_wrong_option(shapes: Places, key: str, value: str, told: str) -> None:
    """What 0.1.0 accepted in silence, or failed at with a traceback, is one line with the place."""
    shapes.ini("cwd/all.ini", f"\n[mine]\nRunner = taskfarmer.runners.ShifterRunner\nimage = i\n{key} = {value}\n")
    with pytest.raises(DefinitionError, match=r"^[^\n]+$") as caught:
        shapes.registry().runner("mine")
    assert str(caught.value).startswith(f"{shapes.cwd}/all.ini, line 2: runner 'mine': {told}")
