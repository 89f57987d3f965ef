"""What this farmer has of its node, as the kernel and the batch system tell it.

Several farmers of one step on one node share it. Normally each is bound to CPUs, and sees GPUs, of its own. Where they
are not, each takes its part by its number there; memory is shared in any case.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pytaskfarmer import allocation
from pytaskfarmer.farm import cgroup, resources
from pytaskfarmer.farm.resources import Node

_SYSTEM = "/sys/devices/system"
_MIB = 1 << 20


def read(environ: Mapping[str, str], batch: allocation.Allocation, mask: Collection[int]) -> Node:
    """Return what this farmer may use; `mask` are the CPUs that the kernel lets it run on."""
    known = places(_SYSTEM)
    words, dropped = resources.gpus(environ)
    farmers, number = batch.farmers_here or 1, _number(environ, "SLURM_LOCALID") or 0
    whole = Node(frozenset(mask), allocation.cpus(batch, mask), known, words, dropped, memory(environ, cgroup_limits()))
    if farmers == 1 or number >= farmers:
        return whole
    return of_several(whole, batch, farmers, number, len(set(known.values())))


def of_several(whole: Node, batch: allocation.Allocation, farmers: int, number: int, machine_cores: int) -> Node:
    """Return what farmer `number` of those on this node may use; `machine_cores` is how many cores the machine has.

    What one farmer has, times their number, is more than there is: so it is not each one's own.
    """
    cores = len({whole.places.get(cpu, (0, cpu)) for cpu in whole.mask})
    mine = whole
    if cores * farmers > min(batch.cpus or machine_cores, machine_cores):
        everybody = min(len(whole.mask), batch.cpus or len(whole.mask))
        mine = resources.part(replace(whole, allotted=everybody), number, farmers, batch.cpus_of_task)
        if mine.mask == whole.mask:
            mine = replace(whole, allotted=max(1, min(whole.allotted, everybody // farmers)))
    if whole.gpus and batch.gpus and whole.gpu_count * farmers > batch.gpus:
        mine = replace(mine, gpus={name: cut(words, number, farmers) for name, words in whole.gpus.items()})
    return mine if whole.memory is None else replace(mine, memory=whole.memory // farmers)


def cut(words: Sequence[str], number: int, parts: int) -> tuple[str, ...]:
    """Return one of so many equal parts."""
    size = len(words) // parts
    return tuple(words[number * size : (number + 1) * size])


def places(system: str) -> dict[int, tuple[int, int]]:
    """Return for every CPU its memory node and its core, as far as `/sys/devices/system` tells."""
    cores: dict[int, int] = {}
    for number in cpu_list(_text(f"{system}/cpu/online")):
        siblings = cpu_list(_text(f"{system}/cpu/cpu{number}/topology/thread_siblings_list"))
        cores[number] = min(siblings, default=number)
    memory_nodes: dict[int, int] = {}
    for number in cpu_list(_text(f"{system}/node/online")):
        memory_nodes |= dict.fromkeys(cpu_list(_text(f"{system}/node/node{number}/cpulist")), number)
    return {cpu: (memory_nodes.get(cpu, 0), core) for cpu, core in cores.items()}


def cpu_list(text: str) -> list[int]:
    """Return the numbers that the kernel writes as `0-3,8`; none for words that make no sense."""
    numbers: list[int] = []
    for word in text.strip().split(","):
        first, _, last = word.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return []
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def memory(environ: Mapping[str, str], limits: Sequence[int]) -> int | None:
    """Return the bytes of memory that all farmers of the allocation may use here; `limits` are those of the kernel.

    Slurm says MiB, for the node, or for each CPU or GPU of it.
    """
    known = list(limits)
    for amount, times in (("NODE", None), ("CPU", "SLURM_CPUS_ON_NODE"), ("GPU", "SLURM_GPUS_ON_NODE")):
        size, count = _number(environ, f"SLURM_MEM_PER_{amount}"), 1 if times is None else _number(environ, times)
        if size and count:  # 0 means all of the node
            known.append(size * count * _MIB)
    return min(known, default=None)


def cgroup_limits() -> list[int]:
    """Return the limits of this process's memory groups, and the memory of the machine."""
    limits = [limit for group in cgroup.own() for limit in group.limits()]
    return [*limits, *_physical()]


def _physical() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except (OSError, ValueError):
        return ""
