"""Grid Engine's scripts, answers and facts, as values."""

import subprocess
from pathlib import Path

import pytest

from pytaskfarmer import allocation
from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cluster import contract, qstat
from pytaskfarmer.cluster.contract import BatchError, Plan, State
from pytaskfarmer.cluster.gridengine import engine
from pytaskfarmer.errors import UsageError

ARGV = ("/venv/bin/python", "-m", "pytaskfarmer", "run", "it's.txt")
JOB = {
    "JOB_ID": "12",
    "SGE_TASK_ID": "undefined",
    "NSLOTS": "4",
    "NHOSTS": "1",
    "HOSTNAME": "node7",
    "RESTARTED": "0",
}


def plan(**wishes: object) -> Plan:
    """Return the plan with other wishes."""
    return Plan(ARGV, "/data", "/data/{job}.out", **wishes)  # type: ignore[arg-type]


def directives(of: Plan) -> list[str]:
    """Return what stands behind `#$`."""
    return [line.removeprefix("#$ ") for line in engine.render(of).splitlines() if line.startswith("#$ ")]


# The script


def test_the_script() -> None:
    """A script asks for notice, knows its end, finds its way, and becomes the farmer; words are quoted."""
    wishes = Plan(ARGV, "/data/my run", "/data/my run/job-{job}.out", ("/l", "--"), "10 tasks.txt", seconds=5400)
    assert """#!/bin/sh
#$ -S /bin/sh
#$ -cwd
#$ -V
#$ -notify
#$ -r n
#$ -N _10_tasks.txt
#$ -j y
#$ -o ":/data/my run/job-$JOB_ID.out"
#$ -l h_rt=01:30:00

PYTASKFARMER_JOB_END=$(($(date +%s) + 5400))
export PYTASKFARMER_JOB_END
PATH=${SGE_O_PATH:-"$PATH"}
export PATH
cd '/data/my run' || exit
exec /l -- /venv/bin/python -m pytaskfarmer run 'it'"'"'s.txt'
""" == engine.render(wishes)


def test_the_script_is_one_for_sh(tmp_path: Path) -> None:
    """Any shell takes it, with and without what Grid Engine sets; the farmer learns its end."""
    say = ("/bin/sh", "-c", 'echo "$PATH" $((PYTASKFARMER_JOB_END - $(date +%s) > 50)) "$PWD"')
    script = engine.render(Plan(say, str(tmp_path), "/x", seconds=60))
    for more, path in (({}, "/usr/bin:/bin"), ({"SGE_O_PATH": "/my/bin:/usr/bin"}, "/my/bin:/usr/bin")):
        environ = {"PATH": "/usr/bin:/bin", **more}
        said = subprocess.run(["/bin/sh"], input=script, env=environ, capture_output=True, text=True, check=True).stdout
        assert f"{path} 1 {tmp_path}\n" == said


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"farmers": 3}, ["-t 1-3", '-o ":/data/$JOB_ID.$TASK_ID.out"']),
        ({"cpus": 4}, ["-pe smp 4"]),
        ({"cpus": 4, "options": (("pe", "shm"),)}, ["-pe shm 4"]),
        ({"options": (("pe", "mpi 16"), ("l", "gpu=1"), ("l", "m=2G"))}, ["-pe mpi 16", "-l gpu=1", "-l m=2G"]),
        ({"partition": "long.q@@fast"}, ["-q long.q@@fast"]),
        ({"constraint": "arch=lx-amd64|lx-arm64"}, ["-l arch=lx-amd64|lx-arm64"]),
        ({"account": "physics"}, ["-A physics"]),
        ({"requeue": True}, ["-r y"]),
        ({"after": ("7",), "follows": ("8.1", "8.2")}, ["-hold_jid 7,8"]),
        ({"options": (("h", None), ("p", "-100"))}, ["-h", "-p -100"]),
        ({"name": "ü"}, ["-N _"]),
    ],
)  # fmt: skip
def test_wishes_and_their_options(wishes: dict[str, object], expected: list[str]) -> None:
    """Each wish has its option, and options given as such stand as they are."""
    assert set(expected) <= set(directives(plan(**wishes)))


def test_a_value_of_several_lines_is_no_option() -> None:
    """Grid Engine would read `#$` wherever a line begins with it; the shell reads the value as it is."""
    value = 'a\n#$ -q other.q\n\'\n#$ -P "b"'
    script = engine.render(Plan(("printf", "%s", value), "/tmp", "/x"))
    assert [] == [line for line in script.splitlines()[9:] if line.startswith("#$")]
    assert value == subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, check=True).stdout


