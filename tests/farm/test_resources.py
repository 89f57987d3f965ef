"""Who gets which CPUs, GPUs and memory: on nodes and in environments as they were found on real machines."""

from pathlib import Path

import pytest

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.errors import UsageError
from pytaskfarmer.farm import node as nodes
from pytaskfarmer.farm import resources
from pytaskfarmer.farm.resources import Node, Share, Wants, part, plan

GIB = 1 << 30

THREADS = {cpu: (cpu % 128 // 64, cpu % 128) for cpu in range(256)}
"""Two sockets of 64 cores; threads n and n + 128 are one core."""

ONE_SOCKET = {cpu: (cpu % 64 // 16, cpu % 64) for cpu in range(128)}
"""One socket of 64 cores in four memory nodes; threads n and n + 64 are one core; four GPUs."""

INTERLEAVED = {cpu: (cpu % 2, cpu) for cpu in range(16)}
"""Even CPUs are on one socket, odd ones on the other."""

UUIDS = ("GPU-8a6f9de2-5f1c-4c1b-92d5-6f0f6ad0f3f1", "GPU-0ce03d9b-7a9c-2b19-0d54-f5ab8d1f0a3e")
SLICES = ("MIG-7e1d4d0c-49e2-5d0c-8a3a-9b5a2f7d6c11", "MIG-GPU-8a6f9de2-5f1c-4c1b-92d5-6f0f6ad0f3f1/2/0")


def whole(places: dict[int, tuple[int, int]], **facts: object) -> Node:
    """Return a node whose farmer may use all of it."""
    return Node(frozenset(places), len(places), places, **facts)  # type: ignore[arg-type]


def bound(shares: tuple[Share, ...]) -> list[list[int]]:
    """Return the CPUs of each share."""
    return [sorted(share.cpus or ()) for share in shares]


def seen(shares: tuple[Share, ...], name: str) -> list[str | None]:
    """Return what each share says of a variable."""
    return [share.environment[name] for share in shares]


# CPUs


def test_threads_of_a_core_stay_together() -> None:
    """256 threads make 64 shares of two cores with both threads, each CPU in one share."""
    sets = bound(plan(Wants(cpus=4), whole(THREADS), None, {}))
    assert [[0, 1, 128, 129], [2, 3, 130, 131], [126, 127, 254, 255]] == [sets[0], sets[1], sets[-1]]
    assert sorted(THREADS) == sorted(cpu for cpus in sets for cpu in cpus)


def test_single_threads_can_be_asked_for() -> None:
    """With one CPU a task there are as many slots as threads, those of a core beside each other."""
    sets = bound(plan(Wants(cpus=1), whole(ONE_SOCKET), None, {}))
    assert ([[0], [64], [1], [65]], 128) == (sets[:4], len(sets))


@pytest.mark.parametrize(
    ("places", "cpus", "asked", "expected"),
    [
        (INTERLEAVED, 8, None, [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]),
        (INTERLEAVED, 3, 4, [[0, 2, 4], [6, 8, 10], [1, 3, 5], [7, 9, 11]]),
        (INTERLEAVED, 3, 5, [[0, 2, 4], [6, 8, 10], [1, 12, 14], [3, 5, 7], [9, 11, 13]]),
        (INTERLEAVED, 16, None, [list(range(16))]),
    ],
)
def test_no_share_spans_two_sockets_without_need(
    places: dict[int, tuple[int, int]], cpus: int, asked: int | None, expected: list[list[int]]
) -> None:
    """Shares stay within a memory node, unless more are wanted than fit that way."""
    assert expected == bound(plan(Wants(cpus=cpus), whole(places), asked, {}))


def test_a_torn_mask_keeps_whole_cores_whole() -> None:
    """Where the mask has one thread only of the first core, the others still come in pairs."""
    mask = frozenset({0, 1, 2, 3, 65, 66, 67})
    sets = bound(plan(Wants(cpus=2), Node(mask, 7, ONE_SOCKET), None, {}))
    assert [[1, 65], [2, 66], [3, 67]] == sets


def test_a_cpu_is_a_core_where_the_batch_system_means_cores() -> None:
    """With 64 CPUs allotted and 64 cores of two threads in the mask, four CPUs are four cores."""
    shares = plan(Wants(cpus=4), Node(frozenset(ONE_SOCKET), 64, ONE_SOCKET), None, {})
    assert ([0, 1, 2, 3, 64, 65, 66, 67], 16) == (bound(shares)[0], len(shares))
    assert {"4"} == set(seen(shares, "OMP_NUM_THREADS"))


def test_nobody_is_bound_where_the_batch_system_binds_nobody() -> None:
    """With 16 CPUs allotted of 256 in the mask, there are 16 slots, on whichever CPUs the kernel likes."""
    shares = plan(Wants(cpus=1), Node(frozenset(THREADS), 16, THREADS), None, {})
    assert [Share(None, {"OMP_NUM_THREADS": "1"})] * 16 == list(shares)


def test_unknown_cores_are_cores_of_their_own() -> None:
    """Where `/sys` is not there, CPUs are taken in their order."""
    assert [[4, 5], [6, 7]] == bound(plan(Wants(cpus=2), Node(frozenset(range(4, 8)), 4), None, {}))


@pytest.mark.parametrize(("environ", "expected"), [({}, {"OMP_NUM_THREADS": "2"}), ({"OMP_NUM_THREADS": "1"}, {})])
def test_threads_are_counted_unless_the_user_has(environ: dict[str, str], expected: dict[str, str]) -> None:
    """OMP_NUM_THREADS is the number of CPUs, and the user's own where there is one."""
    (share,) = plan(Wants(cpus=2), Node(frozenset({0, 1}), 2), None, environ)
    assert expected == share.environment


# GPUs


@pytest.mark.parametrize(
    ("environ", "each", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 1, {"CUDA_VISIBLE_DEVICES": ["0", "1", "2", "3"]}),
        ({"CUDA_VISIBLE_DEVICES": "2,0,7"}, 1, {"CUDA_VISIBLE_DEVICES": ["2", "0", "7"]}),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 2, {"CUDA_VISIBLE_DEVICES": ["0,1", "2,3"]}),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, 2, {"CUDA_VISIBLE_DEVICES": ["0,1"]}),
        ({"CUDA_VISIBLE_DEVICES": "0,0,1,1"}, 1, {"CUDA_VISIBLE_DEVICES": ["0", "0", "1", "1"]}),
        ({"CUDA_VISIBLE_DEVICES": ",".join(UUIDS)}, 1, {"CUDA_VISIBLE_DEVICES": list(UUIDS)}),
        ({"CUDA_VISIBLE_DEVICES": ",".join(SLICES)}, 1, {"CUDA_VISIBLE_DEVICES": list(SLICES)}),
        ({"CUDA_VISIBLE_DEVICES": " 1, 3 ,-1,2"}, 1, {"CUDA_VISIBLE_DEVICES": ["1", "3"]}),
        ({"ROCR_VISIBLE_DEVICES": "4,5,6,7"}, 2, {"ROCR_VISIBLE_DEVICES": ["4,5", "6,7"]}),
        ({"HIP_VISIBLE_DEVICES": "1,0"}, 1, {"HIP_VISIBLE_DEVICES": ["1", "0"]}),
        ({"ZE_AFFINITY_MASK": "0.0,0.1,1.0,1.1"}, 1, {"ZE_AFFINITY_MASK": ["0.0", "0.1", "1.0", "1.1"]}),
        (
            {"CUDA_VISIBLE_DEVICES": "4,5", "ROCR_VISIBLE_DEVICES": "4,5", "ZE_AFFINITY_MASK": "4,5"},
            1,
            {name: ["4", "5"] for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")},
        ),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5,6,7", "HIP_VISIBLE_DEVICES": "3,1"},
            1,
            {"ROCR_VISIBLE_DEVICES": ["7", "5"], "HIP_VISIBLE_DEVICES": [None, None]},
        ),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5", "GPU_DEVICE_ORDINAL": "4,5"},
            1,
            {"ROCR_VISIBLE_DEVICES": ["4", "5"], "GPU_DEVICE_ORDINAL": [None, None]},
        ),
    ],
)
def test_gpus_are_handed_on_by_their_names(
    environ: dict[str, str], each: int, expected: dict[str, list[str | None]]
) -> None:
    """Every variable is cut at the same places, and no word of it is changed.

    What AMD's inner variables say of the outer one has been applied to that.
    """
    words, dropped = resources.gpus(environ)
    shares = plan(Wants(gpus=each), whole(THREADS, gpus=words, dropped=dropped), None, environ)
    assert expected == {name: seen(shares, name) for name in shares[0].environment}
    assert {None} == {share.cpus for share in shares}


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}])
def test_gpus_that_nobody_names_are_an_error(environ: dict[str, str]) -> None:
    """Where no variable names a GPU, the message says which ones could."""
    words, dropped = resources.gpus(environ)
    with pytest.raises(UsageError, match=r"^--gpus-per-task 1: no GPUs are known here, .*CUDA_VISIBLE_DEVICES=0,1\.$"):
        plan(Wants(gpus=1), whole(THREADS, gpus=words, dropped=dropped), None, environ)


