"""A farm on a bench with container engines: stand-ins in a directory of PATH, what they were told, what is left."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from farm_driver import Farm, until

NOT_RUN = "pytaskfarmer: the setup failed, so the task was not run\n"
"""What the log says of a task whose setup failed."""

STAND_IN = Path(__file__).with_name("stand_in_engine.py")


class Bench:
    """The directory `bin` with stand-ins, and a farm whose runner is a container's."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.farm = Farm(directory)

    def install(self, *engines: str) -> None:
        """Install stand-ins under the names of these engines' programs."""
        for engine in engines:
            program = self.bin / engine
            program.write_text(f"#!{sys.executable} -SE\n{STAND_IN.read_text()}")
            program.chmod(0o755)

    def start(self, tasks: Sequence[str], *options: str, **runner: object) -> None:
        """Start a farmer on these tasks, with these options of the runner."""
        self.farm.write(tasks)
        words = [word for name, value in runner.items() for word in ("-R", f"{name}={value}")]
        self.farm.start("-r", "container", *words, *options)

    def run(self, tasks: Sequence[str], *options: str, **runner: object) -> int:
        """Run these tasks to their end; return the farmer's exit status."""
        self.start(tasks, *options, **runner)
        return self.farm.started[-1].wait(30)

    def log(self, task: int) -> str:
        """Return what a task has printed."""
        path = Path(self.farm.layout.log(task))
        return path.read_text() if path.exists() else ""

    def statuses(self) -> dict[int, int | str]:
        """Return the exit status of each task's last attempt, or the signal's name."""
        bars = [event["args"] for event in self.farm.timeline() if event.get("cat") == "task"]
        return {bar["id"]: bar.get("status", bar.get("signal")) for bar in bars}

    def calls(self, verb: str | None = None) -> list[list[str]]:
        """Return the command lines that the stand-ins were given, those of one verb if it is named."""
        calls = self.bin / "calls"
        lines = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        return [line for line in lines if verb in (None, line[1])]

    def containers(self) -> list[str]:
        """Return the names of the containers that the stand-ins of Podman know."""
        directory = self.bin / "containers"
        return os.listdir(directory) if directory.exists() else []

    def inside(self) -> list[int]:
        """Return the processes in those containers, whether or not anybody knows them still."""
        return [int(name) for name in os.listdir("/proc") if name.isdecimal() and self._is_inside(int(name))]

    def _is_inside(self, pid: int) -> bool:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"STAND_IN_CONTAINER={self.bin}/".encode() in environ

    def end(self) -> None:
        """Kill what is left; that anything is left is an error."""
        self.farm.end()
        gone = until(lambda: not self.inside(), 1)
        for pid in self.inside():
            os.kill(pid, signal.SIGKILL)
        assert gone, "processes are left in containers"
