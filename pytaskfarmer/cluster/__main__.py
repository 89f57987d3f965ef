"""The leader of a batch job: `python -m pytaskfarmer.cluster --engine NAME --workdir DIR -- COMMAND...`."""

import argparse
import os
import sys

from pytaskfarmer.cluster import contract
from pytaskfarmer.cluster.leader import WRONG_USE, Leader
from pytaskfarmer.errors import FarmError, UsageError
from pytaskfarmer.workdir.layout import Layout


def main() -> int:
    """Lead the job in which this process runs."""
    parser = argparse.ArgumentParser("pytaskfarmer.cluster", allow_abbrev=False)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--allocations", type=int, default=1)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    try:
        engine = contract.load(asked.engine)
        here = engine.allocation(os.environ)
        if not here.job:
            raise UsageError(f"this is no job of {asked.engine}; submit the script.")
        lead = Leader(engine, Layout(asked.workdir), here.identity, asked.allocations)
        return lead.run(asked.command)
    except (FarmError, OSError) as error:
        print(f"pytaskfarmer: error: {error}", file=sys.stderr)
        return WRONG_USE


sys.exit(main())
