"""The names that installed code brings: our own, which are text here, and the entry points of other packages."""

from typing import TYPE_CHECKING

from pytaskfarmer.plugins.definitions import Definition, Entry, Findings, Unreadable

if TYPE_CHECKING:
    from importlib.metadata import Distribution

BUILT_IN = {
    "runner": {
        "container": "pytaskfarmer.runners.container.container",
        "default": "pytaskfarmer.runners.shell.Shell",
        "hep": "pytaskfarmer.runners.hep.Hep",
        "python": "pytaskfarmer.runners.python.Python",
        "shell": "pytaskfarmer.runners.shell.Shell",
    },
    "handler": {
        "athena": "pytaskfarmer.handlers.atlas.Athena",
        "ddsim": "pytaskfarmer.handlers.presets.DDSim",
        "default": "pytaskfarmer.handlers.lines.Lines",
        "files": "pytaskfarmer.handlers.files.Files",
        "k4run": "pytaskfarmer.handlers.presets.K4run",
        "lines": "pytaskfarmer.handlers.lines.Lines",
        "marlin": "pytaskfarmer.handlers.presets.Marlin",
        "split": "pytaskfarmer.handlers.split.Split",
        "template": "pytaskfarmer.handlers.template.Template",
        "transform": "pytaskfarmer.handlers.atlas.Transform",
    },
}
ALIASES = {
    "taskfarmer.atlas.AthenaTaskList": "pytaskfarmer.handlers.atlas.Athena",
    "taskfarmer.atlas.TransformTaskList": "pytaskfarmer.handlers.atlas.Transform",
    "taskfarmer.runners.BasicRunner": "pytaskfarmer.runners.shell.Shell",
    "taskfarmer.runners.ShifterRunner": "pytaskfarmer.runners.shifter.ShifterRunner",
    "taskfarmer.task.ListTaskList": "pytaskfarmer.handlers.lines.Lines",
}
ENTRY_POINTS = {"runner": "pytaskfarmer.runners", "handler": "pytaskfarmer.handlers"}
ITSELF = "pytaskfarmer itself"
"""Where the definitions of the built-in names are."""


def class_of(kind: str, target: str) -> str:
    """Return the class that a definition means by `target`: a class of 0.1.0 or a built-in name is one of ours."""
    return ALIASES.get(target) or BUILT_IN.get(kind, {}).get(target, target)


def built_in() -> list[Definition]:
    """Return the definitions of our own names."""
    return [
        Definition(kind, name, target, {}, ITSELF, 0, installed=True)
        for kind, table in BUILT_IN.items()
        for name, target in table.items()
    ]


def scan(kind: str) -> Findings:
    """Return what installed packages declare, ours too. One with broken metadata is passed by, which is then said."""
    from importlib.metadata import distributions

    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    for distribution in distributions():
        try:
            points = distribution.entry_points.select(group=ENTRY_POINTS[kind])
            targets = [(point.name, point.value.partition("[")[0].strip()) for point in points]
        except Exception as error:
            from pytaskfarmer.plugins import faults

            unreadable.append(Unreadable(_package(distribution), faults.of_metadata(error)))
            continue
        package = _package(distribution) if targets else ""
        entries += [Definition(kind, name, target, {}, package, 0, installed=True) for name, target in targets]
    return Findings(tuple(entries), tuple(unreadable))


def _package(distribution: "Distribution") -> str:
    try:
        return f"package {distribution.name}"
    except Exception:
        return "an installed package without a name"
