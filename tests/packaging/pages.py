"""The pages of the manual as data: sessions, files, and blocks that are not typed here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^<!-- needs: (\w+) -->$", re.MULTILINE)


@dataclass
class Typed:
    """What is typed, and the lines that are shown below it."""

    text: str
    shown: list[str] = field(default_factory=list)

    def fault(self, got: str, status: int) -> str | None:
        """Return what is wrong with what came back."""
        right = matches(self.shown, got) if self.shown else status == 0
        return None if right else "\n".join([f"$ {self.text}", *self.shown, f"--- but, with status {status}:", got])


@dataclass(frozen=True)
class Fragment:
    """A block that is neither a session nor a file; `line` counts from 1."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def steps(text: str) -> Iterator[Typed | tuple[str, str]]:
    """Yield what a page types, and names and contents of its files."""
    for language, name, body in BLOCK.findall(text):
        if name:
            yield name, body
        elif language == "console":
            yield from session(body.splitlines())


def fragments(text: str) -> Iterator[Fragment]:
    """Yield the blocks that are neither typed nor files."""
    for block in BLOCK.finditer(text):
        language, name, body = block.groups()
        if not name and language != "console":
            yield Fragment(language, body, text.count("\n", 0, block.start()) + 1)


def session(lines: list[str]) -> list[Typed]:
    """Return what a block types."""
    typed: list[Typed] = []
    for line in lines:
        if line.startswith("$ "):
            typed.append(Typed(line[2:]))
        elif line.startswith("> ") and not typed[-1].shown:
            typed[-1].text += f"\n{line[2:]}"
        else:
            typed[-1].shown.append(line)
    return typed


def matches(shown: list[str], got: str) -> bool:
    """Whether what came back is what is shown."""
    patterns = [r"(?:.*\n)*" if line == "..." else within(line) for line in shown]
    return re.fullmatch("".join(patterns), got if got.endswith("\n") else f"{got}\n") is not None


def within(line: str) -> str:
    """Return the pattern of one line."""
    return ".*".join(map(re.escape, line.split("..."))) + r" *\n"
