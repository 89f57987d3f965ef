"""The places where the programs of this example can `map`: they differ in this file alone."""

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from pytaskfarmer import Pool, Slurm
from pytaskfarmer.errors import FarmError

NAMES = ("multiprocessing", "local", "slurm")


def opened(name: str, options: argparse.Namespace) -> AbstractContextManager[Any]:
    """Return the pool of this name, with what the command line says about it."""
    if name == "multiprocessing":
        return multiprocessing.Pool(options.workers)
    if name == "local":
        return Pool(options.workers)
    jobs = Slurm(
        nodes=options.nodes,
        time=options.time,
        workers=options.workers,
        account=options.account,
        partition=options.partition,
        allow_local=options.allow_local,
    )
    return Pool(cluster=jobs)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the command line say how many workers a pool has, and what to ask of Slurm."""
    parser.add_argument("--workers", type=int, metavar="N", help="calls at a time, on each node (default: its CPUs)")
    slurm = parser.add_argument_group("with --pool slurm")
    slurm.add_argument("--nodes", type=int, default=1, metavar="N", help="how many (default: %(default)s)")
    slurm.add_argument("--time", default="10m", metavar="TIME", help="for how long (default: %(default)s)")
    slurm.add_argument("--account", metavar="NAME", help="who pays")
    slurm.add_argument("--partition", metavar="NAME", help="which nodes")
    slurm.add_argument(
        "--allow-local", action="store_true", help="all nodes see this directory, though its disk looks local"
    )


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, or with 2 and one line on why a pool cannot be had."""
    try:
        sys.exit(main())
    except FarmError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
