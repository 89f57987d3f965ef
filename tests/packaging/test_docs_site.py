"""Blocks of the manual that are for the reader's own site, and fragments: checked as far as they can be here."""

import ast
import configparser
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pages import PAGES, ROOT, Fragment, fragments, name_of

SITE = ("apptainer", "ch-run", "conda", "curl", "git", "make", "module", "pip", "podman", "podman-hpc", "qdel", "qsub",
        "rsync", "sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "scp", "shifter", "shifterimg",
        "squeue", "ssh", "sudo", "wget")  # fmt: skip
"""Programs of a site, and those that would change this machine: they take anything, and do nothing."""

BEFORE = """
source() { :; }
command_not_found_handle() { echo "stand-in: there is no program $1" >&2; exit 127; }
"""
SRUN = """#!/bin/bash
until type -P -- "$1" >/dev/null; do shift || exit 0; done
exec "$@"
"""


def parse_ini(text: str) -> None:
    """Read INI text as strictly as can be."""
    configparser.ConfigParser(interpolation=None).read_string(text)


PARSERS: Mapping[str, Callable[[str], object]] = {
    "ini": parse_ini,
    "json": json.loads,
    "python": ast.parse,
    "toml": tomllib.loads,
}


def blocks(*, shell: bool) -> list[object]:
    """Return the blocks of all pages that are, or are not, for a shell."""
    return [
        pytest.param(block, id=f"{name_of(page)}:{block.line}")
        for page in PAGES
        for block in fragments(page.read_text())
        if shell == (block.language == "sh")
    ]


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the programs of a site, and ours, are stand-ins."""
    programs = tmp_path / "programs"
    programs.mkdir()
    ours = (ROOT / "tests/packaging/stand_in_command.py").read_text()
    texts = dict.fromkeys(SITE, "#!/bin/sh\n") | {"srun": SRUN}
    texts |= dict.fromkeys(("pytaskfarmer", "pytaskfarmer.py"), f"#!{sys.executable} -P\n{ours}")
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "before").write_text(BEFORE)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "BASH_ENV": str(tmp_path / "before"),
        "PYTHONPATH": str(ROOT),
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_NUM_NODES": "4",
        **{name: value for name, value in os.environ.items() if name.startswith("PYTEST_MARK_")},
    }


@pytest.mark.parametrize("block", blocks(shell=True))
def test_a_block_for_a_site_runs_with_stand_ins(block: Fragment, site: dict[str, str], tmp_path: Path) -> None:
    """Bash can parse it, each program in it is known, and our commands have the options that it gives them."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "block").write_text(block.text)
    for words in (["bash", "-n"], ["bash"]):
        done = subprocess.run(
            [*words, "block"], cwd=here, env=site, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=50,
        )  # fmt: skip
        assert "stand-in:" not in done.stdout
        assert 0 == done.returncode or "-n" not in words, done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pytaskfarmer.py --prok 3 tasks.txt", "No such option"),
        ("srun -N 4 pytaskfarmer.py --proc 128 --no-such tasks.txt | cat", "No such option"),
        ("pytaskfarmer sumbit tasks.txt", "there is no command 'sumbit'"),
        ("pytasfarmer tasks.txt", "there is no program pytasfarmer"),
        ("pytaskfarmer.py --grace", "requires an argument"),
    ],
)
def test_what_is_wrong_in_a_block_is_noticed(text: str, said: str, site: dict[str, str], tmp_path: Path) -> None:
    """A command, an option or a program that is not there fails."""
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=site, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert "stand-in: " in done.stdout
    assert said in done.stdout


@pytest.mark.parametrize("block", blocks(shell=False))
def test_a_fragment_can_be_parsed(block: Fragment) -> None:
    """A block that is neither a session nor a file nor for a site is of a language that can be checked."""
    assert block.language in PARSERS
    PARSERS[block.language](block.text)
