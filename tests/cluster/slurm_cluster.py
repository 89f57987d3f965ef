"""A real Slurm: one controller and several virtual nodes on this machine, in a private directory.

Every node has the same host name and the same disks; `SLURMD_NODENAME` tells the nodes apart. The daemons are children
of the test process and die with it. Several such clusters can run side by side: ports, node names and so the names of
their cgroups are their own.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from farm_driver import Farm, until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "setpriv")
CPUS_A_NODE, MEMORY_A_NODE = 4, 400
_SYSTEM_PLACES = "/usr/sbin:/sbin:/usr/local/sbin"
_CGROUPS = Path("/sys/fs/cgroup")


def program(name: str) -> str | None:
    """Return the path of a program, also where only daemons are."""
    return shutil.which(name, path=f"{os.environ['PATH']}:{_SYSTEM_PLACES}")


def cgroups_work() -> bool:
    """Whether Slurm could track processes by cgroups here: of the first kind, writable, and we are root."""
    return os.geteuid() == 0 and all(os.access(_CGROUPS / kind, os.W_OK) for kind in ("freezer", "memory"))


class Cluster:
    """Start it, use it through `SLURM_CONF`, stop it. `cgroups` tells how Slurm finds the processes of a job."""

    def __init__(self, nodes: int = 4, *, cgroups: bool) -> None:
        tag = secrets.token_hex(3)
        self.cgroups = cgroups
        self.nodes = [f"t{tag}n{number}" for number in range(1, nodes + 1)]
        self._place = Path(tempfile.mkdtemp(prefix="ptf-", dir="/tmp"))  # Unix sockets: at most 60 characters
        self.conf = self._place / "slurm.conf"
        self._environ = {**os.environ, "SLURM_CONF": str(self.conf)}
        self._daemons: list[subprocess.Popen[bytes]] = []

    # -- life

    def start(self) -> None:
        """Start all daemons and wait until every node is idle."""
        for name in ("log", "run", "spool", "state"):
            (self._place / name).mkdir()
        self._configure(_free_ports(len(self.nodes) + 1))
        key = self._place / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        run = self._place / "run"
        self._daemon(
            "munged", "--force", "--foreground", f"--key-file={key}", f"--socket={run}/munge.socket",
            f"--pid-file={run}/munged.pid", f"--log-file={self._place}/log/munged.log",
            f"--seed-file={run}/munge.seed",
        )  # fmt: skip
        self._wait((run / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        for node in self.nodes:
            self._daemon("slurmd", "-D", "-N", node)
        self._wait(self._idle)

    def stop(self) -> None:
        """Cancel what runs, stop all daemons, and remove every trace."""
        try:
            self.clear()
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                for daemon in reversed(self._daemons):  # the first one last: the others talk through it
                    daemon.send_signal(number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        daemon.wait(10 if number == signal.SIGTERM else None)
            for node in self.nodes:
                for root in _CGROUPS.glob(f"*/slurm_{node}"):
                    for directory, _, _ in os.walk(root, topdown=False):
                        os.rmdir(directory)
            shutil.rmtree(self._place)

    def clear(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.ask("scancel", f"--user={os.geteuid()}", "--state=PENDING")
            self.ask("scancel", f"--user={os.geteuid()}")
        self._wait(lambda: not self.ask("squeue", "--noheader"))

    def _idle(self) -> bool:
        return self.ask("sinfo", "--noheader", "--states=idle", "--format=%D").strip() == str(len(self.nodes))

    def _configure(self, ports: Sequence[int]) -> None:
        host, user, place = socket.gethostname().split(".")[0], _user(), self._place
        tracking = ("cgroup", "cgroup") if self.cgroups else ("pgid", "none")
        lines = {
            "ClusterName": "mini",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "CredType": "cred/munge",
            "AuthInfo": f"socket={place}/run/munge.socket,cred_expire=5",  # a requeued job waits that long
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmctldPort": ports[0],
            "SlurmctldPidFile": f"{place}/run/slurmctld.pid",
            "SlurmctldLogFile": f"{place}/log/slurmctld.log",
            "SlurmdPidFile": f"{place}/run/slurmd.%n.pid",
            "SlurmdLogFile": f"{place}/log/slurmd.%n.log",
            "SlurmdSpoolDir": f"{place}/spool/%n",
            "SlurmdParameters": "config_overrides",
            "StateSaveLocation": f"{place}/state",
            "ReturnToService": 2,
            "ProctrackType": f"proctrack/{tracking[0]}",
            "TaskPlugin": f"task/{tracking[1]}",
            "MpiDefault": "none",
            "MailProg": "/bin/true",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "DefMemPerCPU": MEMORY_A_NODE // CPUS_A_NODE,
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0",
            "JobAcctGatherType": "jobacct_gather/linux",
            "AccountingStorageType": "accounting_storage/none",
            "KillWait": 5,
            "MinJobAge": 300,
        }
        text = [f"{key}={value}" for key, value in lines.items()]
        text += [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS_A_NODE} "
            f"RealMemory={MEMORY_A_NODE} State=UNKNOWN"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        text.append("PartitionName=debug Nodes=ALL Default=YES DefaultTime=00:10:00 MaxTime=24:00:00 State=UP")
        self.conf.write_text("\n".join(text) + "\n")
        (self._place / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainRAMSpace=yes\n"
            "ConstrainCores=no\nConstrainSwapSpace=no\nConstrainDevices=no\n"
        )

    def _daemon(self, name: str, *options: str) -> None:
        path = program(name)
        assert path is not None
        with (self._place / "log" / f"{name}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", path, *options],
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _wait(self, condition: Callable[[], object], seconds: float = 30) -> None:
        def dead() -> list[str]:
            return [
                f"{daemon.args} ended by {daemon.returncode}" for daemon in self._daemons if daemon.poll() is not None
            ]

        def holds() -> object:
            assert not dead(), dead()
            try:
                return condition()
            except subprocess.CalledProcessError:
                return False

        if not until(holds, seconds, 0.02):
            queue = subprocess.run(["squeue", "--states=all"], env=self._environ, capture_output=True, check=False)
            log = (self._place / "log" / "slurmctld.log").read_text(errors="replace")[-1500:]
            raise AssertionError(f"the cluster did not come to that within {seconds} s: {queue}: {log}")

    # -- use

    def ask(self, *words: str, stdin: str = "") -> str:
        """Run one of Slurm's programs and return what it printed."""
        return subprocess.run(
            words, env=self._environ, input=stdin, capture_output=True, check=True, text=True, timeout=60
        ).stdout  # fmt: skip

    def submit(self, script: str, cwd: Path, *options: str) -> str:
        """Submit a script by hand, with the test's own environment, and return the job's id."""
        words = ["sbatch", "--parsable", f"--chdir={cwd}", f"--output={cwd}/%j.out", *options]
        return subprocess.run(
            words, input=f"#!/bin/bash\n{script}\n", check=True, text=True, capture_output=True
        ).stdout.strip()  # fmt: skip

    def job(self, job: str) -> dict[str, str]:
        """Return what `scontrol show job` tells."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "--oneliner", "show", "job", job)))

    def state(self, job: str) -> str:
        """Return the state of a job, in Slurm's words."""
        return self.job(job)["JobState"]

    def end(self, job: str, seconds: float = 40) -> tuple[str, int]:
        """Wait until a job has ended; return its state and its exit status."""
        over = {"CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
        facts: dict[str, str] = {}

        def ended() -> bool:
            nonlocal facts
            facts = self.job(job)
            return facts["JobState"] in over

        if not until(ended, seconds, 0.05):
            nodes = self.ask("scontrol", "--oneliner", "show", "node")
            raise AssertionError(f"job {job} has not ended after {seconds} s: {facts}: {nodes}")
        return facts["JobState"], int(facts["ExitCode"].partition(":")[0])


def submit(farm: Farm, *options: str) -> list[str]:
    """Submit the farm's list with `pytaskfarmer submit`, and return the jobs' ids. All nodes share the local disk."""
    words = [sys.executable, "-m", "pytaskfarmer", "submit", farm.list.name, "--allow-local", *options]
    ended = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout.split()


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now, below those that the kernel gives to others."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = 20_000 + secrets.randbelow(10_000)
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                found.append(port)
    return found
