"""How the programs of this example read their options and report what they cannot use."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pytaskfarmer.errors import FarmError


def positive(text: str) -> int:
    """Return the integer of an option that counts from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return number


def scan_options(description: str, *, input_required: bool = True) -> argparse.ArgumentParser:
    """Return a parser with what every scan needs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--input", type=Path, required=input_required, metavar="FILE", help="The events, comma-separated."
    )
    parser.add_argument(
        "--n-cuts",
        type=positive,
        default=3,
        metavar="N",
        help="Places tried for the cut in each variable; N**8 settings in all (default: %(default)s).",
    )
    return parser


def farm_options(parser: argparse.ArgumentParser, *, chunk: str, seed: str) -> None:
    """Add what both farms can be told; `chunk` and `seed` say what these mean, and are None if not given."""
    parser.add_argument(
        "--workers",
        type=positive,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="Tasks at a time (default: the CPUs, %(default)s).",
    )
    parser.add_argument("--output", type=Path, metavar="JSON", help="Also write the result to this file.")
    parser.add_argument("--profile", action="store_true", help="Say on standard error where the time went.")
    parser.add_argument("--chunk", type=positive, metavar="N", help=chunk)
    parser.add_argument("--seed", type=int, metavar="S", help=seed)


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, or with 2 and one line on what could not be used.

    Ctrl-C is 130, and a reader of the output that leaves, such as `head`, 141.
    """
    try:
        status = main()
        sys.stdout.flush()
    except FarmError as error:
        sys.exit(_complain(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains when it exits
        sys.exit(141)
    except OSError as error:
        sys.exit(_complain(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
    sys.exit(status)


def _complain(message: str) -> int:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    return 2