def test_a_farmer_of_one_slot_needs_no_parallel_environment() -> None:
    """One slot is what every job has, and a site need not have an environment at all."""
    assert not [line for line in directives(plan(cpus=1)) if line.startswith("-pe")]


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"nodes": 4}, "--nodes 4: Grid Engine has no such thing. --farmers 4 submits as many jobs"),
        ({"farmers_per_node": 2}, "2 farmers a node: Grid Engine starts one a job"),
        ({"qos": "fast"}, "--qos fast: Grid Engine has no such thing"),
        ({"partition": "a b#c"}, "'a b#c'"),
        ({"partition": ""}, "''"),
        ({"after": ("$(id)",)}, r"'$(id)'"),
        ({"options": (("N", 'a"b'),)}, "'a\"b'"),
        ({"options": (("l", "a=1\n#$ -P other"),)}, r"'a=1\n#$ -P other'"),
    ],
)
def test_what_has_no_counterpart_is_refused(wishes: dict[str, object], complaint: str) -> None:
    """One line says what Grid Engine cannot do, and what it can."""
    with pytest.raises(UsageError) as caught:
        engine.render(plan(**wishes))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("character", [*"\n,#'\"$\\"])
def test_an_output_that_grid_engine_cannot_name(character: str) -> None:
    """Characters that break a `#$` line, or mean something to `-o`, are refused, with the path."""
    with pytest.raises(UsageError, match="Grid Engine cannot write to a path with"):
        engine.render(Plan(ARGV, "/data", f"/data/a{character}b"))


# Facts


def test_outside_of_a_job_nothing_is_known() -> None:
    """JOB_ID alone, which others use too, makes no job of Grid Engine."""
    assert Allocation() == engine.allocation({}) == engine.allocation({"JOB_ID": "7", "NSLOTS": "4"})
    assert Allocation() == engine.allocation(JOB | {"JOB_ID": "x"})
    assert Allocation() == contract.surroundings({"JOB_ID": "7"})


def test_a_job() -> None:
    """An ordinary job is no array, although SGE_TASK_ID is set."""
    facts = contract.surroundings(JOB)
    assert Allocation(job="12", node="node7", nodes=1, cpus=4, engine="gridengine") == facts
    assert ("12", False, None) == (facts.identity, facts.in_step_of_several_nodes, contract.end_time(facts))
    assert 4 == allocation.cpus(facts, range(64))


def test_an_element_of_an_array() -> None:
    """It is called as `qdel` calls it, and knows its number."""
    facts = engine.allocation(JOB | {"SGE_TASK_ID": "3"})
    assert ("12.3", 3) == (facts.identity, facts.array_task)


def test_the_end() -> None:
    """Our script tells the end."""
    assert 1_700_000_000.0 == engine.end_time(engine.allocation(JOB | {"PYTASKFARMER_JOB_END": "1700000000"}))


def test_slots_on_several_hosts(tmp_path: Path) -> None:
    """Of a job on several hosts, only the slots on this one are CPUs for a farmer; else they are not known."""
    hosts = tmp_path / "pe_hostfile"
    hosts.write_text("node6 12 all.q@node6 UNDEFINED\nnode7 4 all.q@node7 UNDEFINED\n\n")
    several = JOB | {"NSLOTS": "16", "NHOSTS": "2", "PE_HOSTFILE": str(hosts)}
    changes = ({}, {"HOSTNAME": "node8"}, {"PE_HOSTFILE": "/nowhere"})
    assert [4, None, None] == [engine.allocation(several | change).cpus for change in changes]
    assert 2 == engine.allocation(several).nodes


# Answers

QSTAT = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running"><JB_job_number>2</JB_job_number><state>r</state><tasks>3</tasks></job_list>
    <job_list state="running"><JB_job_number>3</JB_job_number><state>dr</state><slots>1</slots></job_list>
    <job_list state="running"><JB_job_number>4</JB_job_number><state>t</state><slots>1</slots></job_list>
    <job_list state="running"><JB_job_number>5</JB_job_number><state>S</state><slots>1</slots></job_list>
  </queue_info>
  <job_info>
    <job_list state="pending"><JB_job_number>2</JB_job_number><state>qw</state><tasks>1,4-10:3</tasks></job_list>
    <job_list state="pending"><JB_job_number>7</JB_job_number><state>Rq</state></job_list>
    <job_list state="pending"><JB_job_number>8</JB_job_number><state>Eqw</state></job_list>
    <job_list state="pending"><JB_job_number>9</JB_job_number><state>hqw</state>
      <predecessor_jobs_req>7</predecessor_jobs_req><predecessor_jobs>7</predecessor_jobs></job_list>
    <job_list state="pending"><JB_job_number>10</JB_job_number><state>hqw</state></job_list>
  </job_info>
