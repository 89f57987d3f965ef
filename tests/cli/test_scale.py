"""`pytaskfarmer scale`: real runs of short lists, at several numbers of workers."""

import csv
import os
import re
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from desk import COMMAND, Desk, Ended

from pytaskfarmer.cli import handing_on, run, scale

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def drawn_here(desk: Desk) -> None:
    """Draw with a matplotlib that cannot be imported, so that only one test waits for it."""
    package = desk.home / "without/matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError")
    desk.environment["PYTHONPATH"] = str(package.parent)


def scaled(desk: Desk, *words: str, status: int = 0) -> Ended:
    """Run `pytaskfarmer scale ...`, which must end so."""
    ended = desk.run(COMMAND, "scale", *words)
    assert status == ended.status, ended
    return ended


def rows(desk: Desk, name: str = "results/scaling.csv") -> list[dict[str, str]]:
    with open(desk / name, newline="") as file:
        return list(csv.DictReader(file))


def test_a_study(desk: Desk) -> None:
    """The list runs whole in turns of all numbers; each run is a row, a line, and part of the table."""
    desk.write("tasks.txt", "echo $PYTASKFARMER_WORKDIR >> began", "sleep 0.1", "true")
    ended = scaled(desk, "tasks.txt", "--procs", "2,1", "--repeat", "2")
    assert [("2", "1"), ("1", "1"), ("2", "2"), ("1", "2")] == [(row["workers"], row["repeat"]) for row in rows(desk)]
    assert 4 == len(set(desk.lines("began")))
    assert not any(os.path.exists(path) for path in desk.lines("began"))
    assert {"tasks.txt", "began", "results"} == set(os.listdir(desk.place))
    assert 4 == len(re.findall(r"^run \d of 4: \d workers?: \S+ m?s$", ended.out, re.MULTILINE))
    assert ["1", "2"] == re.findall(r"^ +(\d)     2 .* to .*%.*%", ended.out, re.MULTILINE)
    assert "Amdahl's law: " in ended.out
    assert "pytaskfarmer: see results/scaling.csv\n" in ended.out
    for row in rows(desk):
        assert 0.1 <= float(row["task_seconds"]) < float(row["seconds"]) * int(row["workers"])
        assert ("tasks.txt", "3", "") == (row["list"], row["tasks"], row["options"])
    assert 1 == len({row["study"] for row in rows(desk)})


def test_pictures(desk: Desk) -> None:
    """With matplotlib, speed-up and efficiency are drawn as PNG and SVG, and no bars are printed."""
    if not os.environ.get("CI"):
        pytest.importorskip("matplotlib")
    del desk.environment["PYTHONPATH"]
    desk.write("tasks.txt", "true")
    ended = scaled(desk, "tasks.txt", "--procs", "1", "--repeat", "1", "-o", "here/there")
    assert {"scaling.csv", "scaling.png", "scaling.svg"} == set(os.listdir(desk / "here/there"))
    assert "full efficiency (|)" not in ended.out
    assert "pytaskfarmer: see here/there/scaling.csv, here/there/scaling.png, here/there/scaling.svg\n" in ended.out


def test_no_pictures(desk: Desk) -> None:
    """Without matplotlib, bars are printed, and what to install."""
    desk.write("tasks.txt", "true")
    ended = scaled(desk, "tasks.txt", "--procs", "1", "--repeat", "1")
    assert re.search(r"^      1  █{40}  1.00$", ended.out, re.MULTILINE)
    assert "pip install 'pytaskfarmer[plot]'" in ended.err
    assert ["scaling.csv"] == os.listdir(desk / "results")


def test_studies_are_told_apart(desk: Desk) -> None:
    """The table grows below one head; another list of the same name, and other options, show in its columns."""
    desk.write("tasks.txt", "true")
    scaled(desk, "tasks.txt", "--procs", "1", "--repeat", "1")
    desk.write("tasks.txt", "true", "true")
    scaled(desk, "--logs", "none", "tasks.txt", "--procs=1", "--repeat", "1", "-R", "umask=027")
    first, second = rows(desk)
    assert 3 == len(desk.lines("results/scaling.csv"))
    assert first["digest"] != second["digest"]
    assert ("", "--logs none -R umask=027") == (first["options"], second["options"])


