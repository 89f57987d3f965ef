"""ATLAS transforms and athena, with the options and the very commands of PyTaskFarmer 0.1.0.

A task that 0.1.0 has run is known by its text: people have work directories that are half done, and what has finished
there must not run again. So texts are put together here as 0.1.0 did it, and not by `fields`: a value stands between
single quotes, and may end them and begin new ones (`a' 'b` is two arguments); an input is whatever the line of the list
says; and the last piece of an input asks for as many events as the others, since both tools stop at the end of a file.

What a task writes is copied by rsync into `output` below the work directory, which must be a directory by then: else
rsync makes a file of that name.
"""

import math
import os
import shlex
from collections.abc import Iterator, Mapping

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.plugins.contracts import Tasklist

from . import rows
from .counting import Counts
from .split import Piece, pieces

_TREE = "CollectionTree"


class _Copying:
    """A handler whose tasks copy what they wrote to `output` below the work directory."""

    def prepare(self, tasklist: Tasklist) -> None:
        """Make that directory."""
        os.makedirs(_output_directory(tasklist), exist_ok=True)


class Transform(_Copying):
    """An ATLAS transform for each ROOT file of the list, or for each piece of so many of its events.

    Options:

    - `transform`: its name, such as `Reco_tf.py`.
    - `input`, `output`: the types of the files, such as `HITS` and `RDO`.
    - `maxEventsPerJob`: the largest number of events of a task; by default, each file is one task. Events are the
      entries of the tree CollectionTree, which are counted (that needs `pip install 'pytaskfarmer[hep]'`); a file
      without events makes no task.

    Every other option is an argument of the transform: `autoConfiguration = everything` becomes `--autoConfiguration
    'everything'`. What is written is copied to `output` below the work directory by rsync. The command needs a shell.
    """

    def __init__(
        self, *, transform: str, input: str, output: str, maxEventsPerJob: float | None = None,  # noqa: A002, N803 - 0.1.0
        **arguments: str,
    ) -> None:  # fmt: skip
        self._begin = " ".join([transform, *_arguments(arguments)])
        self._input, self._output = input, output
        self._inputs = _Inputs(maxEventsPerJob)

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the command of each piece. Raises `TasklistError` for a file whose events cannot be counted."""
        directory = _output_directory(tasklist)
        for place, name, piece in self._inputs.read(tasklist):
            number = str(place) if piece is None else f"{place}.{piece.index}"
            output = f"{self._output}.{number}.root"
            files = f"--input{self._input}File {name} --output{self._output}File {output}"
            events = self._inputs.arguments(piece, "maxEvents")
            yield f"{self._begin} {files}{events} && rsync -avr {output} {shlex.quote(directory)}"


class Athena(_Copying):
    """An athena job for each ROOT file of the list, or for each piece of so many of its events.

    Options:

    - `jobOptions`: the job options file, which must leave the input to `--filesInput`.
    - `output`: the file that the job writes.
    - `maxEventsPerJob`: as in `transform`.

    Every other option is an argument of athena.py: `nprocs = 64` becomes `--nprocs '64'`. What is written is copied to
    `output` below the work directory by rsync, with the task id added to its name. The command needs a shell.
    """

    def __init__(
        self, *, jobOptions: str, output: str, maxEventsPerJob: float | None = None, **arguments: str  # noqa: N803 - 0.1.0
    ) -> None:  # fmt: skip
        self._begin = " ".join(["athena.py", *_arguments(arguments)])
        self._job_options, self._output = jobOptions, output
        self._inputs = _Inputs(maxEventsPerJob)

    def tasks(self, tasklist: Tasklist) -> Iterator[str]:
        """Yield the command of each piece. Raises `TasklistError` for a file whose events cannot be counted."""
        directory = _output_directory(tasklist)
        for task_id, (_, name, piece) in enumerate(self._inputs.read(tasklist)):
            events = self._inputs.arguments(piece, "evtMax")
            target = f"{shlex.quote(directory)}/{self._output}.{task_id}"
            run = f"{self._begin} --filesInput {name}{events} {self._job_options}"
            yield f"{run} && rsync -avr {self._output} {target}"


class _Inputs:
    """The lines of a list, each whole or cut into pieces of `most` events."""

    def __init__(self, most: float | None) -> None:
        if most is not None and not (math.isfinite(most) and most >= 1 and most == int(most)):
            raise ValueError(f"maxEventsPerJob is {most:g}; it must be a whole number, 1 or more")
        self._most = None if most is None else int(most)
        self._counts = Counts(_TREE, "leave out maxEventsPerJob")

    def read(self, tasklist: Tasklist) -> Iterator[tuple[int, str, Piece | None]]:
        """Yield the place of each line that is not left out, its text, and the piece, or None for all of it."""
        for place, (line, text) in enumerate(rows.lines(tasklist)):
            name = text.strip()
            if self._most is None:
                yield place, name, None
                continue
            try:
                events = self._counts.of(place, _path(name))
            except ValueError as error:
                raise TasklistError(tasklist.path, line, f"{name}: {error}.") from None
            for piece in pieces(events, self._most):
                yield place, name, piece

    def arguments(self, piece: Piece | None, most: str) -> str:
        """Return the arguments that choose the events of a piece; `most` is the name of their largest number."""
        return "" if piece is None else f" --skipEvents {piece.first} --{most} {self._most}"


def _arguments(arguments: Mapping[str, str]) -> list[str]:
    for key, value in arguments.items():
        if "\n" in value:
            raise ValueError(f"{key} has more than one line; a task is one line, so write it in one")
    return [f"--{key} '{value}'" for key, value in arguments.items()]


def _path(name: str) -> str:
    """Return the file that the shell would find under the name. Raises `ValueError` for a line of several files."""
    words = shlex.split(name)
    if len(words) != 1:
        raise ValueError("is not one file; with maxEventsPerJob, write each file on a line of its own")
    return os.path.expanduser(os.path.expandvars(words[0]))


def _output_directory(tasklist: Tasklist) -> str:
    return os.path.realpath(os.path.join(tasklist.workdir, "output"))
