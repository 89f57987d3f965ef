"""What the tests of batch systems share: a Slurm for each test process, and a farm."""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from farm_driver import Farm
from slurm_cluster import Cluster


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Return a farm whose own farmers are killed at the end of the test, if they still run."""
    farm = Farm(tmp_path)
    yield farm
    farm.end()


def _running(*, cgroups: bool) -> Iterator[Cluster]:
    for name in slurm_cluster.PROGRAMS:
        if slurm_cluster.program(name) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed (slurm-wlm, munge)")
    cluster = Cluster(cgroups=cgroups)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    yield from _running(cgroups=slurm_cluster.cgroups_work())


@pytest.fixture(scope="session")
def _cluster_without_cgroups() -> Iterator[Cluster]:
    yield from _running(cgroups=False)


def _used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=":")
    yield cluster
    cluster.clear()


@pytest.fixture
def slurm(_cluster: Cluster, no_allocation: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a Slurm of four nodes, which tracks processes by cgroups where it can; it has no jobs left afterwards."""
    yield from _used(_cluster, monkeypatch)


@pytest.fixture
def slurm_by_groups(
    _cluster_without_cgroups: Cluster, no_allocation: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """Return a Slurm that signals process groups: it knows a task's processes only if they are in one with its own."""
    yield from _used(_cluster_without_cgroups, monkeypatch)


@pytest.fixture(params=[True, False], ids=["cgroups", "groups"])
def slurm_to_break(
    request: pytest.FixtureRequest, no_allocation: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """Return a Slurm for one test alone: its books are wrong for ever once a job has gone on without a lost node."""
    for cluster in _running(cgroups=request.param and slurm_cluster.cgroups_work()):
        yield from _used(cluster, monkeypatch)
