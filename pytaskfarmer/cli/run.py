"""`pytaskfarmer run TASKLIST`, which is `pytaskfarmer.py TASKLIST`."""

import os
import sys
import time

import click

from pytaskfarmer import __version__, allocation
from pytaskfarmer.cli import shares, sizing
from pytaskfarmer.cli.values import (
    HANDLER,
    HANDLER_OPTIONS,
    RUNNER_OPTIONS,
    TRUST_INI,
    Count,
    Directory,
    Duration,
    SignalName,
    Size,
    Slots,
)
from pytaskfarmer.cluster import contract
from pytaskfarmer.errors import TasklistError, UsageError
from pytaskfarmer.farm.deadline import Deadline
from pytaskfarmer.farm.guard import GuardLink, under_guard
from pytaskfarmer.farm.resources import Wants
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.working import Work, work
from pytaskfarmer.plugins import registry, trust
from pytaskfarmer.plugins.contracts import Tasklist, WorkerRunner
from pytaskfarmer.views import preview, watchers
from pytaskfarmer.workdir import spool
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.logs import MODES
from pytaskfarmer.workdir.opening import Wish
from pytaskfarmer.workdir.registration import OpeningStopped
from pytaskfarmer.workdir.source import Source

_DURATION = Duration()
_UNITS = "Seconds, or as 90s, 10m, 2h or 1:30:00."


def spellings(of: click.Command | None = None) -> dict[str, bool]:
    """Return every spelling of every option (of this command, or another one), and whether a value follows it."""
    options = {"-h": False, "--help": False}
    for parameter in (of or command).params:
        if isinstance(parameter, click.Option):
            for name in (*parameter.opts, *parameter.secondary_opts):
                options[name] = not parameter.is_flag
    return options