</job_info>
"""


def test_states() -> None:
    """What `qstat` lists, elements of arrays that it collapses included, and what it does not."""
    expected = {
        State.RUNNING: ["2", "2.3", "4", "5"],
        State.PENDING: ["2.1", "2.7", "7", "9"],
        State.HELD: ["8", "10"],
        State.CANCELLED: ["3"],
        State.ENDED: ["2.5", "6"],
    }
    found = qstat.parse(QSTAT, [job for jobs in expected.values() for job in jobs])
    assert expected == {state: [job for job in found if found[job] is state] for state in expected}


@pytest.mark.parametrize("text", ["", "error: commlib error: got select error", QSTAT[:300]])
def test_no_answer_is_no_state(text: str) -> None:
    """What is not the whole answer tells nothing; least of all that a job has ended."""
    assert {"2": State.UNKNOWN, "6": State.UNKNOWN} == qstat.parse(text, ["2", "6"])


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of PATH, with an `env` that reads scripts by `/bin/sh`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def answers(programs: Path, name: str, script: str) -> None:
    """Let a program of that name do what a script says."""
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


def test_what_qsub_says_besides_the_id(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The id is found among what a site prints, and what it prints on stderr is passed on."""
    answers(programs, "qsub", "echo 'Welcome, 7 nodes'; echo 15.1-2:1; echo 'be nice' >&2")
    assert ("15.1", "15.2") == engine.submit("", plan(farmers=2))
    assert "be nice\n" == capsys.readouterr().err


def test_a_qsub_without_an_id(programs: Path) -> None:
    """A job that cannot be named is an error that says how to find it."""
    answers(programs, "qsub", "echo fine")
    with pytest.raises(BatchError, match=r"^qsub printed 'fine', which is no job id; `qstat` shows your jobs\.$"):
        engine.submit("", plan())


def test_without_programs(programs: Path) -> None:
    """Where Grid Engine's programs are missing, states are unknown and wishes are errors."""
    assert {"1": State.UNKNOWN} == engine.states(["1"])
    with pytest.raises(BatchError, match=r"^qdel is not on PATH\. Where jobs can be submitted, .*`module load`\.$"):
        engine.cancel(["1"])


def test_nothing_asked_for_nothing(programs: Path) -> None:
    """No jobs, no question."""
    assert {} == engine.states([])
    engine.cancel([])


def test_a_job_inherits_nothing_of_the_job_around_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that submits hands on the user's environment, and where Grid Engine is, but no facts of its own."""
    inside = {"JOB_ID": "3", "SGE_TASK_ID": "2", "SGE_O_PATH": "/x", "NSLOTS": "9", "PYTASKFARMER_JOB_END": "5"}
    for name, value in (inside | {"SGE_ROOT": "/opt/sge", "SGE_QMASTER_PORT": "444", "MINE": "1"}).items():
        monkeypatch.setenv(name, value)
    answers(programs, "qsub", f"export -p > '{programs}/seen'; echo 1")
    assert ("1",) == engine.submit("", plan())
    seen = (programs / "seen").read_text()
    assert [] == [name for name in inside if f"export {name}=" in seen]
    assert all(f"export {name}=" in seen for name in ("SGE_ROOT", "SGE_QMASTER_PORT", "MINE"))


THE_USERS = ["REQUESTS_CA_BUNDLE", "ARCHFLAGS", "ENVIRONMENT_NAME", "QUEUE_DIR", "JOB_DIR", "PROC_NUMBERS"]
EITHER = ["QUEUE", "REQUEST", "ARC", "JOB_NAME"]


@pytest.mark.parametrize(("around", "kept"), [({}, EITHER), (JOB, [])])
def test_a_job_inherits_the_rest(
    programs: Path, monkeypatch: pytest.MonkeyPatch, around: dict[str, str], kept: list[str]
) -> None:
    """Names that merely begin as those of a job reach the new one; outside of a job, those very names do, too."""
    for name in (*around, *THE_USERS, *EITHER):
        monkeypatch.setenv(name, around.get(name, "mine"))
    answers(programs, "qsub", f"export -p > '{programs}/seen'; echo 1")
    engine.submit("", plan())
    seen = (programs / "seen").read_text()
    assert THE_USERS + kept == [name for name in THE_USERS + EITHER if f"export {name}=" in seen]


def test_cancelling_what_cannot_be_cancelled(programs: Path) -> None:
    """The last job goes first; those that are gone already are no error, a job of somebody else is."""
    gone = "echo 'denied: job \"7\" does not exist'"
    answers(programs, "qdel", f"echo $* > '{programs}/asked'; {gone}; exit 1")
    engine.cancel(["7", "8"])
    assert "8 7\n" == (programs / "asked").read_text()
    answers(programs, "qdel", f"{gone}; echo 'eve - you do not have the right'; exit 1")
    with pytest.raises(BatchError, match=r"^qdel: eve - you do not have the right$"):
        engine.cancel(["7"])
