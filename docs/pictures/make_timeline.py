"""Make `timeline.png`: a real run of two farmers, shown by the real Perfetto UI. `python make_timeline.py [PNG]`.

The farmers are told different host names, as if they were on two nodes: `unshare` gives each a name space for that.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import perfetto

LIST = [
    *(f"sim run{number:02}" for number in range(1, 11)),
    "reco run01",
    "reco run02",
    "fit bad",
    *(f"fit run{number:02}" for number in range(3, 11)),
    *(f"sim run{number:02}" for number in range(11, 17)),
    *(f"fit run{number:02}" for number in range(11, 17)),
]
SIM = """
milliseconds $((1100 + n * 37 % 90 * 10))
if [ $n = 5 ] && [ $PYTASKFARMER_ATTEMPT = 1 ]; then echo 'the license server is busy'; exit 75; fi
"""
RECO = """
milliseconds 3000
"""
FIT = """
milliseconds $((700 + n * 53 % 40 * 10))
if [ $1 = bad ]; then echo "$1: not a ROOT file"; exit 1; fi
"""
HEAD = """#!/bin/bash
milliseconds() { sleep $(($1 / PACE))e-3; }
n=${1#run}; n=${n#0}; n=${n%bad}
"""


def run(here: Path, pace: int = 1) -> Path:
    """Run the list in a directory, so many times as fast; return the timeline.

    One farmer is stopped on the way, and started again.
    """
    programs = here / "programs"
    programs.mkdir()
    for name, text in (("sim", SIM), ("reco", RECO), ("fit", FIT)):
        (programs / name).write_text(HEAD.replace("PACE", str(pace)) + text)
        (programs / name).chmod(0o755)
    (here / "tasks.txt").write_text("\n".join(LIST) + "\n")
    first = start(here, "nid001")
    wait_for(here, "nid001", "start", 4, first)
    second = start(here, "nid002")
    wait_for(here, "nid002", "end", 9, second)
    time.sleep(0.5 / pace)
    second.send_signal(signal.SIGTERM)
    second.wait()
    time.sleep(0.7 / pace)
    second = start(here, "nid002")
    for farmer in (first, second):
        farmer.wait()
    return here / "tasks.txt_workdir/timeline.json"


def wait_for(here: Path, host: str, note: str, count: int, farmer: "subprocess.Popen[bytes]") -> None:
    """Wait until a farmer has noted something so many times, or has left."""
    claims = here / "tasks.txt_workdir/claims"
    while farmer.poll() is None:
        try:
            text = "".join(path.read_text() for path in claims.glob(f"{host}-*[!k]"))
        except FileNotFoundError:
            continue
        if text.count(f"\n{note} ") >= count:
            return
        time.sleep(0.01)


def start(here: Path, host: str) -> "subprocess.Popen[bytes]":
    """Start a farmer that believes to be on `host`."""
    script = f"hostname {host} && exec pytaskfarmer.py --proc 4 --retries 1 tasks.txt"
    path = os.pathsep.join([str(here / "programs"), str(Path(sys.executable).parent), os.environ["PATH"]])
    words = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", script]
    return subprocess.Popen(words, cwd=here, env={**os.environ, "PATH": path})


def main(picture: Path) -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as here:
        trace = run(Path(here))
        draw(trace, picture)


def draw(trace: Path, picture: Path) -> None:
    """Draw a timeline with all its lanes open."""
    with perfetto.opened(trace, size=(960, 900), scale=1.6) as timeline:
        timeline.command("dev.perfetto.ExpandAllGroups")
        timeline.picture(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("timeline.png"))
