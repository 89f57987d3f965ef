"""The manual as Sphinx builds it, warnings being errors, and what it takes from the program itself."""

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from pages import ROOT

import pytaskfarmer
from pytaskfarmer.cli.main import group
from pytaskfarmer.plugins import contracts, installed
from pytaskfarmer.plugins.definitions import Definition
from pytaskfarmer.plugins.registry import describe

DOCS = ROOT / "docs"
pytestmark = pytest.mark.xdist_group("manual")
MODULES = ("furo", "myst_parser", "sphinx")


def files() -> set[Path]:
    """Return what lies in the folder of the manual, but for byte code."""
    return {path for path in DOCS.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the manual as HTML, without a network, and return where."""
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")
    to = tmp_path_factory.mktemp("manual")
    before = files()
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", to / "doctrees", DOCS, to / "html"],
        env={**os.environ, **nowhere, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stdout)
    assert before == files()
    return to / "html"


def text_of(page: str) -> str:
    """Return what a reader sees of a page, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


def options() -> Iterator[tuple[str, click.Option]]:
    """Yield every option that a command shows."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                yield name, parameter


def test_a_script_that_a_session_prints_is_output(built: Path) -> None:
    """Its lines that begin with `#` are not taken for prompts of root."""
    assert '<span class="go">#SBATCH --nodes=4' in (built / "how-to/batch-systems.html").read_text()


def test_every_command_and_option_is_in_the_reference(built: Path) -> None:
    """Each option has a place of its own that can be linked to, under its command, with what `--help` says of it."""
    page = (built / "reference/commands.html").read_text()
    shown = text_of(page)
    assert [] == [name for name in group.list_commands(click.Context(group)) if f"pytaskfarmer {name} [" not in shown]
    anchors = {anchor.lower() for anchor in re.findall(r'id="cmdoption-([^"]*)"', page)}
    found = list(options())
    assert len(found) > 50
    assert [] == [
        (name, option.opts) for name, option in found if f"pytaskfarmer-{name}-{short(option)}" not in anchors
    ]
    helps = [" ".join((option.help or "").split("[default:")[0].replace("`", "").split()) for _, option in found]
    assert [] == [said for said in helps if said not in shown]


def short(option: click.Option) -> str:
    """Return how Sphinx calls an option in an anchor."""
    first = option.opts[0].lower()
    return first.removeprefix("--") if first.startswith("--") else first.lstrip("-")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in installed.BUILT_IN.items() for name in table]
)
def test_every_plug_in_and_option_is_in_the_reference(built: Path, kind: str, name: str) -> None:
    """Each built-in name has a section, in which each of its options stands with what it may be."""
    description = describe(Definition(kind, name, installed.BUILT_IN[kind][name], {}, "", 0))
    sections = map(text_of, (built / f"reference/{kind}s.html").read_text().split("<h2>")[1:])
    (section,) = [section for section in sections if name in section.partition("¶")[0].replace(",", "").split()]
    assert " ".join(description.text.partition("\n\n")[0].replace("`", "").split()) in section
    known = description.options.known
    assert known or name in {"lines", "default"}
    assert [] == [o.name for o in known if not re.search(rf"\b{o.name} \({o.kind.word}[,)]", section)]


def test_the_public_interface_is_in_the_reference(built: Path) -> None:
    """What can be imported from the package, and the contracts of plug-ins, are documented with their methods."""
    page = (built / "reference/api.html").read_text()
    anchors = set(re.findall(r'id="(pytaskfarmer\.[^"]*)"', page))
    assert {f"pytaskfarmer.{name}" for name in pytaskfarmer._PUBLIC} <= anchors
    public = {name for name, thing in vars(contracts).items() if getattr(thing, "__module__", "") == contracts.__name__}
    assert {f"{contracts.__name__}.{name}" for name in public} <= anchors
    assert {f"pytaskfarmer.Pool.{name}" for name in ("map", "imap", "starmap_async", "terminate")} <= anchors


def test_the_front_page_shows_the_timeline(built: Path) -> None:
    """The picture is on it, and has been copied."""
    assert "_images/timeline.png" in (built / "index.html").read_text()
    assert (built / "_images/timeline.png").exists()


def test_each_example_has_a_page() -> None:
    """Each folder of examples with a README is a page of the manual, which is that README."""
    examples = {path.parent.name for path in ROOT.glob("examples/*/README.md")}
    assert examples == {path.stem for path in DOCS.glob("examples/*.md")}
    for name in examples:
        assert f"<!-- the page is ../../examples/{name}/README.md -->\n" == (DOCS / f"examples/{name}.md").read_text()
