"""`split` with the command lines of tools that people run by events: k4run, ddsim and Marlin.

What the options say is text of the command, as it would be typed, and may have the fields of `split`: a seed for each
piece is `RandSeed = {first}`. Options that a preset does not know are arguments of the tool.
"""

from collections.abc import Mapping
from typing import ClassVar

from .split import Piece, Split


class K4run(Split):
    """Gaudi jobs of Key4hep: `k4run` for each input of the list, or for each piece of so many of its events.

    The command is

        k4run STEERING --IOSvc.Input INPUT --IOSvc.Output OUTPUT
            -n COUNT --IOSvc.FirstEventEntry FIRST

    Without events_per_task, the last argument is left out, and COUNT is -1, which means all, unless events or
    events_column says how many.

    Options:

    - `steering`: the options file.
    - `input_key`, `output_key`, `skip_key`: what the arguments before INPUT, OUTPUT and FIRST are called. An empty
      output_key or skip_key means that there is none; without a skip_key, inputs cannot be split.
    - `tree`: the tree whose entries are the events, where they are counted.
    - `output`, `events_per_task`, `events`, `events_column`, `kind`, `input_column`, `empty`: as in `split`.

    Every other option is an argument: `overlay = x.root` becomes `--overlay x.root`, and `doOverlay =` `--doOverlay`.
    """

    ALL = "-1"

    def __init__(
        self, *, steering: str, input_key: str = "--IOSvc.Input", output_key: str = "--IOSvc.Output",
        skip_key: str = "--IOSvc.FirstEventEntry", output: str = "", events_per_task: int | None = None,
        events: int | None = None, events_column: str = "", tree: str = "events", kind: str = "auto",
        input_column: str = "input", empty: str = "error", **arguments: str,
    ) -> None:  # fmt: skip
        words = ["k4run", _needed("steering", steering), f"{_needed('input_key', input_key)} {{input}}"]
        words += [f"{output_key} {{output}}"] if output_key else []
        words += ["-n {count}", *(f"{key} {{first}}" for key in _skipping(skip_key, events_per_task))]
        super().__init__(
            command=" ".join([*words, *_arguments(arguments)]), output=output, events_per_task=events_per_task,
            events=events, events_column=events_column, tree="" if events or events_column else tree, kind=kind,
            input_column=input_column, empty=empty,
        )  # fmt: skip


class DDSim(Split):
    """Detector simulation of DD4hep: `ddsim` for each input of the list, or for each piece of so many of its events.

    The command is

        ddsim --compactFile COMPACT --steeringFile STEERING --inputFiles INPUT
            --outputFile OUTPUT --numberOfEvents COUNT --skipNEvents FIRST

    Without events_per_task, the last argument is left out, and COUNT is -1, which means all, unless events or
    events_column says how many.

    Options:

    - `compactFile`, `steeringFile`: the geometry, the steering file, or both.
    - `skip_key`: what the argument before FIRST is called; empty if there is none, and inputs cannot be split.
    - `output`: as in `split`, but that it ends in `.edm4hep.root` by default; ddsim takes its format from the ending.
    - `events_per_task`, `events`, `events_column`, `tree`, `kind`, `input_column`, `empty`: as in `split`.

    Every other option is an argument: `random.seed = {first}` becomes `--random.seed FIRST`, and `enableG4GPS =`
    `--enableG4GPS`.
    """

    ALL = "-1"

    def __init__(
        self, *, compactFile: str = "", steeringFile: str = "",  # noqa: N803 - as ddsim spells them
        skip_key: str = "--skipNEvents", output: str = "", events_per_task: int | None = None,
        events: int | None = None, events_column: str = "", tree: str = "", kind: str = "auto",
        input_column: str = "input", empty: str = "error", **arguments: str,
    ) -> None:  # fmt: skip
        if not compactFile and not steeringFile:
            raise ValueError("compactFile is missing; name the geometry, or a steeringFile that does")
        given = {"compactFile": compactFile, "steeringFile": steeringFile}
        words = ["ddsim", *_arguments({key: value for key, value in given.items() if value})]
        words += ["--inputFiles {input} --outputFile {output} --numberOfEvents {count}"]
        words += [f"{key} {{first}}" for key in _skipping(skip_key, events_per_task)]
        piece = ".{index}" if events_per_task else ""
        super().__init__(
            command=" ".join([*words, *_arguments(arguments)]),
            output=output or f"{{stem}}.{{file_index}}{piece}.edm4hep.root", events_per_task=events_per_task,
            events=events, events_column=events_column, tree=tree, kind=kind, input_column=input_column, empty=empty,
        )  # fmt: skip


