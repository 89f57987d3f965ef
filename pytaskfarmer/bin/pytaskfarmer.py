#!/usr/bin/env python3
"""The command `pytaskfarmer.py TASKLIST ...`, which is `pytaskfarmer run TASKLIST ...`.

This file bears the name of the package that it starts, and Python puts a script's own folder first on `sys.path`: so
whatever is started from the same `bin/` (this command, `pytest`) and imports `pytaskfarmer` would get this file instead
of the package. An entry point of this name, which pip would write for us, cannot mend that; a script file can.

Started as a command, it takes its folder off `sys.path` before it imports the package. Imported, it gives its place in
`sys.modules` to the package, and the importer never sees it. Started straight from a source tree, it uses that tree,
whatever is installed. It parses under older Pythons than it needs, so that they can say what is wrong.
"""

import os
import sys


def _is_this_file(path: str) -> bool:
    try:
        return os.path.samefile(path, __file__)
    except OSError:
        return False


def _other_folders() -> "list[str]":
    """Return `sys.path` without the folders in which `import pytaskfarmer` finds this file."""
    return [folder for folder in sys.path if not _is_this_file(os.path.join(folder or os.curdir, "pytaskfarmer.py"))]


def _give_way() -> None:
    """Put the package into the place that this module has in `sys.modules`."""
    folders = sys.path[:]
    sys.path[:] = _other_folders()
    del sys.modules[__name__]
    try:
        import pytaskfarmer  # noqa: F401 - for its effect on sys.modules
    finally:
        sys.path[:] = folders


def _use_source_tree() -> None:
    """Where this file lies in a source tree, take the package from there, and the plug-ins from the tree's root."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if os.path.isfile(os.path.join(package, "__main__.py")):
        root = os.path.dirname(package)
        sys.path.insert(0, root)
        import pytaskfarmer

        pytaskfarmer.__path__.append(root)


def _main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - the `python3` of a login node is often older
        return _refuse("{} is Python {}.{}, and 3.11 or newer is needed".format(sys.executable, *sys.version_info))
    sys.path[:] = _other_folders()
    try:
        _use_source_tree()
        from pytaskfarmer.cli.main import main
    except ModuleNotFoundError as error:
        return _refuse(f"{sys.executable} has no module {error.name!r}; install pytaskfarmer with it")
    # A specification means `python -m pytaskfarmer`, started in this very folder: that is the other command.
    return main(["run", *sys.argv[1:]] if sys.modules[__name__].__spec__ is None else sys.argv[1:])


def _refuse(why: str) -> int:
    sys.stderr.write(f"pytaskfarmer.py: {why}. Or start this file without naming a Python.\n")
    return 2


if __name__ == "__main__":
    sys.exit(_main())
if __name__ == "pytaskfarmer":
    _give_way()
