"""Compare what is at the end of the chain with what lists/gen.txt says that is to be generated.

The energy of an event follows from its seed, its number and the steering files; the chain is not needed.
"""

import sys
from pathlib import Path

LAYERS, NOISE, CALIBRATION = 3, 7, 2


def expected() -> dict[tuple[str, int], int]:
    """Return the energy of each event, by sample and number."""
    energies = {}
    for line in Path("lists/gen.txt").read_text().splitlines():
        output, seed, events = line.split()[-3:]
        for number in range(int(events)):
            generated = (int(seed) * 1009 + number * 101) % 500 + 1
            energies[Path(output).stem, number] = (generated * LAYERS + NOISE) * CALIBRATION
    return energies


def main() -> int:
    """Print what was found; return 1 if it is not what must come out, with each event once."""
    lines = [line.split() for path in sorted(Path("out/reco").iterdir()) for line in path.read_text().splitlines()]
    found = {(sample, int(number)): int(energy) for sample, number, energy in lines}
    right = len(lines) == len(found) and found == expected()
    print(f"{len(lines)} events, energy {sum(found.values())}: {'as expected' if right else 'WRONG'}")
    return 0 if right else 1


sys.exit(main())
