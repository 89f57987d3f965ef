"""What a user sees on a terminal: the real thing, with a pseudo-terminal in place of the screen."""

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from desk import FARM, Desk

RED = "\x1b[31m"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
BAR = "━"


class Terminal:
    """A pseudo-terminal of 100 columns, and all that was written to it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.seen = ""

    def read(self) -> str:
        """Take in what was written since, and return all there ever was."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                block = os.read(self._ours, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break
            self.seen += block.decode("utf-8", "replace")
            if not block:
                break
        return self.seen

    def run(self, desk: Desk, *words: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a command on the terminal."""
        settings = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
        return subprocess.Popen(
            [FARM, *words],
            cwd=desk.place,
            env={**settings, "TERM": "xterm", **environment},
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
        )

    def end(self, process: "subprocess.Popen[bytes]") -> tuple[int, str]:
        """Wait for a command while reading, as a terminal does; return its status and all that was written."""
        deadline = time.monotonic() + 20
        while process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            select.select([self._ours], [], [], 0.05)
            self.read()
        text = self.read()
        assert "Traceback" not in text, text
        return process.returncode, text

    def close(self) -> None:
        """Hang up."""
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def words(text: str) -> str:
    """Return the text without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_live_line_that_goes_away(desk: Desk, terminal: Terminal, wait_until: Callable[..., None]) -> None:
    """On a terminal a line changes in place while tasks run, and is gone when the summary comes."""
    os.mkfifo(desk / "go")
    desk.write("tasks.txt", "true", "read line < go", "exit 3")
    farmer = terminal.run(desk, "tasks.txt", "-n", "1")
    wait_until(lambda: "1 done, 0 failed, 1 running, 2 left" in words(terminal.read()), state=lambda: terminal.seen)
    assert BAR in terminal.seen
    (desk / "go").write_text("\n")
    status, text = terminal.end(farmer)
    assert 1 == status
    assert words(text).replace("\r", "").count("pytaskfarmer: 2 of 3 finished, 1 failed; ") == 1
    summary = text.rpartition("pytaskfarmer: 2 of 3 finished")[2]
    assert BAR not in summary
    assert "\x1b[2K" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")


def test_a_kill_leaves_a_terminal_that_can_be_used(
    desk: Desk, terminal: Terminal, wait_until: Callable[..., None]
) -> None:
    """After the farmer was killed under its live line the cursor is seen, and what is said has its own line."""
    desk.write("tasks.txt", "true", "sleep 100")
    farmer = terminal.run(desk, "tasks.txt", "-n", "1")
    wait_until(lambda: BAR in terminal.read(), state=lambda: terminal.seen)
    (child,) = psutil.Process(farmer.pid).children()
    child.kill()
    status, text = terminal.end(farmer)
    assert 128 + signal.SIGKILL == status
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
    assert text.splitlines()[-1].startswith("pytaskfarmer: the farmer was killed")


def test_failures_are_red_as_they_come(desk: Desk, terminal: Terminal) -> None:
    """A failure is told at once, in red; the line below it stays as it was, and other ends are not told."""
    desk.write("tasks.txt", "true", "exit 3", "sleep 0.3")
    status, text = terminal.end(terminal.run(desk, "tasks.txt", "-n", "1"))
    assert 1 == status
    assert re.search(re.escape(RED) + r"pytaskfarmer: task 1: exit 3 after .*: exit 3", text)
    assert not re.search(re.escape(RED) + r"[^\x1b]*\d left", text)
    assert "task 0: ok" not in text


def test_many_failures(desk: Desk, terminal: Terminal) -> None:
    """Five failures are told as they come; at the next one it is said, once, that others are only counted."""
    desk.write("tasks.txt", *["exit 3"] * 7)
    text = words(terminal.end(terminal.run(desk, "tasks.txt", "-n", "1"))[1])
    told = re.findall(r"pytaskfarmer: (task \d: exit 3|further failures .*?prints them)", text)
    expected = [f"task {number}: exit 3" for number in range(5)]
    assert [*expected, "further failures are only counted; --verbose prints them"] == told


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"NO_COLOR": "1", "COLORTERM": "truecolor"}])
def test_no_color(desk: Desk, terminal: Terminal, environment: dict[str, str]) -> None:
    """With NO_COLOR set, nothing has a colour; the line still changes in place."""
    desk.write("tasks.txt", "sleep 0.3", "exit 3")
    _, text = terminal.end(terminal.run(desk, "tasks.txt", "-n", "1", **environment))
    assert "task 1: exit 3" in text
    assert BAR in text
    assert {"\x1b[0m"} >= {code for code in COLOUR.findall(text) if re.search(r"[349][0-7]|38|48", code)}


