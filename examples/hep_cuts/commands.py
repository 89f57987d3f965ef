"""How the programs of this example read their options and report what they cannot use."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pytaskfarmer.runners.tables import DatasetError


def positive(text: str) -> int:
    """Return the integer of an option that counts from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return number


def scan_options(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every scan needs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="The events, comma-separated.")
    parser.add_argument(
        "--n-cuts",
        type=positive,
        default=3,
        metavar="N",
        help="Places tried for the cut in each variable; N**8 settings in all (default: %(default)s).",
    )
    return parser


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, or with 2 and one line on what could not be used."""
    try:
        status = main()
    except DatasetError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        sys.exit(_complain(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    sys.exit(status)


def _complain(message: str) -> int:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    return 2