def test_variables_that_disagree_are_an_error() -> None:
    """Where one variable names two GPUs and another three, nobody guesses."""
    words, _ = resources.gpus({"CUDA_VISIBLE_DEVICES": "0,1", "ZE_AFFINITY_MASK": "0,1,2"})
    with pytest.raises(UsageError, match=r"CUDA_VISIBLE_DEVICES names 2, ZE_AFFINITY_MASK names 3\."):
        plan(Wants(gpus=1), whole(THREADS, gpus=words), None, {})


# How many


FOUR_GPUS = whole(ONE_SOCKET, gpus={"CUDA_VISIBLE_DEVICES": ("0", "1", "2", "3")}, memory=240 * GIB)


@pytest.mark.parametrize(
    ("wants", "asked", "slots"),
    [
        (Wants(cpus=16), None, 8),
        (Wants(cpus=5), None, 25),
        (Wants(gpus=1), None, 4),
        (Wants(memory=10 * GIB), None, 24),
        (Wants(memory=GIB), None, 128),
        (Wants(memory=GIB), 200, 200),
        (Wants(cpus=16, gpus=1, memory=100 * GIB), None, 2),
        (Wants(cpus=32, gpus=1, memory=60 * GIB), None, 4),
        (Wants(gpus=1), 3, 3),
    ],
)
def test_the_scarcest_thing_decides(wants: Wants, asked: int | None, slots: int) -> None:
    """There are as many slots as fit by everything that is wanted, or fewer if fewer are asked for."""
    assert slots == len(plan(wants, FOUR_GPUS, asked, {}))