def test_options_of_a_run(desk: Desk) -> None:
    """Runner, handler and their options are those of the farmers; the usual number of repeats is 3."""
    desk.write("names.txt", "a", "b")
    handler = ("-t", "template", "-T", "command=echo {line} $KIND $PYTASKFARMER_SLOT >> out")
    scaled(desk, "names.txt", *handler, "-r", "shell", "-R", "env=KIND=blue", "--procs", "1")
    assert sorted(["a blue 0", "b blue 0"] * 3) == sorted(desk.lines("out"))
    assert ["2"] * 3 == [row["tasks"] for row in rows(desk)]


def test_default_numbers(desk: Desk) -> None:
    """Without --procs, powers of two are tried, up to the CPUs of this process."""
    desk.write("tasks.txt", "true")
    cpu = str(min(os.sched_getaffinity(0)))
    ended = desk.run("taskset", "-c", cpu, COMMAND, "scale", "tasks.txt", "--repeat", "1")
    assert "tasks.txt: 1 task on" in ended.out
    assert ", 1 CPU; 1 run\n" in ended.out
    assert [("1", "1")] == [(row["workers"], row["cores"]) for row in rows(desk)]


def test_past_the_cores(desk: Desk) -> None:
    """More workers than CPUs, and than tasks, are told before they run, and take no part in the fit."""
    desk.write("tasks.txt", "true", "true")
    cpu = str(min(os.sched_getaffinity(0)))
    ended = desk.run("taskset", "-c", cpu, COMMAND, "scale", "tasks.txt", "--procs", "1,2,4", "--repeat", "1")
    assert "pytaskfarmer: 2 and 4 workers are more than the 1 CPU here; " in ended.err
    assert "pytaskfarmer: 4 workers are more than the 2 tasks of the list; " in ended.err
    assert "not determined: it takes runs with two different numbers of workers" in ended.out
    assert 3 == len(rows(desk))


def test_a_list_from_a_pipe(desk: Desk) -> None:
    """It is read once, and run as often as wanted."""
    ended = desk.run(COMMAND, "scale", "-", "--procs", "1,2", "--repeat", "1", stdin="echo >> ran\necho >> ran\n")
    assert 0 == ended.status
    assert 4 == len(desk.lines("ran"))
    assert ["-", "-"] == [row["list"] for row in rows(desk)]
    assert {"ran", "results"} == set(os.listdir(desk.place))


def test_what_comes_before_a_run(desk: Desk) -> None:
    """A run to warm up is not counted; a command before each run makes them equal, and has no part in the time."""
    desk.write("tasks.txt", "test ! -e out && touch out && echo >> ran")
    words = (
        "--procs",
        "1",
        "--repeat",
        "1",
        "--warm-up",
        "--prepare",
        "rm -f out; echo prepared; sleep 1; touch prepared",
    )
    ended = scaled(desk, "tasks.txt", *words)
    assert 2 == len(desk.lines("ran"))
    assert "prepared\n" * 2 in ended.err
    assert "run 1 of 2: 1 worker, to warm up: " in ended.out
    (row,) = rows(desk)
    assert float(row["seconds"]) < time.time() - os.stat(desk / "prepared").st_mtime


def test_a_preparation_that_fails(desk: Desk) -> None:
    """It ends the study, and its status is told."""
    desk.write("tasks.txt", "touch ran")
    ended = scaled(desk, "tasks.txt", "--procs", "1", "--prepare", "exit 7", status=2)
    assert "pytaskfarmer: error: --prepare 'exit 7': failed with exit status 7.\n" == ended.err
    assert not (desk / "ran").exists()
    assert {"tasks.txt", "results"} == set(os.listdir(desk.place))


def test_work_directories_that_are_kept(desk: Desk) -> None:
    """With --workdir they stay, one for each run."""
    desk.write("tasks.txt", "true")
    scaled(desk, "tasks.txt", "--procs", "1,2", "--repeat", "2", "-w", "kept")
    assert {"1_workers_1", "1_workers_2", "2_workers_1", "2_workers_2"} == set(os.listdir(desk / "kept"))
    assert [0] == desk.ids("kept/2_workers_2/finished")
    assert "kept: is not empty" in desk.error(COMMAND, "scale", "tasks.txt", "--procs", "1", "-w", "kept")


