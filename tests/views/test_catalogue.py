"""Golden texts: what the listings say, word for word."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytaskfarmer.errors import DefinitionError
from pytaskfarmer.plugins.definitions import Definition, Entry, Refusal, Unreadable
from pytaskfarmer.plugins.registry import Registry
from pytaskfarmer.views.catalogue import lines, lines_of


class Demo:
    """Runs each task somewhere else, which takes a sentence that is longer than a line of eighty columns.

    A task is a line. This paragraph has several lines in the source, and is wrapped anew where a terminal is
    narrower than that.

        an example   stays    as it is, however long it may be: one, two, three, four, five, six

    - `image`: what to run in; the explanation goes on in a second line, which stands below
      the first.
    - `count`: how often.
    """

    def __init__(
        self, *, image: str, count: int = 1, factor: float | None = None, hold: bool = False, args: tuple[str, ...] = ()
    ) -> None:
        pass

    def command(self) -> None:
        """Make it a runner."""


class Open:
    def __init__(self, **rest: str) -> None:
        pass

    def tasks(self) -> None:
        """Make it a handler."""


DEMO = Definition("runner", "demo", f"{__name__}.Demo", {}, "package foreign", 0, installed=True)
WRITTEN = Definition(
    "runner", "mine", f"{__name__}.Demo", {"image": "docker:a/b " + "and more " * 8, "hold": "True"}, "my.ini", 3
)


def block(title: str, kind: str, *entries: Entry, unreadable: tuple[Unreadable, ...] = ()) -> str:
    """Return what a listing of `entries` says below `title`."""
    text = "\n".join(lines(Registry(entries, unreadable), kind, 80))
    return text.partition(f"{title}\n")[2].partition("\n\n")[0]


def test_an_installed_runner() -> None:
    """Its first line, class and package, and a row for each option: name, type, default."""
    assert """\
    Runs each task somewhere else, which takes a sentence that is longer than a
    line of eighty columns.
    test_catalogue.Demo (from package foreign)
      image   text          required
      count   whole number  default 1
      factor  number
      hold    true/false    default false
      args    words""" == block("demo", "runner", DEMO)


def test_two_names_of_one_class() -> None:
    """An installed class that has two names is listed once."""
    assert "Demo" in block("demo, other", "runner", DEMO, replace(DEMO, name="other"))


def test_a_class_that_takes_any_key() -> None:
    """That other keys are passed on is said, and a class without a description has none."""
    target = f"{__name__}.Open"
    assert """\
    test_catalogue.Open (from package foreign)
      ...  text  any other key""" == block(
        "open", "handler", Definition("handler", "open", target, {}, "package foreign", 0, installed=True)
    )


def test_a_definition_of_a_file() -> None:
    """Of a class that a file names, only what is written there is told: it is not imported."""
    never = replace(WRITTEN, target="no_such_module.Class")
    assert """\
    no_such_module.Class (from my.ini, line 3)
      image  = docker:a/b and more and more and more and more and more and more
               and more and more
      hold   = True""" == block("mine", "runner", never)


def test_what_cannot_be_used() -> None:
    """An installed plug-in that cannot be imported, and a name that is refused, are listed with the reason."""
    broken = replace(DEMO, target="no_such_module.Class")
    text = block("demo", "runner", broken)
    assert text.startswith("    cannot be used: package foreign: runner 'demo': there is no module")
    refused = Refusal("runner", "bad", "bad.ini, line 3", "is neither [name] nor key = value")
    assert (
        "    cannot be used: bad.ini, line 3: is neither [name] nor key = value"
        == block("bad", "runner", refused)
    )  # fmt: skip


def test_notes() -> None:
    """Definitions that do not count, and files that cannot be read, are noted at the end."""
    shadowed = replace(WRITTEN, name="demo")
    unreadable = (Unreadable("their.ini", "cannot be read (Input/output error)"),)
    assert """\
note: my.ini, line 3: this runner 'demo' is not used, since package foreign
comes first; give it another name to use it
note: their.ini: cannot be read (Input/output error)""" == "\n".join(
        lines(Registry((DEMO, shadowed), unreadable), "runner", 80)
    ).rpartition("\n\n")[2]


def test_one_of_a_file_in_full() -> None:
    """All that the class says, wrapped, then its options; those that the file sets have an `=`."""
    assert """\
mine
    test_catalogue.Demo (from my.ini, line 3)

    Runs each task somewhere else, which takes a sentence that is longer than a
    line of eighty columns.

    A task is a line. This paragraph has several lines in the source, and is
    wrapped anew where a terminal is narrower than that.

        an example   stays    as it is, however long it may be: one, two, three, four, five, six

    - `image`: what to run in; the explanation goes on in a second line, which
      stands below the first.
    - `count`: how often.

      image   text          = docker:a/b and more and more and more and more and
                              more and more and more and more
      count   whole number  default 1
      factor  number
      hold    true/false    = True
      args    words""" == "\n".join(lines_of(WRITTEN, 80))


def test_an_option_that_cannot_be_used() -> None:
    """What a file sets and the class cannot be given is marked, and what must be there instead is said."""
    wrong = replace(WRITTEN, written={"image": "a", "count": "many", "colour": "red"})
    rows = list(lines_of(wrong, 100))[-6:]
    assert "count   whole number  = many (cannot be used: must be a whole number)" in rows[1]
    assert "colour  text          = red (cannot be used: there is no such option)" in rows[-1]
    assert ["cannot" in row for row in rows] == [False, True, False, False, False, True]


def test_one_that_cannot_be_imported() -> None:
    """Who asks for a name that is broken gets the error."""
    with pytest.raises(DefinitionError, match=r"my\.ini, line 3: runner 'mine': there is no module 'no_such_module'"):
        list(lines_of(replace(WRITTEN, target="no_such_module.Class"), 80))


@pytest.mark.parametrize("kind", ["runner", "handler"])
def test_the_built_in_ones_fit_eighty_columns(kind: str, tmp_path: Path) -> None:
    """No line about what is built in is wider than a terminal, and all of it works."""
    registry = Registry.read(str(tmp_path), str(tmp_path))
    listed = [line for line in lines(registry, kind, 80) if not line.startswith("note: ")]
    assert [] == [line for line in listed if len(line) > 80 or "cannot be used" in line]
    titles = {name for line in listed if line and not line.startswith(" ") for name in line.split(", ")}
    assert titles == {entry.name for entry in registry.known(kind).entries}