@click.command(
    "run",
    short_help="Run every task of a list; `pytaskfarmer.py` is short for it.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To look at a run and its tasks: pytaskfarmer status|logs|retry TASKLIST (see `pytaskfarmer --help`).",
)
@click.argument("tasklist", metavar="TASKLIST")
@click.option(
    "-n", "--proc", type=Slots(), metavar="[N|auto]",
    help="Run N tasks at a time, one in each of N slots. `auto` means as many as the CPU affinity mask and Slurm "
    "allow; the option without a value means as many as the node has CPUs. There are never more slots than tasks.  "
    "[default: 8; with --...-per-task, as many as fit]",
)  # fmt: skip
@click.option(
    "--cpus-per-task", type=Count(), metavar="N",
    help="Bind each task to N CPUs of its own, neighbouring cores, and set OMP_NUM_THREADS to N unless it is set. "
    "Warm workers count as one task each, here and below.",
)  # fmt: skip
@click.option(
    "--gpus-per-task", type=Count(), metavar="N",
    help="Give each task N GPUs of its own, from those that CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES or "
    "ZE_AFFINITY_MASK name here.",
)  # fmt: skip
@click.option(
    "--mem-per-task", type=Size(), metavar="SIZE",
    help="Kill a task that uses more memory than this, such as 4G or 500M; it has then failed, as out of memory.",
)  # fmt: skip
@click.option(
    "-w", "--workdir", type=Directory(), metavar="DIR",
    help="Keep the state of the run in DIR. Running the same command again with the same DIR resumes.  "
    "[default: TASKLIST_workdir]",
)  # fmt: skip
@click.option(
    "-r", "--runner", default="default", show_default=True, metavar="NAME",
    help="Run each task with this runner; `pytaskfarmer runners` lists them.",
)  # fmt: skip
@RUNNER_OPTIONS
@HANDLER
@HANDLER_OPTIONS
@TRUST_INI
@click.option(
    "--timeout",
    type=_DURATION,
    help=f"Stop after this time; what is not done stays in the list. {_UNITS}  [default: never]",
)
@click.option(
    "--task-timeout",
    type=_DURATION,
    help=f"End a task that runs for longer than this; it has then failed. {_UNITS}  [default: never]",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Run a task that fails up to N more times, with growing pauses in between.",
)
@click.option(
    "--max-fails", type=Count(), metavar="N",
    help="Start no more tasks once N of this farmer have failed; what is left stays in the list.  [default: never]",
)  # fmt: skip
@click.option(
    "--grace",
    type=_DURATION,
    default="10s",
    show_default=True,
    help=f"Give a task that is to stop this long between the stop signal and KILL. {_UNITS}",
)
@click.option(
    "--stop-signal",
    type=SignalName(),
    default="TERM",
    show_default=True,
    metavar="NAME",
    help="Ask a task to stop with this signal, sent to its whole process group.",
)
@click.option(
    "--logs", type=click.Choice(MODES), default="auto", show_default=True,
    help="Keep the output of tasks in one file each, packed into a few files, or not at all. `auto` means files up to "
    "10,000 tasks, and pack above that.",
)  # fmt: skip
@click.option(
    "--lock",
    type=click.Choice(["flock", "lease"]),
    help="Lock the work directory by kernel locks, or by files that expire where the file system has no such locks.  "
    "[default: what the file system supports]",
)
@click.option(
    "--order",
    type=click.Choice(["file", "random"]),
    default="file",
    show_default=True,
    help="Run the tasks of a new work directory in the order of the list, or in random order.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Take over lines that were changed in the list, for tasks that have not finished; failed ones run again. To "
    "drop a task, write `true` in its place: without its line, all tasks below it would have other ids.",
)
@click.option("--retry-failed", is_flag=True, help="Put the tasks that have failed back into the list first.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until the farmers of other jobs have ended their tasks too, and take over what they leave.",
)
@click.option(
    "--jitter",
    type=_DURATION,
    default="0s",
    help=f"Begin after a random part of this time, so that many farmers do not all come at once. {_UNITS}",
)
@click.option("--no-fit", is_flag=True, help="Start tasks even if a typical one would not end before the deadline.")
@click.option(
    "--allow-local", is_flag=True, help="Use a work directory on a local disk, although several nodes are to share it."
)
@click.option(
    "--array", is_flag=True,
    help="In element N of an array job, take the list TASKLIST and the DIR whose names end in N, with three digits.",
)  # fmt: skip
@click.option(
    "--shard", type=shares.ShardParam(), metavar="I/N",
    help="Take every N-th task of the list, from the I-th on, with a work directory of its own, in which task ids "
    "count anew.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the tasks that would run, and touch nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for every task that ends.")