def test_tasks_that_fail_with_many_workers(desk: Desk) -> None:
    """Such a run is no row, and its number is not tried again; the others go on; its work directory stays."""
    desk.write("tasks.txt", "sleep 0.2; test $PYTASKFARMER_SLOT = 0", "sleep 0.2; test $PYTASKFARMER_SLOT = 0")
    ended = scaled(desk, "tasks.txt", "--procs", "1,2", "--repeat", "2", status=1)
    assert [("1", "1"), ("1", "2")] == [(row["workers"], row["repeat"]) for row in rows(desk)]
    told = re.findall(r"run 2 of 4: 2 workers: 1 task failed, so its time does not count: (.*)", ended.out)
    assert 1 == len(told)
    assert "run 4" not in ended.out
    assert "1 failed" in desk.run("bash", "-c", told[0].replace("pytaskfarmer", COMMAND, 1)).out


def test_a_list_that_fails(desk: Desk) -> None:
    """If already the first run fails, no other is started, and there is no row."""
    desk.write("tasks.txt", "echo >> ran; false")
    ended = scaled(desk, "tasks.txt", "--procs", "1,2", status=1)
    assert 1 == len(desk.lines("ran"))
    assert "stopped: mend the list first" in ended.out
    assert [] == desk.lines("results/scaling.csv")


def test_a_farmer_that_cannot_run(desk: Desk) -> None:
    """Where no farmer can be had, as with a task that wants more than there is, it says why, and the study ends."""
    desk.write("tasks.txt", "touch ran")
    ended = scaled(desk, "tasks.txt", "--procs", "1,2", "--cpus-per-task", "1000", status=2)
    assert "\npytaskfarmer: error: --cpus-per-task 1000: " in ended.err
    assert "run 1 of 6: 1 worker: did not run\n" in ended.out
    assert "run 2" not in ended.out
    assert {"tasks.txt", "results"} == set(os.listdir(desk.place))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop(desk: Desk, wait_until: Callable[..., None], number: int) -> None:
    """A signal stops the run of the moment, which does not count; what was found before is told and kept."""
    desk.write("tasks.txt", "echo >> began; test $(wc -l < began) = 1 || sleep 100")
    study = desk.start(COMMAND, "scale", "tasks.txt", "--procs", "1", "--repeat", "3")
    wait_until(lambda: 2 == len(desk.lines("began")), hopeless=lambda: study.poll() is not None)
    ended = desk.end(study, send=number)
    assert 3 == ended.status
    assert f"run 2 of 3: 1 worker: stopped by {signal.Signals(number).name}, so its time does not count" in ended.out
    assert "workers  runs" in ended.out
    assert 1 == len(rows(desk))
    assert {"tasks.txt", "began", "results"} == set(os.listdir(desk.place))


def test_a_kill(desk: Desk, wait_until: Callable[..., None]) -> None:
    """Where the command itself is killed, its farmer stops, and no task lives on."""
    desk.write("tasks.txt", "echo $$ >> began; sleep 100")
    study = desk.start(COMMAND, "scale", "tasks.txt", "--procs", "1")
    wait_until(lambda: desk.lines("began"), hopeless=lambda: study.poll() is not None)
    desk.end(study, send=signal.SIGKILL)
    (pid,) = desk.lines("began")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_suspended_run(desk: Desk, wait_until: Callable[..., None]) -> None:
    """A run that Ctrl-Z has suspended goes on with the others, but does not count."""
    os.mkfifo(desk / "go")
    desk.write("tasks.txt", "echo $PPID >> farmers; read line < go")
    study = desk.start(COMMAND, "scale", "tasks.txt", "--procs", "1", "--repeat", "2")
    wait_until(lambda: desk.lines("farmers"), hopeless=lambda: study.poll() is not None)
    (farmer,) = map(int, desk.lines("farmers"))
    guard = psutil.Process(farmer).parent()
    guard.send_signal(signal.SIGTSTP)
    wait_until(lambda: guard.status() == psutil.STATUS_STOPPED, state=guard.status)
    guard.send_signal(signal.SIGCONT)
    (desk / "go").write_text("\n")
    wait_until(lambda: 2 == len(desk.lines("farmers")), hopeless=lambda: study.poll() is not None)
    (desk / "go").write_text("\n")
    ended = desk.end(study)
    assert 0 == ended.status, ended
    assert "run 1 of 2: 1 worker: was suspended, so its time does not count" in ended.out
    assert ["2"] == [row["repeat"] for row in rows(desk)]


