"""Stands in for a container engine: run under the engine's name, it refuses what the engine would refuse.

It takes the flags that the engine has and no others, and then really runs the command, on the host, in the environment
that the engine would make. A container of Podman's is a daemon: in a session of its own, with a clean environment, a
child of a monitor and not of the client, deaf to TERM, and gone only when its first process ends or `rm` is called.

Beside this file: `calls`, a line of JSON for each command line; `containers/NAME`, the containers of Podman; `client`,
the pid of its latest client.
"""

import contextlib
import getopt
import json
import os
import signal
import sys
import time
from collections.abc import Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = os.path.basename(__file__)
MARK = "STAND_IN_CONTAINER"
PODMAN_RUN = ["rm", "detach", "name=", "env=", "device="]
PODMAN_HPC_RUN = ["rm", "detach", "name=", "env=", "gpu", "mpi", "cvmfs"]
FLAGS = {
    ("shifter", ""): ("V:m:", ["image=", "volume=", "module=", "workdir="]),
    ("apptainer", "exec"): ("", ["bind=", "pwd=", "nv", "cleanenv"]),
    ("podman", "run"): ("v:w:", PODMAN_RUN),
    ("podman-hpc", "run"): ("v:w:", PODMAN_HPC_RUN),
    ("podman", "exec"): ("w:", ["env="]),
    ("podman-hpc", "exec"): ("w:", ["env="]),
    ("podman", "rm"): ("", ["force", "ignore", "time="]),
    ("podman-hpc", "rm"): ("", ["force", "ignore", "time="]),
}


def main(arguments: list[str]) -> int:
    """Do what the engine does, and return its exit status."""
    with open(f"{HERE}/calls", "a") as calls:
        calls.write(json.dumps([NAME, *arguments]) + "\n")
    verb = "" if NAME == "shifter" else arguments.pop(0)
    if (NAME, verb) not in FLAGS:
        return refuse(f"unknown command {verb!r}")
    short, known = FLAGS[NAME, verb]
    try:
        given, rest = getopt.getopt(arguments, short, known)
    except getopt.GetoptError as error:
        return refuse(str(error))
    match verb:
        case "":
            return shifter(given, rest, "--" in arguments)
        case "rm":
            return remove(dict(given), *rest)
        case "exec" if NAME == "apptainer":
            return apptainer(given, rest)
        case "exec":
            return enter(given, rest)
        case _:
            return run(given, rest)


def refuse(message: str) -> int:
    """Say what is wrong, as an engine would."""
    print(f"{NAME}: error: {message}", file=sys.stderr)
    return 125


def shifter(given: list[tuple[str, str]], command: list[str], separated: bool) -> int:
    """Become the command, in the environment as it is."""
    options = dict(given)
    if "--image" not in options or not separated:
        return refuse("no image, or no -- before the command")
    if not all(volume.count(":") == 1 for flag, volume in given if flag in {"-V", "--volume"}):
        return refuse("a volume is SOURCE:DESTINATION")
    if len([flag for flag, _ in given if flag in {"-m", "--module"}]) > 1:
        return refuse("of several --module only the last would count")
    os.chdir(options.get("--workdir", "."))
    return become(command, {**os.environ, "SHIFTER_RUNTIME": "1"})


def apptainer(given: list[tuple[str, str]], rest: list[str]) -> int:
    """Become the command; variables with the prefix come without, and beat others."""
    image, *command = rest
    if not image.endswith(".sif"):
        return refuse(f"could not open image {image}")
    outside = {} if ("--cleanenv", "") in given else dict(os.environ)
    prefix = "APPTAINERENV_"
    inside = {name[len(prefix) :]: value for name, value in os.environ.items() if name.startswith(prefix)}
    os.chdir(dict(given).get("--pwd", "."))
    kept = {name: value for name, value in outside.items() if not name.startswith(prefix)}
    return become(command, {"PATH": os.defpath, **kept, **inside, "APPTAINER_NAME": image})


def become(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command in the place of this program, with its status."""
    os.execvpe(command[0], command, environment)


def run(given: list[tuple[str, str]], rest: list[str]) -> int:
    """Start a container; unless it is detached, wait for its end."""
    image, *command = rest
    options = dict(given)
    container = f"{HERE}/containers/{options['--name']}"
    if image == "missing":
        return refuse("missing: image not known")
    os.makedirs(container)
    status = daemon(container, ["monitor", container, *command], given)
    if "--detach" in options:
        print("0" * 64)
        return 0
    return wait(status)


def enter(given: list[tuple[str, str]], rest: list[str]) -> int:
    """Run a command in a container that is there."""
    name, *command = rest
    container = f"{HERE}/containers/{name}"
    try:
        with open(f"{container}/first") as first:
            workdir = os.readlink(f"/proc/{first.read()}/cwd")
    except FileNotFoundError:
        return refuse(f"no container with name {name}")
    given = [("-w", workdir), *given]
    return wait(daemon(container, ["watch", container, *command], given))


def remove(options: dict[str, str], name: str) -> int:
    """Kill everything in a container, and forget it."""
    container = f"{HERE}/containers/{name}"
    if "--force" not in options or options.get("--time") != "0":
        return refuse("would wait for the container")
    if not os.path.isdir(container):
        return 0 if "--ignore" in options else refuse(f"no container with name {name}")
    forget(container)
    kill_all(container)
    print(name)
    return 0


def daemon(container: str, words: list[str], given: list[tuple[str, str]]) -> int:
    """Start a part of this program as a daemon; return where its status can be read."""
    directory = dict(given).get("-w", "/")
    named = [value.partition("=") for flag, value in given if flag == "--env"]
    variables = {name: value if equals else os.environ[name] for name, equals, value in named}
    with open(f"{HERE}/client", "w") as file:
        file.write(str(os.getpid()))
    ours, theirs = os.pipe()
    if child := os.fork():
        os.waitpid(child, 0)
        os.close(theirs)
        return ours
    os.setsid()
    if os.fork():
        os._exit(0)
    os.set_inheritable(theirs, True)
    clean = {"PATH": os.defpath, "container": "podman", MARK: container}
    os.chdir(directory)
    return become([sys.executable, "-SE", __file__, "--daemon", str(theirs), json.dumps(variables), *words], clean)


def wait(status: int) -> int:
    """Wait for the end of what a daemon runs; signals are handed on, but do not reach it."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    return int(os.read(status, 9))


def be_daemon(answer: int, variables: dict[str, str], role: str, container: str, *command: str) -> None:
    """Run the command to its end and answer with its status; the end of a container's first process is its own."""
    first = os.fork()
    if first == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(answer)
        become(command, {**os.environ, **variables})
    if role == "monitor":
        with contextlib.suppress(FileNotFoundError), open(f"{container}/first.new", "w") as file:
            file.write(str(first))
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{container}/first.new", f"{container}/first")
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    if role == "monitor":
        forget(container)
        kill_all(container, but=os.getpid())
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, str(status if status >= 0 else 128 - status).encode())


def forget(container: str) -> None:
    """Remove the record of a container."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{container}/first")
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(container)


def kill_all(container: str, but: int = 0) -> None:
    """Kill all that carries the mark of a container, until none is left."""
    while pids := [pid for pid in marked(container) if pid != but]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def marked(container: str) -> list[int]:
    """Return the processes that carry the mark of a container and are no zombies."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{int(name)}/environ", "rb") as environ:
            if f"{MARK}={container}".encode() in environ.read().split(b"\0"):
                found.append(int(name))
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--daemon"]:
        be_daemon(int(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:])
    else:
        sys.exit(main(sys.argv[1:]))
