"""Find the best rectangular cut one setting after the other: the baseline that the farm is held against."""

import sys
from pathlib import Path

from commands import run, scan_options
from results import as_profile, as_text, scan_file, write_result

from pytaskfarmer.runners.cut_scan import count_settings


def main() -> int:
    """Scan all settings."""
    parser = scan_options("Find the rectangular cut that best separates signal from background.")
    parser.add_argument("--output", type=Path, metavar="JSON", help="Also write the result to this file.")
    parser.add_argument("--profile", action="store_true", help="Report the seconds of each phase on standard error.")
    options = parser.parse_args()
    result = scan_file(options.input, options.n_cuts, first=0, count=count_settings(options.n_cuts))
    if options.output:
        write_result(options.output, result)
    print(as_text(result))
    if options.profile:
        print(as_profile(result), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)
