"""The command lines of k4run, ddsim and Marlin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from pytaskfarmer.errors import DefinitionError, TasklistError
from pytaskfarmer.handlers.presets import DDSim, K4run, Marlin
from pytaskfarmer.handlers.split import Split
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.plugins.registry import Registry


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tasks(handler: Split, content: str, name: str = "list.txt") -> list[str]:
    Path(name).write_text(content)
    return list(handler.tasks(Tasklist(name, "/nowhere/work")))


def refusal(preset: type[Split], **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        preset(**options)
    return str(caught.value)


def edm4hep(name: str, events: int) -> None:
    """Write a file as podio does: a tree of events, and trees of metadata."""
    with uproot.recreate(name) as file:
        for tree, entries in (("events", events), ("podio_metadata", 1)):
            file.mktree(tree, {"x": np.int64})
            file[tree].extend({"x": np.arange(entries)})


class TestK4run:
    def test_a_whole_input_asks_for_all_events(self) -> None:
        """Without pieces, inputs are not opened, and k4run reads to the end."""
        assert [
            "k4run reco.py --IOSvc.Input d/a.root --IOSvc.Output a.0.root -n -1",
            "k4run reco.py --IOSvc.Input b.root --IOSvc.Output b.1.root -n -1",
        ] == tasks(K4run(steering="reco.py"), "d/a.root\nb.root\n")
        first = "k4run reco.py --IOSvc.Input a.root --IOSvc.Output a.0.root -n 5"
        assert [first] == tasks(K4run(steering="reco.py", events=5), "a.root\n")

    def test_pieces_are_counted_in_the_tree_of_events(self) -> None:
        """An exact and a ragged split of files as podio writes them; the last piece asks for what is left."""
        edm4hep("a.root", 200)
        edm4hep("b.root", 250)
        k4run = "k4run reco.py --IOSvc.Input {0}.root --IOSvc.Output {0}.{1}.root -n {2} --IOSvc.FirstEventEntry {3}"
        assert [
            k4run.format("a", "0.0", 100, 0),
            k4run.format("a", "0.1", 100, 100),
            k4run.format("b", "1.0", 100, 0),
            k4run.format("b", "1.1", 100, 100),
            k4run.format("b", "1.2", 50, 200),
        ] == tasks(K4run(steering="reco.py", events_per_task=100), "a.root\nb.root\n")

    def test_a_file_of_another_kind_names_its_trees(self) -> None:
        """A file without the tree of events is an error with its line."""
        with uproot.recreate("a.root") as file:
            file.mktree("ntuple", {"x": np.int64})
        with pytest.raises(TasklistError, match=r"^list\.txt, line 1: a\.root: has no tree 'events' .*: ntuple\)"):
            tasks(K4run(steering="reco.py", events_per_task=100), "a.root\n")

    def test_arguments_have_other_names(self) -> None:
        """All three keys can be renamed, and that of the output left out."""
        handler = K4run(
            steering="digi.py", input_key="--LcioEvent.Files", output_key="--OutputDigiFileName",
            skip_key="--LcioEvent.SkipNEvents", output="{stem}_{index}.slcio", events=15, events_per_task=10,
        )  # fmt: skip
        k4run = (
            "k4run digi.py --LcioEvent.Files a.slcio --OutputDigiFileName a_{}.slcio -n {} --LcioEvent.SkipNEvents {}"
        )
        assert [k4run.format(0, 10, 0), k4run.format(1, 5, 10)] == tasks(handler, "a.slcio\n")
        assert ["k4run d.py --IOSvc.Input a -n -1"] == tasks(K4run(steering="d.py", output_key=""), "a\n")

    def test_without_a_skip_key_inputs_are_whole(self) -> None:
        """An empty skip key is an error where inputs are to be split, and only there."""
        handler = K4run(steering="d.py", skip_key="", events=5, output="{stem}.out")
        assert ["k4run d.py --IOSvc.Input a --IOSvc.Output a.out -n 5"] == tasks(handler, "a\n")
        told = "events_per_task needs a skip_key, the argument of the tool that skips events"
        assert told == refusal(K4run, steering="d.py", skip_key="", events_per_task=5)

    def test_other_options_are_arguments(self) -> None:
        """Further keys are arguments in their order and case, with fields, and without a value where there is none."""
        extra = {"OverlayFullPathToMuPlus": "$BIB/MUPLUS", "doOverlay": "", "RandSeed": "{first}", "F.Files": "'a b' c"}
        handler = K4run(steering="d.py", output_key="", events=4, events_per_task=2, **extra)
        rest = "--OverlayFullPathToMuPlus $BIB/MUPLUS --doOverlay --RandSeed {0} --F.Files 'a b' c"
        k4run = "k4run d.py --IOSvc.Input 'x y' -n 2 --IOSvc.FirstEventEntry {0} " + rest
        assert [k4run.format(0), k4run.format(2)] == tasks(handler, "x y\n")


class TestDDSim:
    def test_a_whole_input_asks_for_all_events(self) -> None:
        """Without pieces, ddsim reads to the end; the geometry may come from the steering file."""
        files = "--inputFiles a.hepmc --outputFile a.0.edm4hep.root --numberOfEvents -1"
        assert [f"ddsim --compactFile $K4GEO/c.xml {files}"] == tasks(DDSim(compactFile="$K4GEO/c.xml"), "a.hepmc\n")
        assert [f"ddsim --steeringFile s.py {files}"] == tasks(DDSim(steeringFile="s.py"), "a.hepmc\n")

    @pytest.mark.parametrize(("events", "counts"), [(200, (100, 100)), (250, (100, 100, 50)), (1, (1,))])
    def test_pieces_of_hepmc_are_counted(self, events: int, counts: tuple[int, ...]) -> None:
        """Exact and ragged splits: no task asks for an event that is not there, of which ddsim would make one up."""
        Path("a.hepmc").write_text("HepMC::Asciiv3-START_EVENT_LISTING\n" + "E 0 1 1\nP 1 0 11\n" * events)
        handler = DDSim(compactFile="c.xml", steeringFile="s.py", events_per_task=100)
        assert [
            f"ddsim --compactFile c.xml --steeringFile s.py --inputFiles a.hepmc --outputFile a.0.{i}.edm4hep.root "
            f"--numberOfEvents {count} --skipNEvents {100 * i}"
            for i, count in enumerate(counts)
        ] == tasks(handler, "a.hepmc\n")

    def test_other_options_are_arguments(self) -> None:
        """Keys with points and flags go through, after those of the preset."""
        extra = {"random.seed": "{first}", "enableG4GPS": "", "-v": "4"}
        handler = DDSim(compactFile="c.xml", output="o/{stem}.slcio", **extra)
        files = "--inputFiles g.slcio --outputFile o/g.slcio --numberOfEvents -1"
        ddsim = f"ddsim --compactFile c.xml {files} --random.seed 0 --enableG4GPS -v 4"
        assert [ddsim] == tasks(handler, "g.slcio\n")

    def test_what_is_missing_is_named(self) -> None:
        """A geometry is needed, and a skip key to split."""
        assert "compactFile is missing; name the geometry, or a steeringFile that does" == refusal(DDSim)
        assert "needs a skip_key" in refusal(DDSim, compactFile="c.xml", skip_key="", events_per_task=1)


class TestMarlin:
    FILES = "Marlin s.xml --global.LCIOInputFiles=a.slcio --MyLCIOOutputProcessor.LCIOOutputFile={} "

    def test_a_whole_input_asks_for_all_records(self) -> None:
        """Without pieces, the largest number of records is 0, which is none; with events, the run header is added."""
        whole = self.FILES.format("a.0.slcio") + "--global.MaxRecordNumber={}"
        assert [whole.format(0)] == tasks(Marlin(steering="s.xml"), "a.slcio\n")
        assert [whole.format(11)] == tasks(Marlin(steering="s.xml", events=10), "a.slcio\n")

    @pytest.mark.parametrize(("events", "counts"), [(200, (100, 100)), (250, (100, 100, 50))])
    def test_the_first_piece_reads_the_run_header_too(self, events: int, counts: tuple[int, ...]) -> None:
        """The first piece is one record more than its events, unless inputs have no run header; the others are not."""
        split = self.FILES + "--global.MaxRecordNumber={} --global.SkipNEvents={}"
        pieces = [(f"a.0.{i}.slcio", count, 100 * i) for i, count in enumerate(counts)]
        for header in (True, False):
            handler = Marlin(steering="s.xml", events_column="n", events_per_task=100, run_header=header)
            assert [
                split.format(output, count + (header and first == 0), first) for output, count, first in pieces
            ] == tasks(handler, f"input,n\na.slcio,{events}\n", "list.csv")

    def test_lcio_files_are_not_counted(self) -> None:
        """To split inputs of which the number of events is not said is an error with the remedy."""
        with pytest.raises(TasklistError, match=r"line 1: a\.slcio: .*; set the option events or events_column\.$"):
            tasks(Marlin(steering="s.xml", events_per_task=10), "a.slcio\n")

    def test_arguments_have_other_names(self) -> None:
        """The parameter of the output can be another, or none; further keys are arguments that need a value."""
        handler = Marlin(
            steering="s.xml", output_key="--constant.OutputBaseName", output="{stem}_{index}", skip_key="--my.Skip",
            events=3, events_per_task=2, **{"global.GearXMLFile": "g.xml", "InitDD4hep.DD4hepXMLFile": "'a b.xml'"},
        )  # fmt: skip
        rest = "--global.GearXMLFile=g.xml --InitDD4hep.DD4hepXMLFile='a b.xml'"
        marlin = "Marlin s.xml --global.LCIOInputFiles='x y' --constant.OutputBaseName='x y_{}' "
        marlin += "--global.MaxRecordNumber={} --my.Skip={} " + rest
        assert [marlin.format(0, 3, 0), marlin.format(1, 1, 2)] == tasks(handler, "x y\n")
        none = ["Marlin s.xml --global.LCIOInputFiles=a --global.MaxRecordNumber=0"]
        assert none == tasks(Marlin(steering="s.xml", output_key=""), "a\n")
        assert "global.X is empty, and arguments of Marlin need a value" in refusal(
            Marlin, steering="s.xml", **{"global.X": ""}
        )


@pytest.mark.parametrize("preset", [K4run, Marlin])
def test_a_steering_file_is_needed(preset: type[Split]) -> None:
    """An empty steering is an error."""
    assert "steering is empty; give it a value" == refusal(preset, steering=" ")


def test_presets_are_known_by_name(place: Path) -> None:
    """In an INI file, and with texts as options, they are what they are here; a wrong number is an error."""
    names = Registry.read(str(place / "home"), str(place))
    options = {"steering": "r.py", "events": "15", "events_per_task": "10", "Overlay.Seed": "7"}
    handler = names.handler("k4run", options)
    assert isinstance(handler, K4run)
    assert tasks(K4run(steering="r.py", events=15, events_per_task=10, **{"Overlay.Seed": "7"}), "a\n") == tasks(
        handler, "a\n"
    )
    assert isinstance(names.handler("ddsim", {"compactFile": "c.xml"}), DDSim)
    assert isinstance(names.handler("marlin", {"steering": "s.xml", "run_header": "false"}), Marlin)
    with pytest.raises(DefinitionError, match="events_per_task"):
        names.handler("k4run", {"steering": "r.py", "events_per_task": "many"})
