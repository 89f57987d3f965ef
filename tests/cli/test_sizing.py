"""How many processes at a time `--proc` comes to where the limits of the node are lower."""

import os

import pytest

from pytaskfarmer import allocation
from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cli import sizing
from pytaskfarmer.farm.resources import Wants


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen CPUs, and descriptors for six processes, or three warm workers."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(allocation, "most_slots", lambda in_flight=None: 6 if in_flight is None else 3)


@pytest.mark.parametrize(("proc", "wanted"), [("auto", 16), ("all", 16), (None, 8), (7, 7)])
@pytest.mark.parametrize(("in_flight", "most"), [(None, 6), (1, 3)])
def test_never_more_than_can_be_held(proc: int | str | None, wanted: int, in_flight: int | None, most: int) -> None:
    """Whatever was asked for, or follows from the node, is capped with a word that says what it came to."""
    found = sizing.size(proc, Wants(), Allocation(), in_flight)
    told = f"--proc {wanted}: more than this node can hold; using {most} slots"
    assert sizing.Sizing(most, warnings=(told,)) == found


def test_what_can_be_held_is_given() -> None:
    """Up to the limit nobody is told anything."""
    assert sizing.Sizing(6) == sizing.size(6, Wants(), Allocation())


def test_shares_are_as_many() -> None:
    """Where each task has CPUs of its own, there is a share for each process that can be held."""
    found = sizing.size(None, Wants(cpus=2), Allocation())
    assert (6, 6, 1) == (found.processes, len(found.shares), len(found.warnings))
