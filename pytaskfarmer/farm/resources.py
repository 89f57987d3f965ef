"""What each slot gets of a node: CPUs, GPUs, memory. Pure: the facts of a node come in, shares go out.

A share belongs to a process: to a task's own, or to a warm worker with all its calls.

CPUs are counted as the batch system counts them. It may call a hardware thread a CPU, or a core with all its threads:
where it allotted as many CPUs as the mask has cores, it means cores. They are dealt out in the order of memory nodes
and cores, so that a share has neighbours; no share spans two memory nodes if as many shares can be had otherwise. Where
the mask has more than was allotted, the batch system binds nobody, and others on the node may have been told the same:
then nothing is bound here either.

GPUs are words, which we hand on as they came: an index, a UUID, the name of a slice, a tile such as `0.1`. All
variables that name them are cut at the same places. With ROCR_VISIBLE_DEVICES those of HIP and OpenCL count within what
it leaves, so they are applied to it, and taken away. Where it fails: a system that sets CUDA_VISIBLE_DEVICES too, on a
node with AMD's GPUs, on which HIP obeys that as well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytaskfarmer.errors import UsageError

_ROCR, _WITHIN_ROCR = "ROCR_VISIBLE_DEVICES", ("HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", _ROCR, *_WITHIN_ROCR, "ZE_AFFINITY_MASK")
_NO_DEVICE = frozenset({"", "-1", "NoDevFiles", "none", "void"})
_UNITS = (("T", 4), ("G", 3), ("M", 2))
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])i?B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wants:
    """What one process is to have, as far as anything was said; `memory` in bytes."""

    cpus: int | None = None
    gpus: int | None = None
    memory: int | None = None

    def __bool__(self) -> bool:
        """Whether anything is wanted."""
        return any((self.cpus, self.gpus, self.memory))


@dataclass(frozen=True, slots=True)
class Node:
    """What a farmer has of its node.

    `mask` are its CPUs, `allotted` how many the batch system says they are. `places` maps a CPU to its memory node and
    to its core, which is the first CPU of the core. `gpus` maps each variable to its words; those in `dropped` are
    taken away from tasks. `memory` is in bytes, None if it is not known.
    """

    mask: frozenset[int]
    allotted: int
    places: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    memory: int | None = None

    @property
    def gpu_count(self) -> int:
        """The number of GPUs. Raises `UsageError` if the variables disagree about it."""
        counts = {name: len(words) for name, words in self.gpus.items()}
        if len(set(counts.values())) > 1:
            says = ", ".join(f"{name} names {count}" for name, count in counts.items())
            raise UsageError(f"it is not clear how many GPUs there are: {says}. Unset the variables that do not count.")
        return next(iter(counts.values()), 0)


@dataclass(frozen=True, slots=True)
class Share:
    """What one process gets: the CPUs it is bound to (None: it is not), and variables; None takes one away."""

    cpus: frozenset[int] | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)


def plan(wants: Wants, node: Node, asked: int | None, environ: Mapping[str, str]) -> tuple[Share, ...]:
    """Return a share for each process: as many as were `asked` for, or as fit.

    Raises `UsageError` if they do not fit, or if what is wanted cannot be had at all.
    """
    limits = list(_limits(wants, node))
    for fit, option, has in limits:
        if not fit:
            raise UsageError(
                f"{option}: this farmer has {has}, too little for a single task. "
                "Ask for less, or ask the batch system for more."
            )
        if asked is not None and fit < asked:
            raise UsageError(
                f"--proc {asked}: this farmer has {has}, which is room for {fit} at a time with {option}. "
                "Use --proc auto, or ask for less."
            )
    count = asked or min((node.allotted, *(fit for fit, _, _ in limits)))
    sets = cpu_sets(_countable(node), wants.cpus, count) if wants.cpus else []
    variables: dict[str, str | None] = dict.fromkeys(node.dropped if wants.gpus else ())
    if wants.cpus and not environ.get("OMP_NUM_THREADS"):
        variables["OMP_NUM_THREADS"] = str(wants.cpus)
    return tuple(
        Share(sets[number] if sets else None, variables | dict(_gpus_of(node, number, wants.gpus or 0)))
        for number in range(count)
    )


def _limits(wants: Wants, node: Node) -> Iterator[tuple[int, str, str]]:
    """Yield how many processes fit by each of the wants, the option that says it, and what there is."""
    if wants.cpus:
        yield node.allotted // wants.cpus, f"--cpus-per-task {wants.cpus}", _counted(node.allotted, "CPU")
    if wants.gpus:
        if not node.gpu_count:
            raise UsageError(
                f"--gpus-per-task {wants.gpus}: no GPUs are known here, since none of {', '.join(GPU_VARIABLES)} names "
                "any. Ask the batch system for GPUs, or set the variable of yours, such as CUDA_VISIBLE_DEVICES=0,1."
            )
        yield node.gpu_count // wants.gpus, f"--gpus-per-task {wants.gpus}", _counted(node.gpu_count, "GPU")
    if wants.memory and node.memory is not None:
        has = f"{format_size(node.memory)} of memory"
        yield node.memory // wants.memory, f"--mem-per-task {format_size(wants.memory)}", has


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# -- CPUs


def _countable(node: Node) -> list[tuple[int, frozenset[int]]]:
    """Return what the batch system calls CPUs, each with its memory node, neighbours beside each other.

    Cores of which the mask has fewer threads come last, so that they put nothing else out of step. Empty where the
    mask is not what was allotted.
    """
    cores: dict[tuple[int, int], set[int]] = {}
    for cpu in node.mask:
        cores.setdefault(node.places.get(cpu, (0, cpu)), set()).add(cpu)
    ordered = sorted(cores, key=lambda place: (place[0], -len(cores[place]), place[1]))
    if node.allotted == len(node.mask):
        return [(place[0], frozenset({cpu})) for place in ordered for cpu in sorted(cores[place])]
    if node.allotted == len(cores):
        return [(place[0], frozenset(cores[place])) for place in ordered]
    return []


def cpu_sets(units: Sequence[tuple[int, frozenset[int]]], size: int, count: int) -> list[frozenset[int]]:
    """Return `count` sets of `size` neighbouring units, within memory nodes if that gives as many."""
    nodes: dict[int, list[frozenset[int]]] = {}
    for memory_node, cpus in units:
        nodes.setdefault(memory_node, []).append(cpus)
    within = [run for cpus in nodes.values() for run in _runs(cpus, size)]
    if len(within) < count:
        within = _runs([cpus for _, cpus in units], size)
    return within[:count]


def _runs(units: Sequence[frozenset[int]], size: int) -> list[frozenset[int]]:
    return [frozenset().union(*units[at : at + size]) for at in range(0, len(units) - size + 1, size)]


def part(node: Node, number: int, sharers: int, promised: int | None = None) -> Node:
    """Return one of `sharers` equal parts of the CPUs, of no more than were `promised`; the rest belongs to nobody.

    A node of which less is allotted than the mask has is returned as it is.
    """
    units = _countable(node)
    size = min(len(units) // sharers, promised or len(units))
    mine = cpu_sets(units, size, sharers)[number : number + 1] if size else []
    return replace(node, mask=mine[0], allotted=size) if mine else node


# -- GPUs


def gpus(environ: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the words of each variable that names GPUs, and the variables that tasks must not have."""
    named = {name: tuple(_devices(environ[name])) for name in GPU_VARIABLES if environ.get(name)}
    if _ROCR not in named:
        return named, ()
    dropped = tuple(name for name in _WITHIN_ROCR if name in named)
    for name in dropped:
        inner, outer = named.pop(name), named[_ROCR]
        if all(word.isdecimal() and int(word) < len(outer) for word in inner) and name == dropped[0]:
            named[_ROCR] = tuple(outer[int(word)] for word in inner)
    return named, dropped


def _devices(text: str) -> Iterator[str]:
    """Yield the devices up to the first word that names none: so the drivers read it."""
    for word in text.split(","):
        if word.strip() in _NO_DEVICE:
            return
        yield word.strip()


def _gpus_of(node: Node, number: int, each: int) -> Iterable[tuple[str, str]]:
    if each:
        for name, words in node.gpus.items():
            yield name, ",".join(words[number * each : (number + 1) * each])


# -- memory


def parse_size(text: str) -> int:
    """Return the bytes that `text` says, such as `4G`, `500M` or `1.5 GiB`; a K is 1024. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper()))) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is not an amount of memory; write a number above 0 with a unit, as 500M or 4G.")
    return size


def format_size(size: int) -> str:
    """Return bytes for people: `4G`, `1.5G`, `500M`, `12K`; `4000G` rather than 3.9T, which would be a rounded one."""
    texts = [f"{size / 1024**power:.1f}".removesuffix(".0") + unit for unit, power in _UNITS if size >= 1024**power]
    exact = (text for text in texts if parse_size(text) == size)
    return next(exact, texts[0] if texts else f"{size // 1024}K")
