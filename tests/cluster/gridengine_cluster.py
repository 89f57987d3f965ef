"""A Grid Engine of one host, made by hand in a directory of its own, and jobs of a user without privileges in it.

The daemons run as root, as everywhere, and jobs as `nobody`: those of root would not be killed by group id. What they
need (interpreter, packages, sources) may lie below a directory that is closed to others, such as root's home; then the
executing daemon gets a mount namespace in which just these are to be seen. Where the tests are not run by root, all is
done as their own user.
"""

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LIBRARY = Path("/usr/lib/gridengine")
PROGRAMS = tuple(str(_LIBRARY / name) for name in ("sge_qmaster", "sge_execd", "qsub"))
"""What must be installed, by three packages."""

_SHARE = Path("/usr/share/gridengine")
_REPOSITORY = Path(__file__).resolve().parents[2]
_SLOTS = 4
_NOTIFY = 6
_LIMITS = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")


@dataclass(frozen=True)
class Cell:
    """A running Grid Engine, in which jobs are those of `user`."""

    place: Path
    user: str
    ports: tuple[int, int]

    @property
    def clients(self) -> Path:
        """What belongs on PATH: its programs, which speak as the user whoever calls them."""
        return self.place / "clients"

    def as_user(self, directory: Path, *words: str) -> list[str]:
        """Return the words that run a command in a directory as the user, who sees here what his jobs see."""
        words = ("env", f"--chdir={directory}", *words)
        if os.geteuid():
            return list(words)
        (pid,) = self.place.glob("spool/execd/*/execd.pid")
        return ["nsenter", f"--mount=/proc/{pid.read_text().strip()}/ns/mnt", *self._becoming_user(), *words]

    def _becoming_user(self) -> list[str]:
        user = pwd.getpwnam(self.user)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    @property
    def _environment(self) -> dict[str, str]:
        master, execution = map(str, self.ports)
        cell = {"SGE_ROOT": f"{self.place}/root", "SGE_CELL": "default", "SGE_QMASTER_PORT": master}
        return {"PATH": "/usr/bin:/bin", "SGE_EXECD_PORT": execution, **cell}

    # -- the daemons

    def start(self) -> None:
        """Make the cell and start its daemons."""
        host = socket.gethostname()
        self._lay_out(host)
        self.start_master()
        for what in ("-as", "-ah"):
            self._run("qconf", what, host)
        at_once = "schedule_interval 0:0:1, flush_submit_sec 1, flush_finish_sec 1"
        self._configure("-Msconf", _changed(self._run("qconf", "-ssconf"), at_once))
        self._configure("-Ap", _environment_of_one_host())
        self._configure("-Aq", _queue(host, self.place / "tmp"))
        self._start_execution()
        self._wait(lambda: "lx-" in self._run("qhost", "-h", host), "sge_execd does not report")

    def start_master(self) -> None:
        """Start the qmaster, and return when it answers."""
        self._run("sge_qmaster")
        self._wait(lambda: self._ask("qconf", "-sh").returncode == 0, "sge_qmaster does not answer")

    def restart(self) -> None:
        """Start the qmaster again, and the executing daemon: that would notice by itself, but only in half a minute."""
        self.start_master()
        self.restart_execution()

    def restart_execution(self) -> None:
        """Start the executing daemon anew. Of a job that runs meanwhile it would never see the end."""
        for pid in self.place.glob("spool/execd/*/execd.pid"):
            self._end(pid)
        self._start_execution()

    def kill_master(self) -> None:
        """End the qmaster as a crash does."""
        self._end(self.place / "spool/qmaster/qmaster.pid")

    def stop(self) -> None:
        """End all jobs and both daemons."""
        with contextlib.suppress(AssertionError):
            self.end_jobs()
        for pid in self.place.glob("spool/execd/*/execd.pid"):
            self._end(pid)
        self.kill_master()

    def end_jobs(self) -> None:
        """End every job, and return when none is left."""
        if jobs := self.jobs():
            self._ask("qdel", *jobs)
            self._wait(lambda: not self.jobs(), "jobs do not end", seconds=_NOTIFY + 10)

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that have not ended."""
        lines = self._run("qstat", "-u", "*").splitlines()[2:]
        return sorted({line.split()[0] for line in lines})

    def _start_execution(self) -> None:
        words = [str(_LIBRARY / "sge_execd")]
        if mounts := list(_openings(self.place / "open")) if os.geteuid() == 0 else []:
            script = "\n".join(["set -e", *(shlex.join(each) for each in mounts), f"exec {words[0]}"])
            words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        subprocess.run(words, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def _end(self, file: Path) -> None:
        try:
            pid = int(file.read_text())
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return
        self._wait(lambda: _is_dead(pid), f"process {pid} does not die")

    # -- the files

    def _lay_out(self, host: str) -> None:
        root, common, spool = self.place / "root", self.place / "root/default/common", self.place / "spool"
        for directory in (common, spool / "qmaster/job_scripts", spool / "execd", self.clients, self.place / "tmp"):
            directory.mkdir(parents=True)
        (self.place / "tmp").chmod(0o1777)
        for name in ("bin", "lib", "utilbin"):
            (root / name).mkdir()
            (root / name / "lx-amd64").symlink_to(_LIBRARY)
        (root / "util").symlink_to(_SHARE / "util")
        (common / "act_qmaster").write_text(f"{host}\n")
        (common / "host_aliases").write_text(f"{host} localhost\n")
        me = pwd.getpwuid(os.geteuid()).pw_name
        spooling = f"{common};{spool}/qmaster"
        (common / "bootstrap").write_text(_bootstrap(self.place, me, spooling))
        configuration = _changed(
            (_SHARE / "default-configuration").read_text(),
            f"execd_spool_dir {spool}/execd, mailer /bin/true, min_uid 0, min_gid 0, load_report_time 00:00:01",
            # Jobs are killed by these group ids: another cell on this host must not have the same ones.
            f"gid_range {self.ports[0]}000-{self.ports[0]}099",
        )
        defaults = self.place / "configuration"
        defaults.write_text(configuration)
        resources = _SHARE / "util/resources"
        self._run("spoolinit", "classic", "libspoolc", spooling, "init")
        for words in (("configuration", defaults), ("complexes", resources / "centry"), ("managers", me)):
            self._run("spooldefaults.bin", *map(str, words))
        self._run("spooldefaults.bin", "usersets", str(resources / "usersets"))
        for name in ("qsub", "qstat", "qdel", "qconf", "qalter"):
            self._write_client(name)

    def _write_client(self, name: str) -> None:
        cell = {key: value for key, value in self._environment.items() if key != "PATH"}
        words = ["env", *(f"{key}={value}" for key, value in cell.items()), str(_LIBRARY / name)]
        as_root = f'test "$(id -u)" != 0 || exec {shlex.join([*self._becoming_user(), *words])} "$@"\n'
        (self.clients / name).write_text(f'#!/bin/sh\n{as_root}exec {shlex.join(words)} "$@"\n')
        (self.clients / name).chmod(0o755)

    # -- its programs, as its administrator

    def _ask(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        environment = {**self._environment, "LD_LIBRARY_PATH": str(_LIBRARY)}
        command = [str(_LIBRARY / program), *words]
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
        )

    def _run(self, program: str, *words: str) -> str:
        answer = self._ask(program, *words)
        assert answer.returncode == 0, (program, *words, answer.stdout, answer.stderr)
        return answer.stdout

    def _configure(self, option: str, text: str) -> None:
        file = self.place / "change"
        file.write_text(text)
        self._run("qconf", option, str(file))

    def _wait(self, condition: Callable[[], object], complaint: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, complaint
            time.sleep(0.02)


@contextlib.contextmanager
def running() -> Iterator[Cell]:
    """Run a cell; at the end nothing of it is left."""
    place = Path(tempfile.mkdtemp(prefix="gridengine-"))
    place.chmod(0o755)
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    cell = Cell(place, user, _free_ports())
    try:
        cell.start()
        yield cell
    finally:
        cell.stop()
        shutil.rmtree(place)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _openings(views: Path) -> Iterator[list[str]]:
    """Yield the commands after which everybody can reach what jobs need, in a mount namespace of their own."""
    closed: dict[Path, list[Path]] = {}
    for needed in {Path(sys.base_prefix), Path(sys.prefix), _REPOSITORY}:
        walls = [each for each in reversed((needed, *needed.parents)) if not each.stat().st_mode & 0o001]
        if walls:
            closed.setdefault(walls[0], []).append(needed)
    for number, (wall, behind) in enumerate(closed.items()):
        view = views / str(number)
        for needed in behind:
            opening = view / needed.relative_to(wall)
            opening.mkdir(parents=True, exist_ok=True)
            yield ["mount", "--bind", str(needed), str(opening)]
        yield ["mount", "--rbind", str(view), str(wall)]


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _lines(*pairs: str) -> str:
    """Return a configuration, one `key value` a line, from pairs with a comma between them."""
    return "".join(f"{pair.strip()}\n" for line in pairs for pair in line.split(","))


def _changed(text: str, *pairs: str) -> str:
    """Return a configuration with some lines replaced."""
    new = _lines(*pairs)
    keys = {line.split()[0] for line in new.splitlines()}
    return "\n".join([*(line for line in text.splitlines() if not keys.intersection(line.split()[:1])), new])


def _bootstrap(place: Path, administrator: str, spooling: str) -> str:
    return _lines(
        f"admin_user {administrator}, default_domain none, ignore_fqdn true, security_mode none",
        f"spooling_method classic, spooling_lib libspoolc, spooling_params {spooling}",
        f"binary_path {place}/root/bin, qmaster_spool_dir {place}/spool/qmaster",
        "listener_threads 2, worker_threads 2, scheduler_threads 1",
    )


def _environment_of_one_host() -> str:
    return _lines(
        "pe_name smp, slots 999, user_lists NONE, xuser_lists NONE, start_proc_args NONE, stop_proc_args NONE",
        "allocation_rule $pe_slots, control_slaves FALSE, job_is_first_task TRUE, urgency_slots min",
        "accounting_summary FALSE, qsort_args NONE",
    )


def _queue(host: str, scratch: Path) -> str:
    return _lines(
        f"qname all.q, hostlist {host}, seq_no 0, qtype BATCH, pe_list smp, slots {_SLOTS}, tmpdir {scratch}",
        f"shell /bin/bash, shell_start_mode posix_compliant, notify 00:00:{_NOTIFY:02}, initial_state default",
        "rerun FALSE, priority 0, processors UNDEFINED, min_cpu_interval 00:05:00, nsuspend 1",
        "suspend_interval 00:05:00, load_thresholds NONE, suspend_thresholds NONE, ckpt_list NONE, prolog NONE",
        "epilog NONE, starter_method NONE, owner_list NONE, suspend_method NONE, resume_method NONE",
        "terminate_method NONE, user_lists NONE, xuser_lists NONE, subordinate_list NONE, complex_values NONE",
        "projects NONE, xprojects NONE, calendar NONE",
        *(f"s_{limit} INFINITY, h_{limit} INFINITY" for limit in _LIMITS),
    )
