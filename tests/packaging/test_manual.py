"""The manual against the program: what its pages show is run, in order, each page in an empty directory.

A block `console` is a session: lines that start with `$ ` are typed into one shell for the whole page, lines that start
with `> ` go on with the one above, and all others are what comes back, from standard output and error together. There
`...` stands for any text, and alone on a line for any lines. A command below which nothing is shown must succeed. A
block with a file's name after its language is that file. What stands in an HTML comment is done, too, and not shown.

A block `sh` without a name is for the reader's own site: it is run with stand-ins for the site's programs and for
ours, which only look at the options (test_docs_site.py). Blocks `python`, `ini`, `toml` and `json` without a name are
fragments, which can be parsed. There are no other blocks.

A line `<!-- needs: slurm -->` gives a page a Slurm of four nodes; `<!-- needs: venv -->` a virtual environment of its
own, in which pytaskfarmer is installed and whose `pip` takes what is at hand, from no network. `$CHECKOUT` is this
repository.
"""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import NEEDS, PAGES, ROOT, Typed, name_of, session, steps
from test_installed import build, copy_tree, environment

from pytaskfarmer.plugins import faults, installed

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ENGINES = ("apptainer", "podman-hpc", "shifter")
NEED_SLURM = {"batch-systems.md", "python-pool.md"}
MARK = "\x1e"


def script(page: Path, blocks: Path) -> tuple[str, list[Typed]]:
    """Return what a shell is to run for a page, which tells by marks how each command has ended."""
    typed: list[Typed] = []
    lines: list[str] = []
    for number, step in enumerate(steps(page.read_text())):
        if isinstance(step, Typed):
            typed.append(step)
            lines += ["(exit ${_status-0})", step.text, f'_status=$?; printf "{MARK}%d{MARK}" $_status']
        else:
            name, body = step
            (blocks / str(number)).write_text(body)
            lines += [f"mkdir -p -- $(dirname {name}) && cp {blocks}/{number} {name}"]
    return "\n".join([*lines, ""]), typed


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a directory of stand-ins for container engines."""
    directory = tmp_path / "programs"
    directory.mkdir()
    stand_in = (ROOT / "tests/runners/stand_in_engine.py").read_text()
    for engine in ENGINES:
        (directory / engine).write_text(f"#!{sys.executable} -SE\n{stand_in}")
        (directory / engine).chmod(0o755)
    return directory


@pytest.fixture
def slurm(page: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Run a Slurm for a page that needs one, and return the environment in which it is found."""
    if page.name not in NEED_SLURM and "slurm" not in NEEDS.findall(page.read_text()):
        yield {}
        return
    monkeypatch.syspath_prepend(ROOT / "tests/cluster")
    import slurm_cluster

    for name in slurm_cluster.PROGRAMS:
        if slurm_cluster.program(name) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed (slurm-wlm, munge)")
    cluster = slurm_cluster.Cluster(cgroups=slurm_cluster.cgroups_work())
    try:
        cluster.start()
        yield {"SLURM_CONF": str(cluster.conf)}
    finally:
        cluster.stop()


@pytest.fixture
def scripts(page: Path, tmp_path: Path) -> Path:
    """Return the directory of our commands: as they are installed here, or in an environment of the page's own."""
    if "venv" not in NEEDS.findall(page.read_text()):
        return Path(sysconfig.get_path("scripts"))
    wheel = build("wheel", copy_tree(tmp_path / "tree"), tmp_path / "wheel")
    scripts = environment(tmp_path / "venv", wheel)
    words = f"--python {scripts}/python --quiet --disable-pip-version-check --no-cache-dir"
    alone = "PIP_NO_BUILD_ISOLATION=0 PIP_NO_DEPS=1 PIP_NO_INDEX=1"  # 0 means: no isolation
    (scripts / "pip").write_text(f'#!/bin/sh\n{alone} exec {sys.executable} -m pip {words} "$@"\n')
    (scripts / "pip").chmod(0o755)
    return scripts


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_shows_what_happens(
    page: Path, tmp_path: Path, programs: Path, scripts: Path, slurm: dict[str, str]
) -> None:
    """Each command prints what stands below it."""
    for name in ("blocks", "home", "here"):
        (tmp_path / name).mkdir()
    text, typed = script(page, tmp_path / "blocks")
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(scripts), str(programs), os.environ["PATH"]]),
        "HOME": str(tmp_path / "home"),
        "CHECKOUT": str(ROOT),
        "LC_ALL": "C.UTF-8",
        **slurm,
    }
    for name in ("PYTHONPATH", "BASH_ENV"):
        variables.pop(name, None)
    with open(tmp_path / "said", "w+b") as said:
        subprocess.run(
            ["bash", "-c", text], cwd=tmp_path / "here", env=variables, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT, check=False, timeout=50,
        )  # fmt: skip
        said.seek(0)
        got = said.read().decode()
    ends = got.split(MARK)
    told = list(zip(ends[::2], map(int, ends[1::2]), strict=False))
    assert len(typed) == len(told), f"the page ended early:\n{got}"
    found = [fault for one, (back, status) in zip(typed, told, strict=True) if (fault := one.fault(back, status))]
    assert not found, "\n\n".join(["", *found])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links to is there."""
    assert [] == [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]


@pytest.mark.parametrize("kind", ["runner", "handler"])
def test_the_readme_names_all_built_in_names(kind: str) -> None:
    """The tables of runners and handlers have a row for each name, and no others; `default` is said to be one."""
    text = (ROOT / "README.md").read_text()
    table = text.partition(f"\n| {kind} |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = re.findall(r"`(\w+)`", " ".join(first))
    assert sorted(installed.BUILT_IN[kind].keys() - {"default"}) == sorted(named)


def test_the_page_that_errors_name_is_there() -> None:
    """The error about a class of 0.1.0 names the page by its title."""
    title = (ROOT / "docs/how-to/migrate.md").read_text().partition("\n")[0].removeprefix("# ")
    assert f"'{title}'" in faults.written_for_predecessor("mylab.Old")


@pytest.mark.parametrize(
    ("shown", "got", "right"),
    [
        ("a 1\n", "a 1\n", True),
        ("a 1\n", "a 2\n", False),
        ("a 1\n", "a 1\nb\n", False),
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b\nc\n", False),
        ("a\n...\nc\n", "a\nc\n", True),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\n", "b\n", False),
        ("", "whatever\n", True),
    ],
)
def test_what_differs_is_noticed(shown: str, got: str, right: bool) -> None:
    """A page that shows something else than what happens fails."""
    (typed,) = session(["$ command", *shown.splitlines()])
    assert right == (typed.fault(got, 0) is None)


def test_a_command_with_nothing_below_it_must_succeed() -> None:
    """Its output is not looked at, but its status is."""
    assert Typed("false").fault("", 1)
