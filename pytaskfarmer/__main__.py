"""`python -m pytaskfarmer` is the command `pytaskfarmer`, which does not look for modules in the current directory."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    from pytaskfarmer.cli.main import main

    sys.exit(main())