class Marlin(Split):
    """Reconstruction of iLCSoft: `Marlin` for each LCIO input of the list, or for each piece of so many of its events.

    The command is

        Marlin STEERING --global.LCIOInputFiles=INPUT
            --MyLCIOOutputProcessor.LCIOOutputFile=OUTPUT
            --global.MaxRecordNumber=RECORDS --global.SkipNEvents=FIRST

    Without events_per_task, the last argument is left out, and RECORDS is 0, which means all, unless events or
    events_column says how many. Events of LCIO files cannot be counted here, so inputs are split by one of these two.

    Options:

    - `steering`: the steering file.
    - `output_key`, `skip_key`: what the arguments of OUTPUT and FIRST are called. Empty if there is none; without a
      skip_key, inputs cannot be split.
    - `run_header`: whether inputs begin with a run header, as most do (true). Marlin counts it as a record where it
      reads it, which is where nothing is skipped: so the first piece is one record more than its events. Inputs with
      further run headers between their events cannot be split without losing some.
    - `output`, `events_per_task`, `events`, `events_column`, `kind`, `input_column`, `empty`: as in `split`.

    Every other option is an argument: `global.GearXMLFile = g.xml` becomes `--global.GearXMLFile=g.xml`.
    """

    ALL = "0"
    COUNTED_BY = "events or events_column"
    COUNTS: ClassVar[tuple[str, ...]] = ("count", "records")

    def __init__(
        self, *, steering: str, output_key: str = "--MyLCIOOutputProcessor.LCIOOutputFile",
        skip_key: str = "--global.SkipNEvents", run_header: bool = True, output: str = "",
        events_per_task: int | None = None, events: int | None = None, events_column: str = "", kind: str = "auto",
        input_column: str = "input", empty: str = "error", **arguments: str,
    ) -> None:  # fmt: skip
        self._headers = int(run_header)
        if bare := [key for key, value in arguments.items() if not value]:
            raise ValueError(f"{bare[0]} is empty, and arguments of Marlin need a value; remove it, or give it one")
        words = ["Marlin", _needed("steering", steering), "--global.LCIOInputFiles={input}"]
        words += [f"{output_key}={{output}}"] if output_key else []
        words += ["--global.MaxRecordNumber={records}"]
        words += [f"{key}={{first}}" for key in _skipping(skip_key, events_per_task)]
        super().__init__(
            command=" ".join([*words, *_arguments(arguments, "=")]), output=output, events_per_task=events_per_task,
            events=events, events_column=events_column, kind=kind, input_column=input_column, empty=empty,
        )  # fmt: skip

    def numbers(self, piece: Piece) -> Mapping[str, str]:
        """Return the fields that tell pieces of an input apart, `{records}` among them."""
        headers = 0 if piece.first else self._headers
        records = self.ALL if piece.count is None else str(piece.count + headers)
        return {**super().numbers(piece), "records": records}


def _arguments(arguments: Mapping[str, str], sign: str = " ") -> list[str]:
    names = {key: key if key.startswith("-") else f"--{key}" for key in arguments}
    return [f"{names[key]}{sign}{value}" if value else names[key] for key, value in arguments.items()]


def _skipping(key: str, events_per_task: int | None) -> list[str]:
    """Return the argument that skips events, if it is needed. Raises `ValueError` where there is none."""
    if events_per_task and not key:
        raise ValueError("events_per_task needs a skip_key, the argument of the tool that skips events")
    return [key] if events_per_task else []


def _needed(option: str, value: str) -> str:
    if not value.strip():
        raise ValueError(f"{option} is empty; give it a value")
    return value
