"""The command lines of container engines, as values.

Each engine is a row of one table: its program, the options that it takes, and a function from what is wanted to the
words of its command line. Nothing here looks at the machine or changes it.

A task must find its own variables inside. Shifter, Apptainer and Charliecloud hand over the environment that they are
started in; what is named to Apptainer in `APPTAINERENV_...` also survives `--cleanenv` and beats the image's own
settings. Podman hands over nothing but what `--env` names, and takes the values from its own environment. So the only
values on a command line, where everybody can read them, are those that somebody wrote out for Podman: set in its
environment, a PATH or HOME that is meant for the inside would mislead Podman itself.

A container of Podman's is no child of the client that starts it, and outlives a client that is killed. So it has a
name that nobody can guess, by which it can be removed, whatever became of the client.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """One container, and the command that runs in it.

    `volumes` are `SOURCE:DESTINATION`; `variables` are NAME or NAME=VALUE. `tempdir` is a directory of the host to
    work in, and `workdir` one of the container. `arguments` stand before the image, as they are.
    """

    image: str
    command: tuple[str, ...]
    name: str
    volumes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    gpu: bool = False
    workdir: str = ""
    tempdir: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One row of the table: `program` is looked up on PATH; `takes` are the options that not every engine has.

    `prefix` stands before the name of a variable by which the engine is told to set it inside. The containers of an
    engine that `detaches` are no descendants of the program.
    """

    name: str
    program: str
    words: Callable[[Launch], list[str]]
    takes: frozenset[str] = frozenset()
    prefix: str = ""
    detaches: bool = False


def run(engine: Engine, launch: Launch) -> tuple[str, ...]:
    """Return the command line that runs a command in a new container and ends with its status."""
    return (engine.program, *engine.words(launch))


def hold(engine: Engine, launch: Launch) -> tuple[str, ...]:
    """Return the command line that leaves a container behind; `launch.command` is what keeps it alive."""
    program, verb, *rest = run(engine, launch)
    return (program, verb, "--detach", *rest)


def enter(engine: Engine, name: str, variables: Iterable[str], workdir: str, command: Iterable[str]) -> tuple[str, ...]:
    """Return the command line that runs a command in the container of that name; "" is its own work directory."""
    return (engine.program, "exec", *_each("--env", variables), *_each("-w", [workdir]), name, *command)


def remove(engine: Engine, name: str) -> tuple[str, ...]:
    """Return the command line after which no container of that name is left; that there is none is no error."""
    return (engine.program, "rm", "--force", "--ignore", "--time", "0", name)


def variable_words(handed_on: Iterable[str], assignments: Mapping[str, str]) -> tuple[str, ...]:
    """Return `Launch.variables` for variables by name, and others by name and value."""
    return (*sorted(handed_on), *(f"{name}={value}" for name, value in assignments.items()))


def inside(engine: Engine, variables: Mapping[str, str]) -> dict[str, str]:
    """Return what must be in the engine's environment, beside `Launch.variables`, to set these variables inside."""
    return {} if engine.detaches else {engine.prefix + name: value for name, value in variables.items()}


def _shifter(launch: Launch) -> list[str]:
    modules = dict.fromkeys((*launch.modules, *(["gpu"] if launch.gpu else [])))
    return [
        f"--image={launch.image}",
        *([f"--module={','.join(modules)}"] if modules else []),  # of several options, only the last would count
        *(f"--volume={volume}" for volume in launch.volumes),
        *(f"--workdir={directory}" for directory in [launch.tempdir or launch.workdir] if directory),
        *launch.arguments,
        "--",
        *launch.command,
    ]


def _podman(launch: Launch, gpu: Iterable[str] = ("--device", "nvidia.com/gpu=all")) -> list[str]:
    return [
        "run",
        "--rm",
        *(gpu if launch.gpu else ()),
        *(f"--{module}" for module in launch.modules),
        *("--name", launch.name),
        *_each("--env", launch.variables),
        *_each("-v", launch.volumes),
        *_each("-v", [launch.tempdir and f"{launch.tempdir}:{launch.tempdir}"]),
        *_each("-w", [launch.tempdir or launch.workdir]),
        *launch.arguments,
        launch.image,
        *launch.command,
    ]


def _podman_hpc(launch: Launch) -> list[str]:
    return _podman(launch, gpu=["--gpu"])


def _apptainer(launch: Launch) -> list[str]:
    return [
        "exec",
        *(["--nv"] if launch.gpu else []),
        *_each("--bind", launch.volumes),
        *_each("--bind", [launch.tempdir and f"{launch.tempdir}:{launch.tempdir}"]),
        *_each("--pwd", [launch.tempdir or launch.workdir]),  # newer releases prefer --cwd, and keep this one
        *launch.arguments,
        launch.image,
        *launch.command,
    ]


def _charliecloud(launch: Launch) -> list[str]:
    # An image is read-only, so only what exists in it can be bound to; that every image has is /tmp.
    return [
        *_each("-b", launch.volumes),
        *_each("-b", [launch.tempdir and f"{launch.tempdir}:/tmp"]),
        *_each("-c", ["/tmp" if launch.tempdir else launch.workdir]),
        *launch.arguments,
        launch.image,
        "--",
        *launch.command,
    ]


def _each(flag: str, values: Iterable[str]) -> list[str]:
    """Return the flag before each value that is not empty."""
    return [word for value in values if value for word in (flag, value)]


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("shifter", "shifter", _shifter, frozenset({"modules", "gpu"})),
        Engine("podman-hpc", "podman-hpc", _podman_hpc, frozenset({"modules", "gpu", "hold"}), detaches=True),
        Engine("apptainer", "apptainer", _apptainer, frozenset({"gpu"}), prefix="APPTAINERENV_"),
        Engine("charliecloud", "ch-run", _charliecloud),
        Engine("podman", "podman", _podman, frozenset({"gpu", "hold"}), detaches=True),
    )
}
"""Every engine by its name, in the order in which they are looked for."""
