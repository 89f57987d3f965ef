"""`pytaskfarmer scale TASKLIST`."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pytaskfarmer import __version__, allocation
from pytaskfarmer.cli import measuring, run
from pytaskfarmer.cli.handing_on import HandsOn
from pytaskfarmer.cli.timing import most_workers
from pytaskfarmer.cli.values import Directory
from pytaskfarmer.cluster import contract
from pytaskfarmer.errors import UsageError
from pytaskfarmer.plugins import registry, trust
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.views import scaling, scaling_table, scaling_words
from pytaskfarmer.views.words import count
from pytaskfarmer.workdir import identity, source, spool
from pytaskfarmer.workdir.layout import Layout

_NOT_HANDED_ON = {
    "tasklist", "proc", "workdir", "update", "retry_failed", "wait", "jitter", "array", "shard", "dry_run", "quiet",
    "verbose", "no_verbose", "version",
}  # fmt: skip
_TABLE, _PICTURES = "scaling.csv", ("scaling.png", "scaling.svg")


class Workers(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """Different numbers of workers, from words such as `1,2,4,8`."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers as they were typed."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
            self.fail(f"{value!r} is not a list of numbers of workers; write, for example, 1,2,4,8.", param, ctx)
        numbers = tuple(map(int, words))
        if 0 in numbers:
            self.fail("0 workers cannot run anything; write numbers above 0.", param, ctx)
        if twice := [number for number in dict.fromkeys(numbers) if numbers.count(number) > 1]:
            self.fail(f"{twice[0]} stands there twice; --repeat N runs all of them N times.", param, ctx)
        return numbers


@click.command(
    "scale",
    cls=HandsOn,
    short_help="Measure how a list scales with the number of workers.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Besides these, options of `pytaskfarmer run` may be given, for the farmers: -r, -R, -t, -T, --task-timeout "
    "and all that do not say how a run is divided or resumed.",
)
@click.argument("tasklist", metavar="TASKLIST")
@click.option(
    "--procs", type=Workers(), metavar="N,N,...",
    help="Run the list with each of these numbers of workers.  [default: 1, 2, 4 ... up to the CPUs here]",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
    help="Run all of them N times, in turns, and take the medians.",
)  # fmt: skip
@click.option("--warm-up", is_flag=True, help="Run the list once before, with the most workers, and do not count it.")
@click.option("--prepare", metavar="COMMAND", help="Run COMMAND by bash before each run, outside of its time.")
@click.option(
    "-o", "--output", default="results", show_default=True, metavar="DIR",
    help=f"Append to DIR/{_TABLE}, and draw DIR/{_PICTURES[0]} and DIR/{_PICTURES[1]}.",
)  # fmt: skip
@click.option(
    "-w", "--workdir", type=Directory(), metavar="DIR",
    help="Make the work directories in DIR, and keep them.  [default: beside the list, and removed]",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context, /, tasklist: str, procs: tuple[int, ...] | None, repeat: int, warm_up: bool,
    prepare: str | None, output: str, workdir: str | None, **of_run: Any,
) -> int:  # fmt: skip
    """Run TASKLIST with several numbers of workers, each time whole and in a fresh work directory, and compare.

    Prints run times, speed-up, efficiency and a fit of Amdahl's law, and draws them. Every run that counts is a row of
    the table; a run with failed tasks does not count. When tasks skip what is done already, or leave files that change
    the next run, `--prepare 'rm -rf out'` makes all runs equal.

    The exit status is 0, 1 if tasks have failed, 2 for an error in the command or its files, and 3 if it was stopped.
    """
    here = contract.surroundings(os.environ)
    cores = allocation.cpus(here, os.sched_getaffinity(0))
    counts = procs or (*(2**power for power in range((cores - 1).bit_length())), cores)
    plan = [(0, max(counts))] * warm_up + [(turn + 1, n) for turn in range(repeat) for n in counts]
    _refuse(tasklist, counts, here)
    with spool.kept(tasklist, Layout(os.path.abspath("-")), keep=False) as path:
        seen = _read(path, tasklist, of_run)
        options = [word for name, words in command.handed_on(ctx) if name for word in words]
        study = scaling_table.Study(
            datetime.now(UTC).astimezone(), tasklist, seen.digest[:16], seen.tasks, shlex.join(options),
            identity.host_name(), cores, __version__,
        )  # fmt: skip
        table = scaling_table.Table(os.path.join(output, _TABLE))
        with measuring.place(workdir, path, spooled=spool.is_needed(tasklist)) as directory:
            table.prepare()
            print(f"pytaskfarmer: {study.title}; {count(len(plan), 'run')}", flush=True)
            for line in scaling_words.notes(counts, study):
                print(f"pytaskfarmer: {line}", file=sys.stderr)
            runs = measuring.Runs(study, table, path, options, prepare, directory, keep=workdir is not None)
            status = runs.all(plan)
    _conclude(runs.timings, study, output)
    return status


def _refuse(tasklist: str, counts: Sequence[int], here: allocation.Allocation) -> None:
    if (here.farmers_here or 1) > 1 or here.in_step_of_several_nodes:
        raise UsageError("scale measures one node, and is one process: start it without srun, or with srun --ntasks=1.")
    most, why = most_workers()
    if max(counts) > most:
        raise UsageError(f"--procs {max(counts)}: there is room for {count(most, 'worker')} here ({why}).")
    if not spool.is_needed(tasklist):
        run.look_at(tasklist)


def _read(path: str, name: str, of_run: Mapping[str, Any]) -> source.Fingerprint:
    """Read the list as the farmers will, so that what is wrong is known before the first run."""
    names = registry.Registry.read(distrust=trust.rule(name, trust_all=of_run["trust_ini"]))
    reading = names.definition("handler", of_run["handler"], of_run["handler_options"])
    names.runner(of_run["runner"], of_run["runner_options"])
    listed = Tasklist(path, os.path.abspath(os.path.normpath(name) + "_workdir"))
    read = source.Source(listed, registry.load_handler(reading), of_run["handler"], reading.options)
    seen = source.fingerprint(read)
    if not seen.tasks:
        raise UsageError(f"{name}: the list has no tasks.")
    return seen


def _conclude(timings: Sequence[scaling.Timing], study: scaling_table.Study, output: str) -> None:
    """Print what was found, and draw it."""
    if not timings:
        return
    points, fit = scaling.points(timings), scaling_words.fitted(timings, study.cores)
    print()
    for line in scaling_words.report(points, fit):
        print(line)
    paths = [os.path.join(output, name) for name in _PICTURES]
    try:
        from pytaskfarmer.views import scaling_plot

        law = fit if isinstance(fit, scaling.Fit) else None
        scaling_plot.draw(paths, points, law, study.cores, study.title)
    except ImportError:
        paths = []
        for line in ("", *scaling_words.chart(points)):
            print(line)
        print("pytaskfarmer: for a better picture: pip install 'pytaskfarmer[plot]'", file=sys.stderr)
    print(f"pytaskfarmer: see {', '.join([os.path.join(output, _TABLE), *paths])}")


command.take(but=_NOT_HANDED_ON)
