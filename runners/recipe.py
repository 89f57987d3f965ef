"""What all containers of one definition have in common."""

import os
import pwd
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from pytaskfarmer.plugins.contracts import Command, TaskContext

from . import engines
from .engines import Engine, Launch
from .scratch import Scratch, filled

_ROCM = ("GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_OF_EVERY_TASK = frozenset({"PROC_NUMBER", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", *_ROCM})
"""What a task must find inside, beside `PYTASKFARMER_...`: its id, and its share of CPUs and GPUs."""

Finish = Callable[[int], Command | None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start containers; `program` is the path of the engine's program, the rest is what the options say."""

    engine: Engine
    program: str
    image: str
    volumes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    setup: str = ""
    shell: str = "/bin/bash"
    env: tuple[str, ...] = ()
    gpu: bool = False
    workdir: str = ""
    arguments: tuple[str, ...] = ()

    def launch(self, name: str, command: tuple[str, ...], variables: tuple[str, ...], tempdir: str) -> Launch:
        """Return one container."""
        return Launch(
            image=self.image,
            command=command,
            name=name,
            volumes=self.volumes,
            modules=self.modules,
            variables=variables,
            gpu=self.gpu,
            workdir=self.workdir,
            tempdir=tempdir,
            arguments=self.arguments,
        )

    def handed_on(self, context: TaskContext) -> dict[str, str]:
        """Return the variables that must be inside as outside: of the task, of its share, and names in `env`."""
        return {
            name: value
            for name, value in context.environment.items()
            if name in _OF_EVERY_TASK or name.startswith("PYTASKFARMER_") or name in self.env
        }

    def assignments(self) -> dict[str, str]:
        """Return the variables to which `env` gives a value."""
        pairs = (word.partition("=") for word in self.env)
        return {name: value for name, equals, value in pairs if equals}

    def removal(self, name: str) -> Command:
        """Return the process after which the container of that name is gone."""
        return Command(engines.remove(self.engine, name), self.program)


def new_name() -> str:
    """Return a name for a container that nobody can guess."""
    return f"pytaskfarmer-{secrets.token_hex(8)}"


def installed(program: str, remedy: str = "install it, or add its directory to PATH") -> str:
    """Return the path of an engine's program. Raises `ValueError` if it is not on PATH."""
    path = shutil.which(program)
    if path is None:
        raise ValueError(f"{program} is not on PATH; {remedy}")
    return path


def check_volumes(volumes: tuple[str, ...]) -> None:
    """Raise `ValueError` for a volume that is not of the form that all engines take."""
    for volume in volumes:
        source, _, destination = volume.partition(":")
        if not source or not destination:
            raise ValueError(f"volumes: {volume!r} is not of the form SOURCE:DESTINATION")


def from_here(volumes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the volumes with absolute sources: a relative one may be something else than a path for an engine.

    `~` and `$NAME` are replaced in them. Raises `ValueError` where the environment has no NAME.
    """
    here = os.getcwd()
    parts = (volume.partition(":") for volume in volumes)
    return tuple("".join((os.path.join(here, filled("volumes", source)), *rest)) for source, *rest in parts)


def surroundings(context: TaskContext) -> dict[str, str | None]:
    """Return what an engine's program needs around it, and what must not reach a shell inside.

    Engines map the user by name, but cron and some batch systems do not set USER. BASH_ENV names a file of the host.
    """
    if "USER" in context.environment:
        return {"BASH_ENV": ""}
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return {"BASH_ENV": "", "USER": user}


def finisher(scratch: Scratch | None, directory: str, removal: Finish | None) -> Finish | None:
    """Return the `finish` that removes the container, then the directory, as far as there are any."""
    return scratch.finish(directory, removal) if scratch else removal
