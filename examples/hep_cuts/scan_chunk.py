"""One task of the farm: scan some of the settings and leave the best in a small file."""

from pathlib import Path

from commands import positive, run, scan_options
from results import Loaded, write_result

from pytaskfarmer.runners.cut_scan import count_settings


def main() -> int:
    """Scan the settings named on the command line."""
    parser = scan_options("Scan a chunk of the settings.")
    parser.add_argument("--first", type=int, required=True, metavar="K", help="The first setting, from 0.")
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="How many settings.")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="Where the result goes.")
    options = parser.parse_args()
    end, n_settings = options.first + options.count, count_settings(options.n_cuts)
    if options.first < 0 or end > n_settings:
        parser.error(f"settings {options.first} to {end - 1} are not among 0 to {n_settings - 1}")
    result = Loaded(options.input, options.n_cuts).scan(options.first, options.count)
    write_result(options.output, result)
    print(f"settings {options.first} to {end - 1}: best {result.k}, {result.correct} of {result.n_events} events")
    return 0


if __name__ == "__main__":
    run(main)