@pytest.mark.parametrize(
    ("wants", "asked", "says"),
    [
        (
            Wants(cpus=16),
            9,
            "--proc 9: this farmer has 128 CPUs, which is room for 8 at a time with --cpus-per-task 16. Use --proc",
        ),
        (Wants(cpus=1, gpus=2), 3, "--proc 3: this farmer has 4 GPUs, which is room for 2 at a time with --gpus-per"),
        (Wants(memory=60 * GIB), 5, "--proc 5: this farmer has 240G of memory, which is room for 4 at a time"),
        (Wants(cpus=129), None, "--cpus-per-task 129: this farmer has 128 CPUs, too little for a single task."),
        (Wants(memory=241 * GIB), 1, "--mem-per-task 241G: this farmer has 240G of memory, too little for a single"),
    ],
)
def test_what_does_not_fit_is_an_error_with_numbers(wants: Wants, asked: int | None, says: str) -> None:
    """The message says what there is, how many fit, and what to do."""
    with pytest.raises(UsageError) as error:
        plan(wants, FOUR_GPUS, asked, {})
    assert str(error.value).startswith(says)


def test_memory_that_is_not_known_limits_nothing() -> None:
    """Where nobody tells how much memory there is, the CPUs decide."""
    assert 256 == len(plan(Wants(memory=GIB), whole(THREADS), None, {}))


# Several farmers on one node


STEP = Allocation(job="1", step="0", cpus=128, gpus=4, farmers_here=4, engine="slurm")


def of_four(mask: frozenset[int], allotted: int, gpus: tuple[str, ...], batch: Allocation = STEP) -> list[Node]:
    """Return what each of four farmers has."""
    mine = Node(mask, allotted, ONE_SOCKET, {"CUDA_VISIBLE_DEVICES": gpus}, memory=100 * GIB)
    return [nodes.of_several(mine, batch, 4, number, 64) for number in range(4)]


def test_farmers_that_are_bound_keep_what_they_have() -> None:
    """A farmer whose mask and GPUs are a quarter of the node's has them for itself, and a quarter of the memory."""
    mask = frozenset(cpu for cpu, (memory_node, _) in ONE_SOCKET.items() if memory_node == 2)
    for mine in of_four(mask, 32, ("0",)):
        assert (mask, ("0",), 25 * GIB) == (mine.mask, mine.gpus["CUDA_VISIBLE_DEVICES"], mine.memory)


def test_farmers_that_are_not_bound_take_their_parts() -> None:
    """Four farmers that all see 128 CPUs and four GPUs take a memory node and a GPU each."""
    found = of_four(frozenset(ONE_SOCKET), 128, ("0", "1", "2", "3"))
    assert [{0}, {1}, {2}, {3}] == [{ONE_SOCKET[cpu][0] for cpu in mine.mask} for mine in found]
    assert [("0",), ("1",), ("2",), ("3",)] == [mine.gpus["CUDA_VISIBLE_DEVICES"] for mine in found]
    assert [32] * 4 == [mine.allotted for mine in found]


