"""What calls print, printed by their caller when they have ended."""

import sys
from contextlib import suppress

from pytaskfarmer.api.deaths import without_note
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import outputs
from pytaskfarmer.workdir.layout import Layout


class Echo:
    """Prints what comes from now on, unless it is not `wanted`."""

    def __init__(self, layout: Layout, *, wanted: bool) -> None:
        self.wanted = wanted
        self._following = outputs.Following(layout)
        if wanted:
            self._following.skip()

    def print(self) -> None:
        """Print what has come. Nobody is told where that fails: it stands in the logs."""
        if not self.wanted:
            return
        with suppress(Exception):  # of whatever stands in for `sys.stdout`
            for output in self._following.new():
                for block in output.read():
                    text = block.decode(errors="replace")
                    sys.stdout.write(text if output.outcome is Outcome.SUCCESS else without_note(text))
                sys.stdout.flush()
