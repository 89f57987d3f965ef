from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytaskfarmer.cli.arguments import ORIGINAL, legacy

NOW = {
    **ORIGINAL,
    "--no-verbose": False,
    "--handler": True,
    "-R": True,
    "--runner-option": True,
    "-T": True,
    "--handler-option": True,
    "--trust-ini": False,
    "--task-timeout": True,
    "--wait": False,
    "--retries": True,
    "--quiet": False,
    "-q": False,
}


def said(line: str) -> str:
    return " ".join(legacy(line.split(), NOW))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--proc tasks.txt", "--proc=all tasks.txt"),
        ("-n tasks.txt", "--proc=all tasks.txt"),
        ("tasks.txt --proc", "tasks.txt --proc=all"),
        ("tasks.txt -n", "tasks.txt --proc=all"),
        ("--proc --workdir W", "--proc=all --workdir W"),
        ("--proc 8 tasks.txt", "--proc=8 tasks.txt"),
        ("-n 8 tasks.txt", "--proc=8 tasks.txt"),
        ("-n8 tasks.txt", "--proc=8 tasks.txt"),
        ("-n=8 tasks.txt", "--proc=8 tasks.txt"),
        ("--proc=8 tasks.txt", "--proc=8 tasks.txt"),
        ("--proc auto tasks.txt", "--proc=auto tasks.txt"),
        ("-n auto", "--proc=auto"),
        ("-nauto", "--proc=auto"),
        ("--proc -- tasks.txt", "--proc=all -- tasks.txt"),
        ("--proc -", "--proc=all -"),
        ("--proc automatic.txt", "--proc=all automatic.txt"),
        ("--proc 8.txt", "--proc=all 8.txt"),
    ],
)
def test_proc_takes_only_a_number_or_auto(before: str, after: str) -> None:
    """`--proc` takes a following word only if it is an integer or `auto`; alone it means all CPUs."""
    assert after == said(before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--proc x list", "--proc=x list"),
        ("list -n 1.5", "list --proc=1.5"),
        ("--proc list", "--proc=all list"),
        ("--proc other", "--proc=all other"),
        ("--proc other -w w", "--proc=all other -w w"),
        ("--proc --wait list", "--proc=all --wait list"),
    ],
)
def test_proc_takes_a_word_that_cannot_be_the_list(before: str, after: str) -> None:
    """Where another word names the list, a word after `--proc` is meant as its value."""
    assert after == " ".join(legacy(before.split(), NOW, "list".__eq__))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-n -3 t", "--proc=-3 t"),
        ("--proc 0 t", "--proc=0 t"),
        ("--proc=x t", "--proc=x t"),
        ("--proc= t", "--proc= t"),
        ("-nx t", "--proc=x t"),
        ("--verbose=maybe t", "--verbose=maybe t"),
        ("-vmaybe t", "--verbose -maybe t"),
    ],
)
def test_wrong_values_stay_to_be_refused(before: str, after: str) -> None:
    """A value that cannot be meant is still there for the parser to refuse."""
    assert after == said(before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-v tasks.txt", "--verbose tasks.txt"),
        ("tasks.txt -v", "tasks.txt --verbose"),
        ("-v True tasks.txt", "--verbose tasks.txt"),
        ("-v 1 tasks.txt", "--verbose tasks.txt"),
        ("--verbose true tasks.txt", "--verbose tasks.txt"),
        ("-v False tasks.txt", "--no-verbose tasks.txt"),
        ("-v 0 tasks.txt", "--no-verbose tasks.txt"),
        ("-v0 tasks.txt", "--no-verbose tasks.txt"),
        ("-v=False tasks.txt", "--no-verbose tasks.txt"),
        ("--verbose=false tasks.txt", "--no-verbose tasks.txt"),
        ("--verbose=1 tasks.txt", "--verbose tasks.txt"),
        ("-v TRUE", "--verbose TRUE"),
        ("-v 2", "--verbose 2"),
        ("-v yes", "--verbose yes"),
        ("-v -v t", "--verbose --verbose t"),
        ("--no-verbose 0 t", "--no-verbose 0 t"),
    ],
)
def test_verbose_takes_only_a_truth_value(before: str, after: str) -> None:
    """`-v` swallows a following word only if it is exactly True, False, true, false, 0 or 1."""
    assert after == said(before)