def test_a_farmer_that_runs_out_of_time(desk: Desk) -> None:
    """A run that does not finish within --timeout does not count, and is the last one."""
    desk.write("tasks.txt", "sleep 100")
    ended = scaled(desk, "tasks.txt", "--procs", "1", "--timeout", "0.3", "--no-fit", status=3)
    assert "run 1 of 3: 1 worker: stopped by its farmer, so its time does not count" in ended.out
    assert [] == desk.lines("results/scaling.csv")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--procs 0", "0 workers cannot run anything"),
        ("--procs 1,2,1", "1 stands there twice; --repeat N runs all of them N times"),
        ("--procs 1,,2", "'1,,2' is not a list of numbers of workers; write, for example, 1,2,4,8"),
        ("--procs -2", "'-2' is not a list of numbers"),
        ("--procs two", "'two' is not a list of numbers"),
        ("--procs 999999999", "--procs 999999999: there is room for "),
        ("--procs 4 --repeat 0", "0 is not in the range x>=1"),
        ("--proc 4", "No such option '--proc'"),
        ("--update", "No such option '--update'"),
        ("--procs 1 -r nobody", "there is no runner named 'nobody'"),
        ("--procs 1 -t nobody", "there is no handler named 'nobody'"),
        ("--procs 1 --task-timeout soon", "'soon' is not a length of time"),
        ("--procs 1 -o other", "other/scaling.csv: has other columns"),
    ],
)
def test_nonsense(desk: Desk, words: str, told: str) -> None:
    """What cannot be measured is refused in one line, before anything is made."""
    desk.write("tasks.txt", "true")
    (desk / "other").mkdir()
    desk.write("other/scaling.csv", "a,b")
    assert told in desk.complaint(lambda: desk.look("scale", "tasks.txt", *words.split()))


@pytest.mark.parametrize(
    ("lines", "told"), [([], "the list has no tasks"), (["a\0b"], "line 1: this task has a NUL byte")]
)
def test_a_list_without_sense(desk: Desk, lines: list[str], told: str) -> None:
    """A list that cannot be run is refused by this command, not by its farmers."""
    desk.write("tasks.txt", *lines)
    assert told in desk.complaint(lambda: desk.look("scale", "tasks.txt", "--procs", "1"))


def test_more_workers_than_processes(desk: Desk) -> None:
    """What `ulimit -u` leaves besides all that the user runs already is the most there can be."""
    desk.write("tasks.txt", "true")
    limited = f"ulimit -u 20; exec {COMMAND} scale tasks.txt --procs 1,16"
    told = desk.error("bash", "-c", limited)
    assert re.fullmatch(
        r"--procs 16: there is room for \d workers? here \(ulimit -u is 20, and \d+ threads are in use\)\.", told
    )


def test_several_farmers_of_a_step(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under srun with several processes there would be as many studies at once; that is refused."""
    for name, value in {"JOB_ID": "1", "STEP_ID": "0", "NODEID": "0", "STEP_TASKS_PER_NODE": "4"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    desk.write("tasks.txt", "true")
    assert "srun" in desk.complaint(lambda: desk.look("scale", "tasks.txt", "--procs", "1"))


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("tasks.txt --procs 1,2 -r shell", "-r shell"),
        ("-R a=b --repeat 2 --logs=none tasks.txt -T c=d", "-R a=b --logs=none -T c=d"),
        ("--warm-up --no-fit -w dir -- tasks.txt", "--no-fit"),
    ],
)
def test_what_is_passed_on(typed: str, left: str) -> None:
    """The farmers get neither the list nor our own options."""
    ours = {"--procs", "--repeat", "--warm-up", "-w"}
    words = handing_on.split(typed.split(), run.spellings(scale.command))
    assert left.split() == [word for name, each in words if name and name not in ours for word in each]
