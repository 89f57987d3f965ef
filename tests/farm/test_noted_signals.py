"""Signals as they are noted, before a farmer comes round to them."""

import os
import signal

from pytaskfarmer.farm.signals import Signals


def test_what_is_continued_is_not_suspended_any_more() -> None:
    """A batch system that suspends and continues a farmer before its loop begins asks for nothing, on the whole."""
    with Signals({}) as signals:
        os.kill(os.getpid(), signal.SIGTSTP)
        assert signals.read().suspend
        os.kill(os.getpid(), signal.SIGCONT)
        assert not signals.read().suspend