@pytest.mark.parametrize(
    "line",
    [
        "-w --proc t",
        "-w -v t",
        "--workdir -n t",
        "--runner -v t",
        "--retries 3 t",
        "--workdir=-v t",
        "-t --work t",
        "-w",
        "-R k=-v t",
        "-R -v t",
        "--runner-option --proc t",
        "-T command=-n t",
    ],
)
def test_values_of_other_options_are_left_alone(line: str) -> None:
    """A word that is another option's value is never read as an option."""
    assert line == said(line)


@pytest.mark.parametrize("rest", ["-v 0", "--proc 8", "--work W", "-n"])
def test_nothing_after_two_dashes_is_an_option(rest: str) -> None:
    """After `--` every word is a name."""
    assert f"--proc=all -- {rest}" == said(f"-n -- {rest}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--work W t", "--workdir W t"),
        ("--work=W t", "--workdir=W t"),
        ("--run R t", "--runner R t"),
        ("--runner-o k=v t", "--runner-o k=v t"),
        ("--tas", "--tas"),
        ("--tasklist H t", "--tasklist H t"),
        ("--taskl H t", "--tasklist H t"),
        ("--time 60 t", "--timeout 60 t"),
        ("--pro t", "--proc=all t"),
        ("--p 8 t", "--proc=8 t"),
        ("--verb False t", "--no-verbose t"),
        ("--work -v t", "--workdir -v t"),
    ],
)
def test_beginnings_of_the_old_options_work(before: str, after: str) -> None:
    """An unambiguous beginning of an option of 0.1.0 is that option, its value included."""
    assert after == said(before)


@pytest.mark.parametrize("word", ["--task", "--w", "--r", "--ret", "--quie", "--hand", "--t", "--nothing", "--no-verb"])
def test_ambiguous_and_new_beginnings_are_not_completed(word: str) -> None:
    """A beginning that fits two options of today, or only a new one, is left for the parser to refuse."""
    assert f"{word} x t" == said(f"{word} x t")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-qv t", "-q --verbose t"),
        ("-vn8 t", "--verbose --proc=8 t"),
        ("-vn t", "--verbose --proc=all t"),
        ("-qwW t", "-q -w W t"),
        ("-w=W t", "-w W t"),
        ("-qw -v t", "-q -w -v t"),
        ("-qx8 t", "-q -x8 t"),
        ("-5 t", "-5 t"),
        ("-vRk=v t", "--verbose -R k=v t"),
        ("-R=k=v t", "-R k=v t"),
    ],
)
def test_short_options_in_one_word(before: str, after: str) -> None:
    """Short options may share a word, the last one with its value."""
    assert after == said(before)


def test_empty_words_survive() -> None:
    """An empty word is a value or a name like any other."""
    assert ["", "-w", "", "--proc=all", ""] == legacy(["", "-w", "", "-n", ""], NOW)


@given(st.lists(st.sampled_from([*NOW, "t", "8", "auto", "0", "True", "--", "-", "-nv", "-vq", "--work", "--proc=3"])))
def test_a_second_pass_changes_nothing(argv: list[str]) -> None:
    """What leaves is explicit: going through it again gives the same words, and no name is ever lost."""
    once = legacy(argv, NOW)
    # In `-v True 0` the list is called 0.
    assume(not any(flag.endswith("verbose") and word in {"0", "True"} for flag, word in pairwise(once)))
    assert once == legacy(once, NOW)
    assert argv.count("t") == once.count("t")
