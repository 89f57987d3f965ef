"""What an earlier caller has left in the work directory: jobs, the slices that it listed, and results.

A slice that is listed twice was tried again: the later one counts. Of a slice that was stopped, what it had handed over
counts, and workers begin behind that.
"""

import itertools
import os
from collections.abc import Iterator

from pytaskfarmer.api import request, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.request import JobLine, Slice
from pytaskfarmer.api.travel import Piece
from pytaskfarmer.errors import UsageError
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import records
from pytaskfarmer.workdir.results import Result, scan


class Earlier:
    """What it is; to be made before there is a farm. Raises `UsageError` if it is damaged.

    `lost` are the tasks that have ended and have no result.
    """

    def __init__(self, desk: Desk) -> None:
        self.jobs: dict[int, JobLine] = {}
        self.tasks = 0
        self.lost: frozenset[int] = frozenset()
        self._chunks: dict[tuple[int, int], dict[Slice, int]] = {}
        self._listed: dict[Slice, int] = {}
        self._sizes: dict[str, int] = {}
        self._stopped: dict[int, list[Result]] = {}
        try:
            self._read(desk)
        except (ValueError, TypeError, KeyError):
            raise UsageError(f"{desk.root}: what it holds of earlier calls is damaged; name another workdir.") from None
        if self.tasks:
            self._look_at_results(desk)
            self._say_where_to_begin(desk)

    def _read(self, desk: Desk) -> None:
        with open(desk.jobs, "rb") as lines:
            self.jobs.update((job.job, job) for job in map(request.parse_job, lines))
        with open(desk.list, "rb") as lines:
            for line in lines:
                asked = request.parse(line.decode())
                self._chunks.setdefault((asked.job, asked.first), {})[asked] = self.tasks
                self._listed[asked] = self.tasks
                self.tasks += 1

    def _look_at_results(self, desk: Desk) -> None:
        layout = desk.layout
        ended = {*records.ids(layout.finished), *records.ids(layout.failed)}
        for path in map(layout.results_of, os.listdir(layout.results) if os.path.isdir(layout.results) else ()):
            self._sizes[path] = os.stat(path).st_size
            for result in scan(path):
                if result.outcome is Outcome.STOPPED:
                    self._stopped.setdefault(result.task_id, []).append(result)
                else:
                    ended.discard(result.task_id)
        self.lost = frozenset(ended)  # a node has lost its power

    def _say_where_to_begin(self, desk: Desk) -> None:
        draft = f"{desk.done}.new"
        with open(draft, "w", encoding="ascii") as file:
            for asked, task_id in self._listed.items():
                if task_id in self._stopped:
                    place = asked.start
                    for piece in self.pieces(task_id):
                        place = max(place, piece.first + piece.calls)
                    file.write(f"{task_id} {place}\n")
        os.replace(draft, desk.done)

    def pieces(self, task_id: int) -> Iterator[Piece]:
        """Yield what a slice had handed over when it was stopped, once or more often, in the order of its calls."""
        stopped = (travel.pieces_of(result.read() or b"")[0] for result in self._stopped.get(task_id, ()))
        yield from sorted(itertools.chain.from_iterable(stopped), key=lambda piece: piece.first)

    @property
    def has_chunks(self) -> bool:
        """Whether there are chunks that were not taken."""
        return bool(self._chunks)

    def chunk(self, job: int, first: int) -> Slice | None:
        """Return the slice that is a whole chunk; it was listed before any part of it."""
        return next(iter(self._chunks.get((job, first), ())), None)

    def take(self, job: int, first: int) -> dict[int, Slice]:
        """Return the slices of a chunk by task id, and forget them."""
        return {task_id: asked for asked, task_id in self._chunks.pop((job, first)).items()}

    def has(self, result: Result) -> bool:
        """Whether this result was there already."""
        return result.offset < self._sizes.get(result.file, 0)

    def lists(self, asked: Slice, besides: int) -> bool:
        """Whether this slice was listed as another task than `besides`."""
        return self._listed.get(asked, besides) != besides
