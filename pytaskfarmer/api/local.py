"""A farm on this node, in a process of its own session that ends when its caller does."""

import contextlib
import json
import logging
import os
import signal
import site
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytaskfarmer
from pytaskfarmer import allocation
from pytaskfarmer.api import heritage
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.forking import keep_from_children
from pytaskfarmer.api.host import Options
from pytaskfarmer.farm.feeding import APPENDED, COMPLETE

_logger = logging.getLogger("pytaskfarmer")


class LocalFarm:
    """Farmers of the work directory that `options` names: one, with so many workers."""

    def __init__(self, options: Options) -> None:
        self.outstanding: Callable[[], int] = lambda: 0
        self.ahead = options.slots
        self._desk = Desk(options.root)
        self._speaking = threading.RLock()  # else another thread could close what this one is about to write to
        if options.slots > (most := allocation.most_slots(1)):
            _logger.warning("pytaskfarmer: %d workers: more than `ulimit` allows; using %d", options.slots, most)
        with open(self._desk.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pytaskfarmer.api.host", json.dumps(asdict(options))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env={**_environment(os.environ), **heritage.environment()},
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        keep_from_children(self._process.stdin, self._process.stdout)

    def poke(self) -> None:
        """Say that the list has grown."""
        self._say(APPENDED)

    def wait(self) -> bool:
        """Return when there may be new results; False when the farm has ended."""
        assert self._process.stdout is not None
        return bool(os.read(self._process.stdout.fileno(), 65_536))

    def finish(self) -> None:
        """Say that the list will grow no more, and wait until the farm has ended."""
        self._say(COMPLETE)
        self._hang_up()
        self._process.wait()

    def stop(self) -> None:
        """End the farm now; to it, we are dead, and it tidies up even if we do not come to that."""
        self._hang_up()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _say(self, word: bytes) -> None:
        assert self._process.stdin is not None
        with self._speaking, contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(word)

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with self._speaking:
            self._process.stdin.close()

    def close(self) -> None:
        """Let go of the pipe, once nobody reads from it."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def complaint(self) -> str:
        """Return why it ended, in a line."""
        self._process.wait()
        lines: list[str] = []
        with contextlib.suppress(OSError), open(self._desk.log, errors="replace") as told:
            lines = [line.strip() for line in told if line.strip()]
        for line in lines:
            if "no worker can be had" in line or "error:" in line:
                return line
        why = f"the farm has ended (exit status {self._process.returncode})"
        if reasons := [line for line in lines if not line.startswith("stopping")]:
            return f"{why}: {reasons[-1]}"
        with contextlib.suppress(OSError):
            if not os.statvfs(self._desk.root).f_bavail:
                return f"{why}: no space is left for {self._desk.root}"
        return f"{why}: {lines[-1] if lines else 'its log says nothing'}"


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which an interpreter finds this package, also if it is not installed."""
    root = str(Path(pytaskfarmer.__file__).resolve().parent.parent)
    if root in {*site.getsitepackages(), site.getusersitepackages()}:
        return dict(environ)
    before = environ.get("PYTHONPATH")
    return {**environ, "PYTHONPATH": f"{before}{os.pathsep}{root}" if before else root}
