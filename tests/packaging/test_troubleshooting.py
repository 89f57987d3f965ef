"""The messages that the manual explains against the program: what is quoted is still said, and what is said is there.

`docs/how-to/messages.md` quotes a message as a bold line of code, and `...` in it stands for what varies. In the
program, a message is made of the texts between the braces of its f-strings.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for room in ("pytaskfarmer", "runners", "handlers") for path in (ROOT / room).rglob("*.py"))
PAGE = ROOT / "docs/how-to/messages.md"
SYMPTOMS = ROOT / "docs/how-to/troubleshooting.md"
QUOTED = re.compile(r"\*\*`(.+?)`\*\*")
OPEN_TO_QUESTIONS = re.compile(r"(Lock|Workdir|Tasklist)Error|Evicted|Overdue|OpeningStopped|IllegalMove")
SPEAKERS = {"warn", "_tell"}
SELF_EXPLAINING = {
    "the list has no tasks": "says it all",
    "is a directory. Name a file with one task a line.": "says what to do",
    "cannot read the task list: ": "the reason of the system follows",
    "not a work directory. Name the directory that holds": "says what to do",
    "has not been run: there is no ": "says what to do",
    "no such file or directory. Name a task list or its work directory.": "says what to do",
    "cannot be read: permission denied.": "says it all",
    ": cannot be made: ": "the reason of the system follows",
    "was left by PyTaskFarmer 0.1.0; run its task list": "says what to do",
}


def texts(node: ast.AST) -> list[str]:
    """Return the texts below a node, f-strings as their fixed parts."""
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


@cache
def said_by(path: Path) -> list[str]:
    """Return the texts of a module, its docstrings left out."""
    tree = ast.parse(path.read_text())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    notes = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, owners)}
    return [text for text in texts(tree) if text not in notes]


def quoted() -> list[str]:
    """Return the messages that the page explains."""
    return QUOTED.findall(PAGE.read_text())


def pieces(message: str) -> list[str]:
    """Return the fixed parts of a quoted message."""
    return [piece for piece in (part.strip() for part in message.split("...")) if piece]


def is_said(message: str, texts: list[str]) -> bool:
    """Whether one module's texts hold all fixed parts of a message."""
    return all(any(piece in text for text in texts) for piece in pieces(message))


def questions() -> Iterator[tuple[str, list[str]]]:
    """Yield where and with which texts the core warns, or raises an error that leaves a question open."""
    for path in (path for path in MODULES if path.is_relative_to(ROOT / "pytaskfarmer")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and is_question(node) and is_sentence(texts(node)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", texts(node)


def is_sentence(texts: list[str]) -> bool:
    """Whether one of the texts is more than a colon and what follows."""
    return any(len(text.split()) > 2 for text in texts)


def is_question(call: ast.Call) -> bool:
    """Whether a call makes such an error, or warns."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in SPEAKERS
    return isinstance(call.func, ast.Name) and bool(
        OPEN_TO_QUESTIONS.fullmatch(call.func.id) or call.func.id in SPEAKERS
    )


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_said_by_the_program(message: str) -> None:
    """All its fixed parts stand in one module."""
    assert any(is_said(message, said_by(path)) for path in MODULES), f"no module says {message!r} any more"


def test_each_warning_and_error_of_the_core_is_explained() -> None:
    """What leaves a question open has a place on the page, or says by itself what to do."""
    explained = [piece for message in quoted() for piece in pieces(message)] + list(SELF_EXPLAINING)
    missing = [
        f"{where}: {' ... '.join(said)}"
        for where, said in questions()
        if not any(piece in text for piece in explained for text in said)
    ]
    assert not missing, "\n".join(missing)


def test_each_exception_is_needed() -> None:
    """No text is excused that is not said any more."""
    said = [text for _, texts in questions() for text in texts]
    assert [] == [excused for excused in SELF_EXPLAINING if not any(excused in text for text in said)]


def test_symptoms_quote_what_the_program_says() -> None:
    """Words of the program on the page of symptoms are those that it says."""
    page = SYMPTOMS.read_text()
    for words in ("no more tasks are taken until this is over: ", "waiting for the lock", "draining", "suspended"):
        assert words.strip(": ") in page
        assert any(words in text for path in MODULES for text in said_by(path))


@pytest.mark.parametrize(
    ("message", "right"),
    [("no worker can be had: ...", True), ("no worker can be found: ...", False), ("draining ... can be had", True)],
)
def test_what_is_not_said_is_noticed(message: str, right: bool) -> None:
    """A message of which one part is not in the module is not said by it."""
    assert right == is_said(message, ["no worker can be had: ", "draining"])
