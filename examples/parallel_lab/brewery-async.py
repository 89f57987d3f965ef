"""Count breweries state by state, all states at once, and as a farm of warm workers; writes async.json.

All three wait for the same pages. Waiting needs no core, so one process can wait for many things at once.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import breweries
from brewery_server import BREWERIES, serving

Record = dict[str, Any]


async def one_by_one(states: list[str]) -> list[Record]:
    """Ask for a state when the one before has been counted."""
    return [await breweries.count(state) for state in states]


async def at_once(states: list[str]) -> list[Record]:
    """Ask for all states and then wait."""
    return await asyncio.gather(*map(breweries.count, states))


def farmed(states: list[str], concurrency: int) -> list[Record]:
    """Make each state a task of a list. One worker holds `concurrency` of them in flight."""
    with tempfile.TemporaryDirectory() as directory:
        tasks = Path(directory) / "states.txt"
        tasks.write_text("".join(f"breweries:count {state}\n" for state in states))
        farm = [sys.executable, "-P", "-m", "pytaskfarmer"]
        options = ["-r", "python", "-R", f"path={Path(__file__).parent}", "-R", f"concurrency={concurrency}"]
        subprocess.run([*farm, "run", *options, "--proc", "1", "--quiet", tasks], check=True)
        lines = subprocess.run([*farm, "results", tasks], check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["result"] for line in lines.splitlines()]


def main() -> None:
    """Count in three ways and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--latency", type=float, default=0.2, metavar="SECONDS", help="how long a page takes (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=4,
        metavar="K",
        help="states that the farm's worker counts at a time (default: %(default)s)",
    )
    options = parser.parse_args()
    states = sorted(BREWERIES)
    ways = {
        "one by one": lambda: asyncio.run(one_by_one(states)),
        "asyncio": lambda: asyncio.run(at_once(states)),
        f"farm, {options.concurrency} in flight": lambda: farmed(states, options.concurrency),
    }
    seconds, counted = [], []
    for name, count in ways.items():
        with serving(options.latency) as service:
            os.environ[breweries.ADDRESS] = service.address
            start = time.perf_counter()
            counted.append(count())
            seconds.append(time.perf_counter() - start)
        print(f"{name:20}{seconds[-1]:6.2f} s; pages awaited at a time: {service.most}", flush=True)
    for record in counted[0]:
        print(f"{record['state']:20}{record['brewery_count']:6}")
    if counted != [counted[0]] * len(ways):
        sys.exit("brewery-async.py: the ways differ in what they have counted")
    result = f"async version was {100 * (seconds[0] / seconds[1] - 1):.0f}% faster than the serial version"
    Path("async.json").write_text(json.dumps({"result": result, "host": socket.gethostname()}) + "\n")
    print(result)


if __name__ == "__main__":
    main()