def test_a_promise_is_kept() -> None:
    """Farmers that were promised 8 CPUs each, and bound to none, take no more."""
    batch = Allocation(job="1", step="0", cpus=128, cpus_of_task=8, gpus=4, farmers_here=4, engine="slurm")
    found = of_four(frozenset(ONE_SOCKET), 8, ("0",), batch)
    assert [[0, 1, 2, 3, 64, 65, 66, 67], [4, 5, 6, 7, 68, 69, 70, 71]] == [sorted(mine.mask) for mine in found[:2]]


def test_farmers_of_a_part_of_an_unbound_node_share_the_number() -> None:
    """Where the job has 64 of 256 CPUs and no mask, four farmers have 16 slots each, and are bound to nothing."""
    mine = Node(frozenset(THREADS), 60, THREADS)
    batch = Allocation(job="1", step="0", cpus=60, farmers_here=4, engine="slurm")
    found = [nodes.of_several(mine, batch, 4, number, 128) for number in range(4)]
    assert [15] * 4 == [each.allotted for each in found]
    assert {None} == {share.cpus for share in plan(Wants(cpus=1), found[0], None, {})}


def test_parts_keep_whole_cores() -> None:
    """Halves of a node do not share a core."""
    halves = [part(whole(THREADS), number, 2) for number in range(2)]
    assert set() == {THREADS[cpu] for cpu in halves[0].mask} & {THREADS[cpu] for cpu in halves[1].mask}


# What the kernel and Slurm say


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-3,8\n", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), ("garbage", []), ("1-", [1]), ("0-1,64-65", [0, 1, 64, 65])],
)
def test_lists_of_cpus(text: str, expected: list[int]) -> None:
    """Ranges and single numbers are understood, and nothing else."""
    assert expected == nodes.cpu_list(text)


def test_places_are_read_from_sys(tmp_path: Path) -> None:
    """A core is called by its first thread, and belongs to the memory node that lists it."""
    for name, text in {
        "cpu/online": "0-3",
        **{f"cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 2},{cpu % 2 + 2}" for cpu in range(4)},
        "node/online": "0-1",
        "node/node0/cpulist": "0,2",
        "node/node1/cpulist": "1,3",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert {0: (0, 0), 2: (0, 0), 1: (1, 1), 3: (1, 1)} == nodes.places(str(tmp_path))
    assert {} == nodes.places(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("environ", "limits", "expected"),
    [
        ({}, [], None),
        ({}, [64 * GIB, 2 * GIB], 2 * GIB),
        ({"SLURM_MEM_PER_NODE": "4000"}, [64 * GIB], 4000 << 20),
        ({"SLURM_MEM_PER_NODE": "0"}, [64 * GIB], 64 * GIB),
        ({"SLURM_MEM_PER_CPU": "1952", "SLURM_CPUS_ON_NODE": "16"}, [64 * GIB], 1952 * 16 << 20),
        ({"SLURM_MEM_PER_CPU": "1952"}, [64 * GIB], 64 * GIB),
        ({"SLURM_MEM_PER_GPU": "8192", "SLURM_GPUS_ON_NODE": "2"}, [64 * GIB], 16 * GIB),
    ],
)
def test_memory_is_the_smallest_limit(environ: dict[str, str], limits: list[int], expected: int | None) -> None:
    """Of what Slurm allotted and what the kernel allows, the smallest counts."""
    assert expected == nodes.memory(environ, limits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4G", 4 * GIB), ("500M", 500 << 20), ("1.5 GiB", 3 * GIB // 2), ("64kb", 65536), (" 2T ", 2048 * GIB)],
)
def test_amounts_of_memory(text: str, expected: int) -> None:
    """Units are powers of 1024, in any of the usual spellings."""
    assert expected == resources.parse_size(text)


@pytest.mark.parametrize("text", ["4G", "500M", "1.5G", "4000G", "1536T", "700.5M"])
def test_amounts_are_shown_as_they_are_typed(text: str) -> None:
    """What somebody typed is not rounded into something that he did not."""
    assert text == resources.format_size(resources.parse_size(text))


@pytest.mark.parametrize(("size", "expected"), [(64 * GIB + 12345, "64G"), (3 << 19, "1.5M"), (5000, "4K")])
def test_other_amounts_are_rounded(size: int, expected: str) -> None:
    """What was measured is shown with a few digits."""
    assert expected == resources.format_size(size)


@pytest.mark.parametrize("text", ["", "4", "4000", "0G", "-1G", "G", "1e3M", "4 G G", "٣G", "4P"])
def test_other_words_are_no_amount_of_memory(text: str) -> None:
    """A number without a unit could mean anything, and is refused like other words."""
    with pytest.raises(ValueError, match="write a number above 0 with a unit, as 500M or 4G"):
        resources.parse_size(text)