@pytest.mark.parametrize(("words_", "environment"), [(["-q"], {}), ([], {"TERM": "dumb"})])
def test_no_live_line(desk: Desk, terminal: Terminal, words_: list[str], environment: dict[str, str]) -> None:
    """With `--quiet`, or on a terminal that can do nothing, there is neither a live line nor a control sequence."""
    desk.write("tasks.txt", "exit 3")
    status, text = terminal.end(terminal.run(desk, "tasks.txt", *words_, **environment))
    assert 1 == status
    assert "\x1b" not in text
    assert ("0 of 1 finished" in text) == (not words_)


def test_a_command_in_the_summary_is_not_markup(desk: Desk, terminal: Terminal) -> None:
    """Brackets, colours and control characters of a task are shown as they are, or as one sign, and never obeyed."""
    desk.write("tasks.txt", "exit 3 # [bold]x[/bold] [/] \x1b[5mblink :smile:")
    _, text = terminal.end(terminal.run(desk, "tasks.txt", "-v"))
    assert "exit 3 # [bold]x[/bold] [/] �[5mblink :smile:" in text
    assert "\x1b[5m" not in text


def test_a_terminal_that_is_closed(desk: Desk, wait_until: Callable[..., None]) -> None:
    """When the terminal goes away, the farmer that `nohup` protects goes on, and its tasks are recorded."""
    terminal = Terminal()
    desk.write("tasks.txt", "echo >> begun; until [ -e go ]; do sleep 0.05; done", "echo two")
    farmer = terminal.run(desk, "tasks.txt", "-n", "1")
    try:
        wait_until(lambda: desk.lines("begun"))
        terminal.read()
    finally:
        terminal.close()
        (desk / "go").touch()
    assert 0 == farmer.wait(timeout=20)
    assert [0, 1] == desk.ids("tasks.txt_workdir/finished")


def test_interrupt_from_the_keyboard(desk: Desk, terminal: Terminal, wait_until: Callable[..., None]) -> None:
    """Control-C stops as TERM does: what runs goes back, the screen is left in order, and the status is 3."""
    desk.write("tasks.txt", "echo >> begun; sleep 100")
    farmer = terminal.run(desk, "tasks.txt")
    wait_until(lambda: desk.lines("begun"))
    farmer.send_signal(signal.SIGINT)
    status, text = terminal.end(farmer)
    assert 3 == status
    assert "stopped by SIGINT\r\n1 running task went back to the list\r\n" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")


def test_a_suspended_farmer_leaves_the_cursor_to_the_shell(
    desk: Desk, terminal: Terminal, wait_until: Callable[..., None]
) -> None:
    """After Ctrl-Z the cursor, which the live line hides, is seen at the shell's prompt."""
    desk.write("tasks.txt", "true", "sleep 100")
    farmer = terminal.run(desk, "tasks.txt", "-n", "1")
    wait_until(lambda: BAR in terminal.read(), state=lambda: terminal.seen)
    farmer.send_signal(signal.SIGTSTP)
    wait_until(lambda: psutil.Process(farmer.pid).status() == psutil.STATUS_STOPPED)
    assert terminal.read().endswith("\x1b[?25h")
    farmer.send_signal(signal.SIGCONT)
    farmer.send_signal(signal.SIGINT)
    assert 3 == terminal.end(farmer)[0]
