"""`pytaskfarmer submit TASKLIST`."""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain as chained
from typing import Any

import click

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cli import foresight, run, shares
from pytaskfarmer.cli.handing_on import HandsOn
from pytaskfarmer.cli.values import Duration
from pytaskfarmer.cluster import batch, contract, leader
from pytaskfarmer.cluster.contract import Plan
from pytaskfarmer.durations import format_duration
from pytaskfarmer.errors import FarmError, UsageError, WorkdirError
from pytaskfarmer.plugins import registry, trust
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.views import words
from pytaskfarmer.workdir import source, spool
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import refuse_local_disk
from pytaskfarmer.workdir.ownership import refuse_strangers

_NOT_HANDED_ON = {"tasklist", "dry_run", "array", "version"}
_MINUTE = 60
_SIZED_BY = ("--proc", "--cpus-per-task", "--gpus-per-task", "--mem-per-task")


def _ids(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if len(value.replace(",", " ").split()) > 1:  # of `afterok:5,6`, Slurm would wait for any end of 6
            raise UsageError(f"--after {value!r}: give each job its own --after; of a chain, name the last job only.")
    return tuple(job for value in values if (job := value.strip()))


def _options(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[tuple[str, str | None], ...]:
    found: list[tuple[str, str | None]] = []
    for value in values:
        key, equals, rest = value.partition("=")
        key = key.strip().lstrip("-")
        if not key or not key.replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"{parameter.opts[0]} {value!r}: write KEY=VALUE, or KEY alone for a flag.")
        found.append((key, rest if equals else None))
    return tuple(found)


@click.command(
    "submit",
    cls=HandsOn,
    short_help="Submit batch jobs that run a list.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Besides these, all options of `pytaskfarmer run` but --array may be given, for the farmers in the jobs. "
    "Without --proc they have as many slots as CPUs.",
)
@click.argument("tasklist", metavar="TASKLIST")
@click.option(
    "-N", "--nodes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Ask for N nodes, and start a farmer on each.",
)  # fmt: skip
@click.option("--time", "seconds", type=Duration(), help="Ask for this long: 90s, 10m, 2h or 1:30:00.")
@click.option(
    "--cpus-per-node", "cpus", type=click.IntRange(min=1), metavar="N",
    help="Ask for N CPUs on each node.  [default: whole nodes, where the batch system knows that]",
)  # fmt: skip
@click.option(
    "--farmers", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
    help="Submit K such jobs, which share the list and start whenever there is room for one.",
)  # fmt: skip
@click.option(
    "--chain", type=click.IntRange(min=1), metavar="N",
    help="Go on in another job when one ends with work left: up to N, one after the other, until the list is done or "
    "nothing has ended in one.",
)  # fmt: skip
@click.option(
    "--requeue", type=click.IntRange(min=1), metavar="N",
    help="Go on in the same job when it ends with work left: it runs up to N times, until the list is done or nothing "
    "has ended in one run.",
)  # fmt: skip
@click.option(
    "--after", multiple=True, metavar="JOB", callback=_ids,
    help="Start when JOB has succeeded. May be used several times. An empty JOB, as `submit` prints where nothing is "
    "left to do, is nothing to wait for.",
)  # fmt: skip
@click.option("-A", "--account", help="Charge this account or project.")
@click.option("--qos", help="Ask for this quality of service.")
@click.option("-C", "--constraint", help="Ask for nodes with this feature.")
@click.option("-p", "--partition", help="Ask for this partition or queue.")
@click.option("-J", "--job-name", "name", help="Name the jobs.  [default: the list's name]")
@click.option(
    "--sbatch", "--qsub", "options", multiple=True, metavar="KEY=VALUE", callback=_options,
    help="Give any other option to the batch system's program. May be used several times.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(tuple(contract.ENGINES)),
    help="Use this batch system.  [default: the one whose programs are there]",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the script, and touch nothing.")
@click.pass_context
def command(
    ctx: click.Context, /, tasklist: str, nodes: int, seconds: float | None, cpus: int | None, farmers: int,
    chain: int | None, requeue: int | None, after: tuple[str, ...], account: str | None, qos: str | None,
    constraint: str | None, partition: str | None, name: str | None, options: tuple[tuple[str, str | None], ...],
    engine: str | None, dry_run: bool, **of_run: Any,
) -> int:  # fmt: skip
    """Submit batch jobs that run TASKLIST, and print their ids, one a line.

    Each job prints to the folder `jobs` of the work directory. Its exit status is that of `pytaskfarmer run`: 0 if
    every task has finished, 1 if some have failed, 3 if work is left, so that other jobs can be chained on it.
    `pytaskfarmer cancel` ends all jobs of a list.
    """
    _refuse(tasklist, chain, requeue, seconds, cpus, of_run)
    layout = _layout(tasklist, of_run)
    listed = _source(tasklist, layout, of_run)
    chosen = contract.load(engine) if engine else contract.find()
    plan = Plan(
        argv=(*batch.python("pytaskfarmer"), "run", *_for_farmers(ctx)),
        directory=os.getcwd(),
        output=layout.job_output("{job}"),
        leader=batch.leader(chosen, layout, requeue or 1),
        name=name or os.path.basename(os.path.normpath(tasklist)),
        nodes=nodes, farmers=farmers, seconds=seconds, cpus=cpus, account=account, qos=qos, constraint=constraint,
        partition=partition, after=after, requeue=requeue is not None, options=options,
    )  # fmt: skip
    script = chosen.render(batch.rows(plan, chain or 1)[0])
    of_list = {wish: of_run[wish] for wish in ("lock", "update", "retry_failed")}
    found = foresight.outlook(layout, listed, **of_list)
    if not found.tasks:
        raise UsageError(f"{tasklist}: the list has no tasks.")
    if seconds is not None and seconds < _MINUTE:
        _say(f"--time: that is {format_duration(seconds)}; minutes are written with an m, as 30m")
    refusal = _refusal(plan, layout, os.stat(tasklist).st_uid, allow_local=of_run["allow_local"])
    if dry_run:
        print(script, end="", flush=True)
        if farmers * (chain or 1) > 1:
            _say(f"{words.count(found.tasks, 'task')}; this would be {_size(plan, chain or 1)}")
        if refusal is not None:
            _say(f"this would be refused: {refusal}")
        return 0
    if refusal is not None:
        raise refusal
    if found.done:
        return _nothing_left(tasklist, found)
    jobs = batch.submit(chosen, plan, layout, chain or 1)
    print("\n".join(jobs), flush=True)
    _say(f"{words.count(found.tasks, 'task')}; {_size(plan, chain or 1)}; output in {layout.jobs}")
    if chain is not None and chain > 1:
        last = " ".join(f"--after {job}" for job in jobs[chain - 1 :: chain])
        _say(f"what is to come after the list waits for the last job{'s' if farmers > 1 else ''}: {last}")
    return 0


def _size(plan: Plan, chain: int) -> str:
    """Return how many jobs a plan is, and for how long."""
    rows = f", {words.count(plan.farmers, 'chain')} of {chain}" if chain > 1 and plan.farmers > 1 else ""
    limit = f", {format_duration(plan.seconds)} each" if plan.seconds is not None else ""
    return f"{words.count(plan.farmers * chain, 'job')} of {words.count(plan.nodes, 'node')}{rows}{limit}"


def _nothing_left(tasklist: str, found: foresight.Outlook) -> int:
    """Say so, and return what a job would have ended with."""
    if found.failed:
        have = "has" if found.failed == 1 else "have"
        _say(
            f"{tasklist}: nothing was submitted, since nothing is left to do; {words.count(found.failed, 'task')} "
            f"{have} failed, and --retry-failed runs what has failed once more"
        )
        return leader.SOME_FAILED
    _say(f"{tasklist}: nothing was submitted, since all {words.count(found.tasks, 'task')} have finished")
    return leader.DONE


def _say(line: str) -> None:
    print(f"pytaskfarmer: {line}", file=sys.stderr)


def _refuse(
    tasklist: str,
    chain: int | None,
    requeue: int | None,
    seconds: float | None,
    cpus: int | None,
    of_run: Mapping[str, Any],
) -> None:
    """Refuse what no job can do."""
    if seconds == 0:
        raise UsageError("--time 0: a job needs some time. Leave the option out for the batch system's own limit.")
    if chain is not None and requeue is not None:
        raise UsageError("--chain and --requeue: use one of them.")
    if (chain or requeue or 1) > 1:
        for wish in ("retry_failed", "update"):
            if of_run[wish]:
                option = f"--{wish.replace('_', '-')}"
                raise UsageError(f"{option}: each job of a chain would do that again; run it once without a chain.")
    wanted = (of_run["cpus_per_task"] or 0) * (of_run["proc"] if isinstance(of_run["proc"], int) else 1)
    if cpus is not None and wanted > cpus:
        raise UsageError(f"--cpus-per-node {cpus}: the tasks that are to run at a time on a node need {wanted} CPUs.")
    if spool.is_needed(tasklist):
        raise UsageError(f"{tasklist}: a job cannot read that later on. Write the list to a file.")
    run.look_at(tasklist)


def _refusal(plan: Plan, layout: Layout, owner: int, *, allow_local: bool) -> WorkdirError | None:
    """Return why the farmers would not use the work directory of a list with this owner."""
    try:
        refuse_strangers(layout, {owner})
        if plan.nodes > 1 and not allow_local:
            refuse_local_disk(layout)
    except WorkdirError as refusal:
        return refusal
    return None


def _layout(tasklist: str, of_run: Mapping[str, Any]) -> Layout:
    """Return the work directory that the farmers will use."""
    _, workdir = shares.paths(tasklist, of_run["workdir"], Allocation(), array=False, shard=of_run["shard"])
    return Layout(os.path.abspath(workdir or os.path.normpath(tasklist) + "_workdir"))


def _source(tasklist: str, layout: Layout, of_run: Mapping[str, Any]) -> source.Source:
    """Return the list as the farmers will read it; what is wrong with its definitions is told now."""
    names = registry.Registry.read(distrust=trust.rule(tasklist, trust_all=of_run["trust_ini"]))
    reading = names.definition("handler", of_run["handler"], of_run["handler_options"])
    names.definition("runner", of_run["runner"], of_run["runner_options"])
    try:
        names.runner(of_run["runner"], of_run["runner_options"])
    except FarmError as error:  # what is missing on this node may be there on those of the job
        _say(f"here, the runner could not be used: {error}")
    handler = registry.load_handler(reading)
    if of_run["shard"] is not None:
        handler = shares.Sharded(handler, of_run["shard"])
    return source.Source(Tasklist(os.path.abspath(tasklist), layout.root), handler, of_run["handler"], reading.options)


def _for_farmers(ctx: click.Context) -> list[str]:
    """Return the words of the command line that the farmers are to have."""
    kept = list(command.handed_on(ctx))
    sized = any(name in _SIZED_BY for name, _ in kept)
    return [*([] if sized else ["--proc=auto"]), *chained.from_iterable(words for _, words in kept)]


command.take(but=_NOT_HANDED_ON)
