from pathlib import Path

import pytest
from shell_stage import Stage

TABLE = (Path(__file__).parent / "tricky_lines.txt").read_text(encoding="utf-8")
TRICKY = {
    heading: [line for line in lines.split("\n") if line.strip()]
    for heading, _, lines in (section.partition("\n") for section in f"\n{TABLE}".split("\n# ")[1:])
}

UNPRINTABLE = [
    "# a comment",
    "#",
    "",
    " ",
    "\t",
    "args \udcff\udcfe",
    "echo '\udce9t\udce9' > \udce9",
    "args caf\udce9/*",
    "ls caf\udce9",
    "\udcff",
    "args a\rb",
    "args a\r",
    "args a\x0bb\x0cc",
    "args a\x85b\xa0c\u2003d\u3000e",
    "args\xa0a",
    "args a\x1cb\x1db",
    "args \x01\x7f\x1b[0m",
    "args \u0661 \u0662",  # digits, but not plain ones
    "args \u212a",  # the Kelvin sign is a letter, but not a plain one
    "args a" + " b" * 20_000,
]


@pytest.mark.parametrize("lines", [*TRICKY.values(), UNPRINTABLE], ids=[*TRICKY, "Unprintable"])
def test_a_line_runs_as_under_bash(lines: list[str], stage: Stage) -> None:
    """Output, exit status or signal, and files left behind are those of `bash -c LINE`."""
    environment = stage.environment()

    expected = {line: stage.by_bash(line, environment) for line in lines}
    seen = {line: stage.by_runner(line, environment) for line in lines}

    assert expected == seen


def test_a_program_sees_the_environment_that_bash_would_give_it(stage: Stage) -> None:
    """The same variables with the same values, if not in the same order."""
    environment = stage.environment(OLDPWD="/tmp")
    lines = ["env", "printenv", "seen", "seen a b", "./bin/seen", "bash -c env", "env env"]

    expected = {line: stage.by_bash(line, environment).sorted() for line in lines}
    seen = {line: stage.by_runner(line, environment).sorted() for line in lines}

    assert expected == seen


def test_the_table_is_long_enough() -> None:
    """At least 150 different lines are compared."""
    assert len({line for lines in TRICKY.values() for line in lines}) >= 150
