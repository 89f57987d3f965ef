"""Where the jobs of Grid Engine are: what `qstat` lists, and why a job in its list does not run.

`qstat` collapses the elements of an array that wait, and does not list what has ended. It tells that something is wrong
with a job (`Eqw`), and only when asked for that one job, what. A job that no queue could ever take waits (`qw`) like
any other; `qalter -w v` looks whether an empty machine could run it, and changes nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytaskfarmer.cluster import program
from pytaskfarmer.cluster.contract import PATIENCE, BatchError, Sight, State


class _Listed(NamedTuple):
    """One line of `qstat`: `tasks` are the elements of an array that it stands for, as `3` or `1-10:3,12`."""

    job: str
    tasks: str
    letters: str
    waits_for_a_job: bool

    def is_about(self, job: str) -> bool:
        """Whether this is the job, or (part of) the array, or the element `ARRAY.ELEMENT` of one."""
        array, _, element = job.partition(".")
        return array == self.job and (not element or any(int(element) in part for part in _ranges(self.tasks)))

    @property
    def state(self) -> State:
        """What its letters mean: those of a job that waits have a `q`."""
        if "d" in self.letters:
            return State.CANCELLED
        if "E" in self.letters:
            return State.HELD
        if "q" not in self.letters:
            return State.RUNNING
        return State.HELD if "h" in self.letters and not self.waits_for_a_job else State.PENDING


def states(jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, State]:
    """Ask for all jobs of this user, and return where these are."""
    try:
        answer = program.ask(["qstat", "-r", "-xml"], patience=patience) if jobs else program.Answer(0, "", "")
    except BatchError:
        return dict.fromkeys(jobs, State.UNKNOWN)
    return parse("" if answer.status else answer.out, jobs)


def look(jobs: Sequence[str], patience: float) -> dict[str, Sight]:
    """Return where these jobs are and why, with up to two more questions about those that wait."""
    found = states(jobs, patience)
    faults = _answers(parse_details, ["qstat", "-j"], found, State.HELD, patience)
    misfits = _answers(parse_verification, ["qalter", "-w", "v"], found, State.PENDING, patience)
    sights = {}
    for job, state in found.items():
        array = job.partition(".")[0]
        if state is State.HELD:
            sights[job] = Sight(state, faults.get(array, "it is held"))
        elif state is State.PENDING and array in misfits:
            sights[job] = Sight(State.HELD, misfits[array])
        else:
            sights[job] = Sight(state, ending=state is State.CANCELLED)  # when it has ended, it is not listed
    return sights


def _answers(
    parse_answer: Callable[[str], dict[str, str]],
    words: Sequence[str],
    found: Mapping[str, State],
    wanted: State,
    patience: float,
) -> dict[str, str]:
    """Return what a program says of the jobs that are in the state `wanted`, arrays as a whole; nothing if it fails."""
    arrays = dict.fromkeys(job.partition(".")[0] for job, state in found.items() if state is wanted)
    try:
        return parse_answer(program.ask([*words, ",".join(arrays)], patience=patience).out) if arrays else {}
    except BatchError:
        return {}


def parse(text: str, jobs: Sequence[str]) -> dict[str, State]:
    """Return where jobs are by `qstat -r -xml`; of an array, what its most living element does."""
    from xml.etree import ElementTree as ET

    try:
        entries = list(ET.fromstring(text).iter("job_list"))
    except ET.ParseError:
        return dict.fromkeys(jobs, State.UNKNOWN)
    listed = [
        _Listed(
            entry.findtext("JB_job_number", ""),
            entry.findtext("tasks", ""),
            entry.findtext("state", ""),
            entry.find("predecessor_jobs") is not None,
        )
        for entry in entries
    ]
    order = (State.RUNNING, State.PENDING, State.HELD, State.CANCELLED)
    found = {job: {each.state for each in listed if each.is_about(job)} for job in jobs}
    return {job: next((state for state in order if state in states), State.ENDED) for job, states in found.items()}


def parse_details(text: str) -> dict[str, str]:
    """Return by `qstat -j` what is wrong with jobs; of the elements of an array, the last one tells for all."""
    faults: dict[str, str] = {}
    job = ""
    for line in text.splitlines():
        if match := re.match(r"job_number: +([0-9]+)", line):
            job = match[1]
        elif match := re.match(r"error reason +[0-9]+: +(?:\S+ \S+ \[\S+\]: )?(?:error: )?(.+)", line):
            faults[job] = match[1].strip()
    return faults


def parse_verification(text: str) -> dict[str, str]:
    """Return by `qalter -w v` what keeps jobs from running ever; what it says of a job stands above its verdict."""
    misfits: dict[str, str] = {}
    said: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.match(r"Job ([0-9]+) (.+)", line):
            said[match[1]] = match[2].strip()
        elif line.startswith("verification:"):
            if "no suitable queues" in line:
                misfits |= said
            said = {}
    return misfits


def _ranges(text: str) -> Iterator[range]:
    for part in text.split(","):
        if match := re.fullmatch(r"([0-9]+)(?:-([0-9]+):([0-9]+))?", part):
            yield range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