@click.option("--no-verbose", is_flag=True, hidden=True, expose_value=False)
@click.version_option(__version__, prog_name="pytaskfarmer")
def command(
    tasklist: str, proc: int | str | None, cpus_per_task: int | None, gpus_per_task: int | None,
    mem_per_task: int | None, workdir: str | None, runner: str, runner_options: dict[str, str], handler: str,
    handler_options: dict[str, str], trust_ini: bool, timeout: float | None, task_timeout: float | None, retries: int,
    max_fails: int | None, grace: float, stop_signal: int, logs: str, lock: str | None, order: str, update: bool,
    retry_failed: bool, wait: bool, jitter: float, no_fit: bool, allow_local: bool, array: bool,
    shard: shares.Shard | None, dry_run: bool, quiet: bool, verbose: bool,
) -> int:  # fmt: skip
    """Run every task of TASKLIST, one a line, each as `bash -c` would run it.

    Tasks run in the directory in which the command is typed. Results are kept in the work directory: `finished` and
    `failed` list the tasks, `logs` has their output and `timeline.json` can be opened at ui.perfetto.dev. Running the
    same command again resumes. Any number of farmers, on any number of nodes, may run the same command at once and
    share the list. TASKLIST may be `-` for standard input.

    The exit status is 0 if nothing is left and nothing failed, 1 if tasks have failed, 2 for an error in the command
    or its files, and 3 if it was stopped with work left.
    """
    begin = time.monotonic()
    batch = contract.surroundings(os.environ)
    tasklist, workdir = shares.paths(tasklist, workdir, batch, array=array, shard=shard)
    if workdir is None and spool.is_needed(tasklist):
        raise UsageError(f"{tasklist}: a list that cannot be read again needs --workdir DIR to be kept in.")
    layout = Layout(os.path.abspath(workdir or os.path.normpath(tasklist) + "_workdir"))
    names = registry.Registry.read(distrust=trust.rule(tasklist, trust_all=trust_ini))
    reading = names.definition("handler", handler, handler_options)
    chosen_runner, chosen_handler = names.runner(runner, runner_options), registry.load_handler(reading)
    with spool.kept(tasklist, layout, keep=not dry_run) as path:
        part: dict[str, str] = {}
        if shard is not None:
            chosen_handler, part = shares.Sharded(chosen_handler, shard), {"shard": str(shard)}
        source = Source(Tasklist(path, layout.root), chosen_handler, handler, {**reading.options, **part})
        look_at(path)
        if dry_run:
            sys.stdout.buffer.writelines(preview.tasks(layout, source, retry_failed=retry_failed, update=update))
            sys.stdout.flush()
            return 0
        in_flight = chosen_runner.concurrency if isinstance(chosen_runner, WorkerRunner) else None
        sized = sizing.size(proc, Wants(cpus_per_task, gpus_per_task, mem_per_task), batch, in_flight)
        slots = sized.processes
        if crowded := allocation.crowding(batch, slots):
            raise UsageError(f"--proc {slots}: {crowded}")
        slots *= in_flight or 1
        observer = watchers.choose(sys.stdout, quiet=quiet, verbose=verbose)
        for line in (*names.notes("runner", runner), *names.notes("handler", handler), *sized.warnings):
            observer.warn(line)
        rules = Rules(
            slots=slots, deadline=_deadline(begin, timeout, batch, grace, fit=not no_fit), task_timeout=task_timeout,
            retries=retries, max_fails=max_fails, grace=grace, stop_signal=stop_signal, wait=wait, shares=sized.shares,
            memory=mem_per_task,
        )  # fmt: skip
        wish = Wish(
            slots=slots, allocation=batch.identity, lock=lock, order=order, update=update, retry_failed=retry_failed,
            many_nodes=batch.in_step_of_several_nodes and not allow_local,
        )  # fmt: skip
        wanted = Work(layout, source, chosen_runner, rules, wish, logs, jitter=jitter)

        def farm(guard: GuardLink) -> int:
            try:
                with observer:
                    summary = work(wanted, observer, dict(os.environ), guard)
            except OpeningStopped as stop:
                observer.say(str(stop))
                return 3
            observer.summarise(summary, layout)
            return summary.exit_status

        return under_guard(farm)


def look_at(path: str) -> None:
    """Refuse a list that cannot be read before anything else is done."""
    if os.path.isdir(path):
        raise TasklistError(path, None, "is a directory. Name a file with one task a line.")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise TasklistError(path, None, f"cannot read the task list: {error.strerror}.") from None


def _deadline(
    begin: float, timeout: float | None, batch: allocation.Allocation, grace: float, *, fit: bool
) -> Deadline:
    """Return the earliest of the timeout and the end of the allocation, less what stopping takes."""
    ends: list[tuple[float, str]] = []
    if timeout is not None:
        ends.append((begin + timeout, f"--timeout {timeout:g} s"))
    allocation_ends = contract.end_time(batch)
    if allocation_ends is not None:
        left = allocation_ends - time.time() - grace - 5.0
        ends.append((time.monotonic() + max(0.0, left), "the end of the allocation"))
    at, why = min(ends, default=(None, ""))
    return Deadline(at, why, fit)
