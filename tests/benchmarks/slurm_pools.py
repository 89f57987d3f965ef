#!/usr/bin/env python3
"""How soon twenty small calls return from Slurm: `slurm_pools.py PYTHON [--rounds R]`.

PYTHON is an interpreter that has pypoolparty 0.3.1 (and numpy). Both pools map the same function over the same rows, on
the same private Slurm of four nodes, with their defaults, and take turns; of ratios the median of each round's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("cluster", "farm")]
import slurm_cluster  # noqa: E402 - beside the tests

_MEASURE = """
import sys, time, numpy
rows = [[3, 4, 56, 7], [22, 5, 4, 5, 7], [11, 2, 545, 235, 6, 3], [22, 45, 6, 4]] * 5
{make}
begin = time.perf_counter()
values = {call}
seconds = time.perf_counter() - begin
assert list(map(float, values)) == [float(numpy.std(row)) for row in rows]
print(seconds)
"""
OURS = _MEASURE.format(
    make="from pytaskfarmer import Pool, Slurm",
    call="(lambda pool: (pool.map(numpy.std, rows), pool.terminate())[0])(Pool(cluster=Slurm(allow_local=True)))",
)
THEIRS = _MEASURE.format(
    make="import pypoolparty", call="pypoolparty.slurm.array.Pool(python_path=sys.executable).map(numpy.std, rows)"
)


def main() -> None:
    """Measure, and print a line for each and one for the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("python", metavar="PYTHON", help="an interpreter that has pypoolparty")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="rounds (default: 3)")
    options = parser.parse_args()
    cluster = slurm_cluster.Cluster(cgroups=slurm_cluster.cgroups_work())
    pairs: list[tuple[float, float]] = []
    try:
        cluster.start()
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
            environment = {**os.environ, "SLURM_CONF": str(cluster.conf)}

            def seconds(python: str, code: str) -> float:
                done = subprocess.run(
                    [python, "-c", code], cwd=place, env=environment, check=True, stdout=subprocess.PIPE, timeout=300
                )
                return float(done.stdout.split()[-1])

            for _ in range(options.rounds):
                pairs.append((seconds(sys.executable, OURS), seconds(options.python, THEIRS)))  # noqa: PERF401
    finally:
        cluster.stop()
    print(f"Pool: {statistics.median(mine for mine, _ in pairs):.2f} s")
    print(f"pypoolparty: {statistics.median(other for _, other in pairs):.2f} s")
    ratio = statistics.median(other / mine for mine, other in pairs)
    print(f"{ratio:.1f} times sooner (wanted: at least 3)")


if __name__ == "__main__":
    main()
