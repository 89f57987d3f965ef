"""The chain GEN -> SIM -> DIGI -> RECO: the demo with its stand-ins, every script under signals, and a real Slurm."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "nersc"
COMMAND = "bash examples/nersc/demo.sh"
WORKDIRS = {
    "work/gen001": 2,
    "work/gen002": 2,
    "work/gen003": 2,
    "work/gen004": 2,
    "work/sim": 24,
    "work/digi": 24,
    "work/reco": 24,
}

pytestmark = pytest.mark.xdist_group("nersc")  # its demo and its Slurm run once


@dataclass
class Chain:
    """A copy of the chain's directory, and the environment in which its scripts are typed."""

    directory: Path
    environment: dict[str, str]

    @contextmanager
    def start(self, *command: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a command there; what still runs in the end is asked to stop."""
        with subprocess.Popen(
            command, cwd=self.directory, env=self.environment | environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.terminate()

    def type(self, *command: str, **environment: str) -> str:
        """Run a command there, which has to succeed, and return what it prints."""
        with self.start(*command, **environment) as process:
            said, _ = process.communicate(timeout=50)
        assert 0 == process.returncode, said
        return said

    def status(self, workdir: str) -> dict[str, Any]:
        """Return what `pytaskfarmer status` tells."""
        told: dict[str, Any] = json.loads(self.type("pytaskfarmer", "status", "--json", workdir))
        return told

    def counts(self, workdir: str) -> tuple[int, int, int]:
        """Return how many tasks have finished, have failed, and wait."""
        books = (self.directory / workdir / book for book in ("finished", "failed", "toprocess"))
        finished, failed, waiting = (len(book.read_text().splitlines()) if book.exists() else 0 for book in books)
        return finished, failed, waiting

    @contextmanager
    def held(self, steering: str) -> Iterator[None]:
        """Let tasks that read a steering file wait. Afterwards it is as before."""
        path = self.directory / "steer" / steering
        text = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        pipe = os.open(path, os.O_RDWR)
        try:
            yield
        finally:
            path.unlink()
            path.write_bytes(text)
            os.close(pipe)

    def running(self, workdir: str) -> int:
        """Return how many tasks run."""
        return int(self.status(workdir)["running"]) if (self.directory / workdir / "tasklist.json").exists() else 0


def surroundings(directory: Path, stand_ins: tuple[str, ...]) -> dict[str, str]:
    """Return an environment with these stand-ins, and with a home directory that has the INI files."""
    home = directory / "home" / ".pytaskfarmer"
    shutil.copytree(EXAMPLE / "pytaskfarmer.d", home)
    (directory / "tmp").mkdir()
    programs = [*(str(EXAMPLE / "stand-ins" / kind) for kind in stand_ins), sysconfig.get_path("scripts")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
        "HOME": str(home.parent),
        "TMPDIR": str(directory / "tmp"),
        "STAND_IN_JOBS": str(directory / "jobs"),
        "NODES": "2",
        "PROC": "2",
        "FARM_OPTIONS": "--allow-local",
    }


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain of 4 files of 20 events, with stand-ins for everything."""
    return make_chain(tmp_path, ("slurm", "software"))


def make_chain(directory: Path, stand_ins: tuple[str, ...]) -> Chain:
    shutil.copytree(EXAMPLE / "chain", directory / "chain")
    chain = Chain(directory / "chain", surroundings(directory, stand_ins))
    chain.type("./make_lists.sh", "4", "20", PER_JOB="2")
    return chain


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints in a directory that has a copy of the example, and the directory that it made."""
    here = tmp_path_factory.mktemp("nersc")
    shutil.copytree(EXAMPLE, here / "examples" / "nersc")
    (here / "tmp").mkdir()
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TMPDIR": str(here / "tmp")}
    ended = subprocess.run(
        COMMAND.split(), cwd=here, env=env, capture_output=True, text=True, timeout=55, check=False, umask=0o002
    )
    assert (0, "") == (ended.returncode, ended.stderr), ended.stdout
    (made,) = (here / "tmp").iterdir()
    return ended.stdout, made


# -- the demo


def test_the_readme_names_the_command() -> None:
    """What is run here is what the README says."""
    assert f"\n    {COMMAND}\n" in (EXAMPLE / "README.md").read_text()


def test_the_answer(done: tuple[str, Path]) -> None:
    """All events that were generated came out at the end, each once, with the right energy."""
    said, _ = done
    energies = [((seed * 1009 + n * 101) % 500 + 1) * 3 + 7 for seed in range(1, 9) for n in range(30)]
    assert f"$ cat log/check.out\n240 events, energy {2 * sum(energies)}: as expected\n" in said


def test_every_step_is_done(done: tuple[str, Path]) -> None:
    """Each work directory has all its tasks in `finished`, and the status says so."""
    said, made = done
    found = {workdir: Chain(made, {}).counts(workdir) for workdir in WORKDIRS}
    assert {workdir: (tasks, 0, 0) for workdir, tasks in WORKDIRS.items()} == found
    for workdir, tasks in WORKDIRS.items():
        assert f"{workdir}: {tasks} tasks\n  {tasks} finished, 0 failed, 0 running, 0 held, 0 waiting\n" in said


def test_two_nodes_share_the_list(done: tuple[str, Path]) -> None:
    """SIM had a farmer on each node."""
    said, _ = done
    assert 2 == len(re.findall(r"^pytaskfarmer: 24 of 24 finished, 0 failed;", said, re.MULTILINE))


def test_all_tasks_ran_in_their_containers(done: tuple[str, Path]) -> None:
    """Lines of GEN name shifter; SIM and DIGI ran by its runner, RECO by that of podman-hpc."""
    _, made = done
    scripts = {path.name: path.read_text() for path in (made / "jobs").glob("*.sh")}
    assert ["1.sh", "2.sh", "3.sh", "4.sh", "5.sh"] == sorted(scripts)
    assert all(line.startswith("shifter --image=") for line in (made / "lists/gen.txt").read_text().splitlines())
    assert "--runner mucoll --tasklist sim" in scripts["2.sh"]
    assert "--tasklist digi --runner mucoll " in scripts["3.sh"]
    assert "--tasklist reco --runner mucoll-podman " in scripts["4.sh"]


def test_every_script_is_one(done: tuple[str, Path]) -> None:
    """Bash can read all of them, also those that `submit` makes."""
    _, made = done
    scripts = [
        *EXAMPLE.rglob("*.sh"), *EXAMPLE.rglob("*.sbatch"), *(made / "jobs").glob("*.sh"),
        *(path for path in (EXAMPLE / "stand-ins").rglob("*") if path.is_file() and b"bash" in path.read_bytes()[:20]),
    ]  # fmt: skip
    assert 19 == len(scripts)
    for script in scripts:
        checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
        assert (0, "") == (checked.returncode, checked.stderr), script


def test_an_element_of_the_array_fills_a_node(tmp_path: Path) -> None:
    """Of the 800 files that the README generates, each job of GEN has as many as slots; lists of before are gone."""
    shutil.copytree(EXAMPLE / "chain", tmp_path / "chain")
    chain = Chain(tmp_path / "chain", dict(os.environ))
    chain.type("./make_lists.sh", "30", "10", PER_JOB="2")
    (line,) = re.findall(r"^    (\./make_lists\.sh .*?) +#", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    chain.type(*line.split())
    lists = {path.name: len(path.read_text().splitlines()) for path in (chain.directory / "lists").glob("gen[0-9]*")}
    assert {**{f"gen00{number}": 128 for number in range(1, 7)}, "gen007": 32} == lists


@pytest.mark.parametrize("change", ["lost", "twice", "other"])
def test_the_check_finds_what_is_wrong(done: tuple[str, Path], tmp_path: Path, change: str) -> None:
    """One event that is missing, is there twice, or has another energy is noticed."""
    shutil.copytree(done[1] / "out", tmp_path / "out")
    shutil.copytree(done[1] / "lists", tmp_path / "lists")
    piece = tmp_path / "out/reco/zh_3.1.edm4hep.root"
    first, *rest = piece.read_text().splitlines(keepends=True)
    changed = {"lost": rest, "twice": [first, first, *rest], "other": [first.replace("\n", "0\n"), *rest]}
    piece.write_text("".join(changed[change]))
    check = [sys.executable, str(EXAMPLE / "chain/check.py")]
    checked = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (1, "WRONG") == (checked.returncode, checked.stdout.split()[-1])


def test_nothing_is_written_beside_the_demo(done: tuple[str, Path]) -> None:
    """All files are in the directory that the last line names."""
    said, made = done
    assert f"All this is in {made}: look around, then remove it." == said.splitlines()[-1]
    copy = made.parents[1] / "examples" / "nersc"
    assert {p.relative_to(EXAMPLE) for p in EXAMPLE.rglob("*")} == {p.relative_to(copy) for p in copy.rglob("*")}


def test_a_demo_that_fails_names_its_directory(tmp_path: Path) -> None:
    """What is left of a demo that ends early can be found, and removed."""
    stand_in = tmp_path / "pytaskfarmer.py"
    stand_in.touch(mode=0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run(COMMAND.split(), cwd=ROOT, env=env, capture_output=True, text=True, timeout=50, check=False)
    (made,) = tmp_path.glob("nersc.*")
    assert (127, f"demo.sh: this has failed; see {made}\n") == (done.returncode, done.stderr)


# -- scripts of our own under signals, with stand-ins


JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "2"}


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_sim_is_stopped_and_resumed(chain: Chain, wait_until: Callable[..., None], number: signal.Signals) -> None:
    """The script passes a signal on, waits until all farmers have put back what ran, and does what is left to do."""
    chain.type("pytaskfarmer.py", "--workdir", "work/gen", "lists/gen.txt")
    with chain.held("geometry.xml"), chain.start("bash", "sim.sbatch", **JOB) as script:
        wait_until(lambda: chain.running("work/sim") == 4, hopeless=lambda: script.poll() is not None)
        script.send_signal(number)
        said, _ = script.communicate(timeout=40)
    assert 3 == script.returncode, said
    assert said.endswith("\tout/sim\n")
    assert (0, 0, 8) == chain.counts("work/sim")
    assert [] == chain.status("work/sim")["farmers"]
    chain.type("bash", "sim.sbatch", **JOB)
    assert (8, 0, 0) == chain.counts("work/sim")


def test_gen_is_stopped_and_resumed(chain: Chain, wait_until: Callable[..., None]) -> None:
    """TERM to the script is TERM to the farmer; its tasks clean up, and go back."""
    element = {**JOB, "SLURM_JOB_NUM_NODES": "1", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    with chain.held("process.sin"), chain.start("bash", "gen.sbatch", **element) as script:
        wait_until(lambda: chain.running("work/gen002") == 2, hopeless=lambda: script.poll() is not None)
        script.terminate()
        said, _ = script.communicate(timeout=40)
    assert 3 == script.returncode, said
    assert (0, 0, 2) == chain.counts("work/gen002")
    assert [] == list(Path(chain.environment["TMPDIR"]).iterdir())
    chain.type("bash", "gen.sbatch", **element)
    assert (2, 0, 0) == chain.counts("work/gen002")
    assert ["zh_3.hepmc", "zh_4.hepmc"] == sorted(os.listdir(chain.directory / "out/gen"))


def test_a_step_that_fails_ends_the_chain(chain: Chain) -> None:
    """The jobs after it do not run; mended and submitted again, the chain goes on with what is left."""
    broken = chain.directory / "steer/digi.py"
    text = broken.read_text()
    broken.unlink()
    chain.type("./submit.sh")
    status = {job: (chain.directory.parent / f"jobs/{job}.status").read_text() for job in range(1, 6)}
    assert {1: "0", 2: "0", 3: "1", 4: "cancelled", 5: "cancelled"} == status
    assert (0, 8, 0) == chain.counts("work/digi")
    broken.write_text(text)
    chain.type("pytaskfarmer", "retry", "work/digi")
    chain.type("./submit.sh")
    assert "as expected" in (chain.directory / "log/check.out").read_text()
    bars = json.loads((chain.directory / "work/sim/timeline.json").read_text())
    assert 8 == sum(bar["ph"] == "X" for bar in bars)


def test_submitted_again_a_done_chain_is_only_checked(done: tuple[str, Path], tmp_path: Path) -> None:
    """Nothing runs twice, and the check comes after the steps that are submitted."""
    shutil.copytree(done[1], tmp_path / "chain", ignore=shutil.ignore_patterns("home", "check.out"))
    again = Chain(tmp_path / "chain", surroundings(tmp_path, ("slurm", "software")))
    again.environment["STAND_IN_JOBS"] = str(again.directory / "jobs")
    assert "gen 6, sim 7, digi 7, reco 7, check 8" == again.type("./submit.sh").splitlines()[-1]
    assert "as expected" in (again.directory / "log/check.out").read_text()
    bars = [json.loads((again.directory / f"work/{step}/timeline.json").read_text()) for step in ("sim", "digi")]
    assert [24, 24] == [sum(bar["ph"] == "X" for bar in of_step) for of_step in bars]


# -- on a real Slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[Any]:
    """Return a Slurm of four nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tests/cluster")
        import slurm_cluster

        for name in slurm_cluster.PROGRAMS:
            if slurm_cluster.program(name) is None:
                (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed (slurm-wlm, munge)")
        cluster = slurm_cluster.Cluster(cgroups=slurm_cluster.cgroups_work())
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def submitted(chain: Chain) -> list[str]:
    """Submit the chain without a site's options, and return the ids of its jobs."""
    return re.findall(r"(?:gen|sim|digi|reco|check) (\d+)", chain.type("./submit.sh", SITE="").splitlines()[-1])


def test_the_chain_on_a_real_slurm(slurm: Any, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """Told that its time is up, SIM stops with work left and the rest is cancelled; submitted again, all is done."""
    chain = make_chain(tmp_path, ("software",))
    chain.environment["SLURM_CONF"] = str(slurm.conf)
    with chain.held("geometry.xml"):
        _, sim, *others = submitted(chain)
        wait_until(lambda: chain.running("work/sim") == 4, seconds=30)
        slurm.ask("scancel", "--signal=USR1", "--batch", sim)
        assert ("FAILED", 3) == slurm.end(sim), (chain.directory / f"log/sim_{sim}.out").read_text()
    assert ["CANCELLED"] * 3 == [slurm.end(job)[0] for job in others]
    assert (0, 0, 8) == chain.counts("work/sim")
    jobs = submitted(chain)
    assert [("COMPLETED", 0)] * 5 == [slurm.end(job) for job in jobs]
    assert "as expected" in (chain.directory / "log/check.out").read_text()
    assert [(8, 0, 0)] * 3 == [chain.counts(f"work/{step}") for step in ("sim", "digi", "reco")]
