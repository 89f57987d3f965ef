"""Grid Engine: `qsub`, `qstat`, `qdel`, and what becomes of a farmer in its jobs.

Invariant: a farmer learns in time that its job is to end, and what it stops goes back to the list.

What does not work. `qdel` and the limit `h_rt` are a KILL without a word. `s_rt` does say a word, but then `h_rt` may
strike 90 s late. `-S` with the interpreter of a virtual environment loses that environment, since Grid Engine starts it
under a bare name. A script that exits with 99 runs again, but not once `h_rt` has passed.

What we do. A script asks for `-notify`: USR2 then comes the queue's notify time (60 s as a rule) before the KILL, and
inside Grid Engine a farmer takes it for a stop. Nothing on the node knows when `h_rt` strikes, so the script tells, and
the farmer stops before. `/bin/sh` runs the script, which names programs by absolute paths. The submitter's environment
comes along (`-V`), but a login shell's profile sets PATH anew: the script takes what Grid Engine kept as SGE_O_PATH.

Where it fails. Grid Engine signals every process of a job, wherever it hides, so tasks get USR2 too: one without a
handler dies of it, and was stopped rather than failed. Where the notify time is shorter than the farmer's grace, the
KILL comes first, and the next audit puts back what ran. `-hold_jid` waits for the end of a job, not for its success.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cluster import program, qstat
from pytaskfarmer.cluster.contract import PATIENCE, BatchError, Plan, Sight, State, as_clock, outer_environment
from pytaskfarmer.errors import UsageError

_RUN_AGAIN = 99
_END = "PYTASKFARMER_JOB_END"
_USUAL_ENVIRONMENT = "smp"
_FORBIDDEN_IN_PATHS = re.compile(r"""[\n,#'"$\\]""")
_VALUE = re.compile(r"""[^\s#'"$\\]+(?: +[^\s#'"$\\]+)*""")
_JOB = re.compile(r"^([0-9]+)(?:\.[0-9]+-[0-9]+:[0-9]+)?$", re.MULTILINE)
_OF_A_JOB = (
    *("ARC", "ENVIRONMENT", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NHOSTS", "NQUEUES", "NSLOTS", "PE", "PE_HOSTFILE"),
    *("QUEUE", "REQNAME", "REQUEST", "RESTARTED"),
)
_PREFIXES = ("SGE_ACCOUNT", "SGE_BINDING", "SGE_CKPT_", "SGE_CWD_PATH", "SGE_JOB_", "SGE_O_", "SGE_STD", "SGE_TASK_")
_NO_ERRORS = ("does not exist", "already in deletion", "for deletion", "has deleted")


class GridEngine:
    """The batch system Grid Engine, and what descends from it."""

    name = "gridengine"

    def allocation(self, environ: Mapping[str, str]) -> Allocation:
        """Return what a job's environment tells; an element of an array is called ARRAY.ELEMENT, as `qdel` does."""
        job, element = _number(environ, "JOB_ID"), _number(environ, "SGE_TASK_ID")
        if job is None or not environ.get("SGE_TASK_ID"):
            return Allocation()
        end = _number(environ, _END)
        return Allocation(
            job=str(job) if element is None else f"{job}.{element}",
            array_task=element,
            node=environ.get("HOSTNAME") or None,
            nodes=_number(environ, "NHOSTS") or 1,
            cpus=_slots_here(environ),
            announced_end=None if end is None else float(end),
            engine=self.name,
        )

    def end_time(self, allocation: Allocation) -> float | None:
        """Return what our script has told; any other job gets its notice by signal, or none."""
        return allocation.announced_end

    def render(self, plan: Plan) -> str:
        """Return a script for `/bin/sh` with its options in `#$` lines."""
        lines = ["#!/bin/sh", *(f"#$ {line}" for line in _directives(plan)), ""]
        if plan.seconds is not None:
            lines += [f"{_END}=$(($(date +%s) + {max(1, round(plan.seconds))}))", f"export {_END}"]
        lines += ['PATH=${SGE_O_PATH:-"$PATH"}', "export PATH"]
        lines += [f"cd {_quoted(plan.directory)} || exit", f"exec {_quoted(*plan.leader, *plan.argv)}"]
        return "\n".join([*lines, ""])

    def submit(self, script: str, plan: Plan) -> tuple[str, ...]:
        """Hand the script to `qsub`; several farmers are elements of one array."""
        answer = program.ask(["qsub", "-terse"], _outside(os.environ), stdin=script)
        if answer.status:
            raise BatchError(f"qsub refused the job: {_reason(answer)}{_environments(answer)}")
        match = _JOB.search(answer.out)
        if match is None:
            raise BatchError(f"qsub printed {answer.out.strip()!r}, which is no job id; `qstat` shows your jobs.")
        sys.stderr.write(answer.err)  # what the site has to say to its users
        return tuple(f"{match[1]}.{n}" for n in range(1, plan.farmers + 1)) if plan.farmers > 1 else (match[1],)

    def states(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, State]:
        """Ask `qstat` for all jobs of this user. One that it does not list has ended."""
        return qstat.states(jobs, patience)

    def look(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, Sight]:
        """Ask `qstat` as well what is wrong with a job, and `qalter` whether a job that waits fits into any queue."""
        return qstat.look(jobs, patience)

    def shorten(self, job: str) -> None:
        """Leave it: `qalter -l` would take away every other request of the job."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ask `qdel`, for all at once, the last one first; what our scripts run gets the notice they ask for."""
        if not jobs:
            return
        answer = program.ask(["qdel", *reversed(jobs)])
        said = [line.strip() for line in (answer.out + answer.err).splitlines()]
        refusals = [line for line in said if line and not any(word in line for word in _NO_ERRORS)]
        if answer.status and refusals:
            raise BatchError(f"qdel: {' '.join(refusals)}")

    def requeue(self, job: str) -> int:
        """Return the exit status after which Grid Engine runs a job again, unless it has passed `h_rt`."""
        return _RUN_AGAIN


engine = GridEngine()


# -- the script


def _directives(plan: Plan) -> Iterator[str]:
    """Yield the options of `qsub` that stand for a plan."""
    _refuse(plan)
    yield "-S /bin/sh"
    yield "-cwd"
    yield "-V"
    yield "-notify"
    yield f"-r {'y' if plan.requeue else 'n'}"
    yield f"-N {_job_name(plan.name)}"
    yield "-j y"
    yield f"-o {_output(plan)}"
    if plan.farmers > 1:
        yield f"-t 1-{plan.farmers}"
    if plan.cpus is not None and plan.cpus > 1:
        name = next((value for key, value in plan.options if key == "pe"), None) or _USUAL_ENVIRONMENT
        yield f"-pe {_value('pe', name)} {plan.cpus}"
    if plan.seconds is not None:
        yield f"-l h_rt={as_clock(plan.seconds)}"
    for key, value in (("l", plan.constraint), ("q", plan.partition), ("A", plan.account)):
        if value is not None:
            yield f"-{key} {_value(key, value)}"
    if before := dict.fromkeys(job.partition(".")[0] for job in (*plan.after, *plan.follows)):
        yield f"-hold_jid {','.join(_value('hold_jid', job) for job in before)}"
    for key, value in plan.options:
        if key != "pe" or plan.cpus is None or plan.cpus < 2:
            yield f"-{key}" if value is None else f"-{key} {_value(key, value)}"


def _refuse(plan: Plan) -> None:
    """Raise `UsageError` for what Grid Engine has no counterpart of."""
    if plan.nodes != 1:
        raise UsageError(
            f"--nodes {plan.nodes}: Grid Engine has no such thing. --farmers {plan.nodes} submits as many jobs, which "
            "share the list and need not wait for each other."
        )
    if plan.farmers_per_node != 1:
        raise UsageError(f"{plan.farmers_per_node} farmers a node: Grid Engine starts one a job. Give it more slots.")
    if plan.qos is not None:
        raise UsageError(f"--qos {plan.qos}: Grid Engine has no such thing; --partition names a queue there.")


def _job_name(name: str) -> str:
    """Return what Grid Engine takes for a name: ASCII, and no digit in front."""
    word = re.sub(r"[^\w.+-]+", "_", name, flags=re.ASCII)
    return f"_{word}" if word[:1].isdecimal() or not word else word


def _output(plan: Plan) -> str:
    """Return the path for `-o`, quoted for a `#$` line, in which most special characters cannot be had at all."""
    path = plan.output
    if match := _FORBIDDEN_IN_PATHS.search(path):
        raise UsageError(f"{path}: Grid Engine cannot write to a path with {match[0]!r} in it. Choose another.")
    number = "$JOB_ID.$TASK_ID" if plan.farmers > 1 else "$JOB_ID"
    return f'":{number.join(path.rsplit("{job}", 1))}"'  # behind a colon: else one in the path would end a host's name


def _quoted(*words: str) -> str:
    """Return words for the shell, no line of which is an option: those are read wherever a line begins with `#$`."""
    return shlex.join(words).replace("\n#$", "\n''#$")  # a line end is in single quotes here: these go out and in again


def _value(key: str, text: str) -> str:
    if not _VALUE.fullmatch(text):
        raise UsageError(f"-{key} {text!r}: Grid Engine takes no quotes, $, # or backslash in a line of a script.")
    return text


# -- to and from its programs


def _outside(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without that of a job in which we may be, some of whose names anybody may use."""
    if "SGE_TASK_ID" not in environ:
        return outer_environment(environ)
    return outer_environment(environ, _OF_A_JOB, _PREFIXES)


def _reason(answer: program.Answer) -> str:
    """Return why a program refused, without the words that it has around every reason."""
    return answer.complaint.removeprefix("Unable to run job: ").removesuffix("Exiting.").strip()


def _environments(answer: program.Answer) -> str:
    """Return the parallel environments there are, if it was one that was refused; else nothing."""
    if "parallel environment" not in answer.err:
        return ""
    try:
        known = program.ask(["qconf", "-spl"]).out.split()
    except BatchError:
        known = []
    return f". Known: {', '.join(known) or 'none'}; name one of a single host: --qsub pe=NAME."


def _slots_here(environ: Mapping[str, str]) -> int | None:
    """Return this host's share of the job's slots."""
    slots = _number(environ, "NSLOTS")
    if (_number(environ, "NHOSTS") or 1) == 1:
        return slots or None
    try:
        with open(environ.get("PE_HOSTFILE", ""), encoding="utf-8", errors="replace") as lines:
            shares = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
    except OSError:
        return None
    return _number(shares, environ.get("HOSTNAME", "")) or None


def _number(words: Mapping[str, str], name: str) -> int | None:
    text = words.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
