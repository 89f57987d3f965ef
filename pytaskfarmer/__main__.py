"""`python -m pytaskfarmer` is the command `pytaskfarmer`."""

import sys

from pytaskfarmer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
