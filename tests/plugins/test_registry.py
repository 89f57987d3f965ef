import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_places import Places

from pytaskfarmer.errors import DefinitionError, UnknownName
from pytaskfarmer.plugins.definitions import KEYS, Definition
from pytaskfarmer.plugins.installed import ALIASES, BUILT_IN, ENTRY_POINTS
from pytaskfarmer.plugins.registry import Registry, describe

Module = Callable[[str], str]

RUNNER = """\
    class Fine:
        def __init__(self, **options):
            self.options = options
        def command(self, task, context):
            raise NotImplementedError
    """


WORKER_RUNNER = """\
    class Warm:
        def __init__(self):
            self.concurrency = 1
            self.max_tasks = None
        def worker(self, context): ...
        def request(self, task, context): ...
    """


def names(registry: Registry, kind: str, target: str) -> list[str]:
    """Return the known names of a class."""
    entries = registry.known(kind).entries
    return [entry.name for entry in entries if isinstance(entry, Definition) and entry.target == target]


def options(plugin: Any) -> dict[str, str]:
    """Return the options that a `Fine` of `RUNNER` was made with."""
    return dict(plugin.options)


def class_of(plugin: object) -> str:
    return f"{type(plugin).__module__}.{type(plugin).__name__}"


def complaint(places: Places, target: str, more: str = "", kind: str = "runner") -> str:
    """Return what is said when a definition of `target` is asked for, after its place and name."""
    key = {"runner": "Runner", "handler": "TaskList"}[kind]
    places.ini("cwd/my.ini", f"# mine\n[mine]\n{key} = {target}\n{more}")
    registry = places.registry()
    with pytest.raises(DefinitionError) as caught:
        registry.runner("mine") if kind == "runner" else registry.handler("mine")
    text = str(caught.value)
    start = f"{places.cwd}/my.ini, line 2: {kind} 'mine': "
    assert start == text[: len(start)]
    assert "\n" not in text
    return text.removeprefix(start)


class TestNames:
    def test_the_built_in_ones(self, places: Places) -> None:
        """`default` and its other name give the same class, with no INI file anywhere."""
        registry = places.registry()
        for name in ("default", "shell"):
            assert "pytaskfarmer.runners.shell.Shell" == class_of(registry.runner(name))
        for name in ("default", "lines"):
            assert "pytaskfarmer.handlers.lines.Lines" == class_of(registry.handler(name))

    def test_the_table_equals_the_declared_entry_points(self) -> None:
        """What the package declares to others as its plug-ins is what it finds itself."""
        root = Path(__file__).resolve().parents[2]
        declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
        expected = {
            kind: {n: v.replace(":", ".") for n, v in declared[ENTRY_POINTS[kind]].items()} for kind in BUILT_IN
        }
        assert expected == BUILT_IN

    @pytest.mark.parametrize("old", sorted(ALIASES))
    def test_classes_of_0_1_0_are_known_by_their_old_names(self, places: Places, old: str) -> None:
        """An INI file that names a class of 0.1.0 gets the class that took its place."""
        key, kind = ("Runner", "runner") if "runners" in old else ("TaskList", "handler")
        places.ini("cwd/my.ini", f"[old]\n{key} = {old}\n")
        described = describe(places.registry().definition(kind, "old"))
        assert old == described.definition.target
        assert described.text

    @pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BUILT_IN for name in BUILT_IN[kind]])
    def test_a_definition_of_a_built_in_name(self, places: Places, kind: str, name: str) -> None:
        """A definition may name what is built in as the command line does, and is that with other options."""
        places.ini("cwd/my.ini", f"[mine]\n{KEYS[kind]} = {name}\n[same]\n{KEYS[kind]} = {BUILT_IN[kind][name]}\n")
        registry = places.registry()
        mine, same = (describe(registry.definition(kind, own)) for own in ("mine", "same"))
        assert (same.text, same.options) == (mine.text, mine.options)

    @pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BUILT_IN for name in BUILT_IN[kind]])
    def test_all_built_in_ones_are_there(self, places: Places, kind: str, name: str) -> None:
        """Each built-in name leads to a class that can be imported and says in a line what it does."""
        described = describe(places.registry().definition(kind, name))
        first = described.text.partition("\n")[0]
        assert first.endswith(".")

    def test_one_file_may_define_runners_and_handlers(self, places: Places) -> None:
        """Both directories of the home directory, and the current one, may define both kinds."""
        for place in ("home/runners.d/a.ini", "home/tasklists.d/b.ini", "cwd/c.ini"):
            name = place[-5]
            places.ini(place, f"[{name}]\nRunner = m.C\n[{name}{name}]\nTaskList = m.D\n")
        registry = places.registry()
        assert ["a", "b", "c"] == names(registry, "runner", "m.C")
        assert ["aa", "bb", "cc"] == names(registry, "handler", "m.D")

    def test_an_unknown_name(self, places: Places) -> None:
        """The error lists the names of that kind, and the closest."""
        places.ini("cwd/my.ini", "[mcd-runner]\nRunner = m.C\n[digi]\nTaskList = m.D\n")
        with pytest.raises(UnknownName) as caught:
            places.registry().runner("mcd_runner")
        assert {"default", "shell", "mcd-runner"} <= {*caught.value.known}
        assert "digi" not in caught.value.known
        assert "Did you mean 'mcd-runner'?" in str(caught.value)

    def test_a_name_of_the_other_kind(self, places: Places) -> None:
        """Who takes a handler for a runner, or the other way round, is told what it is, and the option for it."""
        places.ini("cwd/my.ini", "[mine]\nTaskList = m.D\n")
        for name in ("template", "mine"):
            with pytest.raises(UnknownName) as caught:
                places.registry().runner(name)
            assert f"there is no runner named {name!r}. It is a handler: -t {name}. Known: " in str(caught.value)
            assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
        with pytest.raises(UnknownName, match=r"'python'\. It is a runner: -r python\. Known: "):
            places.registry().handler("python")

    def test_an_unknown_name_where_a_file_cannot_be_read(self, places: Places) -> None:
        """The name may be in the unreadable file, so the error says so, and lists the known names all the same."""
        places.ini("cwd/fine.ini", "[fine]\nRunner = m.C\n").with_name("my.ini").symlink_to("/proc/self/mem")
        registry = Registry.read(places.home, places.cwd, lambda path, status: None)
        with pytest.raises(DefinitionError) as caught:
            registry.runner("mine")
        expected = (
            f"{places.cwd}/my.ini: cannot be read (Input/output error), and elsewhere there is no runner named 'mine'"
        )
        assert str(caught.value).startswith(expected)
        assert "Known: container, default, fine, " in str(caught.value)

    @pytest.mark.parametrize(
        ("keys", "hint"),
        [
            ("Runer = m.C", "did you mean Runner?"),
            ("image = x\nrunner = m.C", "did you mean Runner?"),
            ("Tasklst = m.C", "did you mean TaskList?"),
            ("image = x", "write: Runner = module.Class, or the name of a built-in runner"),
        ],
    )
    def test_a_section_without_the_key_that_decides(self, places: Places, keys: str, hint: str) -> None:
        """Who asks for it by name is told its place, and the key that was meant; others are told nothing of it."""
        places.ini("cwd/a.ini", f"[fast]\n{keys}\n")
        with pytest.raises(DefinitionError) as caught:
            places.registry().runner("fast")
        assert f"{places.cwd}/a.ini, line 1: [fast] has neither Runner nor TaskList; {hint}" == str(caught.value)
        with pytest.raises(UnknownName) as unknown:
            places.registry().runner("slow")
        assert "fast" not in str(unknown.value)

    def test_a_section_without_the_key_hides_no_definition(self, places: Places) -> None:
        """The name counts where it is defined, in whatever file that is."""
        places.ini("cwd/a.ini", "[fast]\nRunner_ = m.C\n")
        places.ini("cwd/b.ini", "[fast]\nRunner = m.D\n")
        assert "m.D" == places.registry().definition("runner", "fast").target

    def test_an_unknown_name_beside_broken_files(self, places: Places) -> None:
        """A file whose header is broken may define the name; so it is named with its line, as are two others."""
        places.ini("cwd/d.ini", "[fast4\nRunner = m.C\n")
        with pytest.raises(UnknownName) as caught:
            places.registry().runner("fast4")
        fault = f"{places.cwd}/d.ini, line 1: is neither [name] nor key = value; correct it, or put # before it"
        assert str(caught.value).endswith(f", shell. Could not be read: {fault}.")
        assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
        for name in "efgh":
            places.ini(f"cwd/{name}.ini", b"[other]\n\xff\n")
        with pytest.raises(UnknownName) as caught:
            places.registry().runner("fast4")
        assert "/f.ini, line 2: not UTF-8; save the file as UTF-8; and 2 more." in str(caught.value)
        assert "/g.ini" not in str(caught.value)

    def test_without_a_home(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        """A home directory that is not an absolute path is none: it would lie below the current directory."""
        places.ini("cwd/~/.pytaskfarmer/runners.d/my.ini", "[default]\nRunner = m.C\n")
        monkeypatch.chdir(places.cwd)
        assert BUILT_IN["runner"]["default"] == Registry.read("~").definition("runner", "default").target


class TestPrecedence:
    def test_home_comes_before_all(self, places: Places) -> None:
        """The user's own definition counts, also of `default`."""
        places.ini("home/runners.d/a.ini", "[default]\nRunner = m.Home\n")
        places.ini("cwd/b.ini", "[default]\nRunner = m.Here\n")
        assert "m.Home" == places.registry().definition("runner", "default").target

    def test_the_current_directory_cannot_redefine_a_built_in_name(self, places: Places) -> None:
        """A file in the current directory that defines `default` changes nothing, and a note says so."""
        places.ini("cwd/b.ini", "[default]\nRunner = m.Here\n")
        registry = places.registry()
        assert BUILT_IN["runner"]["default"] == registry.definition("runner", "default").target
        (note,) = registry.notes("runner", "default")
        assert note.startswith(
            f"{places.cwd}/b.ini, line 1: this runner 'default' is not used, since pytaskfarmer itself"
        )

    def test_the_current_directory_cannot_redefine_a_name_of_the_home(self, places: Places) -> None:
        """A name from the home directory is what the user said there, and a note says so."""
        places.ini("home/tasklists.d/a.ini", "[digi]\nTaskList = m.Home\n")
        places.ini("cwd/b.ini", "[digi]\nTaskList = m.Here\n")
        registry = places.registry()
        assert "m.Home" == registry.definition("handler", "digi").target
        (note,) = registry.notes("handler", "digi")
        assert f"{places.home}/.pytaskfarmer/tasklists.d/a.ini, line 1 comes first" in note

    def test_of_two_files_in_one_directory_the_first_counts(self, places: Places) -> None:
        """By the order of file names, not of the directory; a note names the other."""
        places.ini("cwd/b.ini", "[x]\nRunner = m.B\n")
        places.ini("cwd/a.ini", "[x]\nRunner = m.A\n")
        registry = places.registry()
        assert "m.A" == registry.definition("runner", "x").target
        assert 1 == len(registry.notes("runner", "x"))

    def test_a_copy_is_not_worth_a_note(self, places: Places) -> None:
        """A second definition with the same class and options makes no difference, hence no words."""
        places.ini("home/runners.d/a.ini", "[x]\nRunner = m.A\ny = 1\n")
        places.ini("cwd/a.ini", "\n[x]\nRunner: m.A\ny: 1\n")
        assert () == places.registry().notes("runner", "x")

    def test_the_kinds_do_not_mix(self, places: Places) -> None:
        """A handler takes no name from a runner."""
        places.ini("home/runners.d/a.ini", "[x]\nRunner = m.A\n")
        places.ini("cwd/a.ini", "[x]\nTaskList = m.B\n")
        registry = places.registry()
        assert "m.B" == registry.definition("handler", "x").target
        assert () == registry.notes("handler", "x")

    def test_a_broken_definition_does_not_uncover_another(self, places: Places) -> None:
        """Where the first file with the name is broken, the next one is not run in its place."""
        places.ini("home/runners.d/a.ini", "[x]\nRunner = m.A\nnonsense\n")
        places.ini("cwd/a.ini", "[x]\nRunner = m.B\n")
        with pytest.raises(DefinitionError, match=r"runners\.d/a\.ini, line 3: is neither"):
            places.registry().runner("x")


class TestBadFiles:
    def test_a_malformed_file_that_defines_the_name(self, places: Places) -> None:
        """The error names file and line."""
        places.ini("cwd/my.ini", "[mine]\nRunner = m.C\nnonsense\n")
        with pytest.raises(DefinitionError) as caught:
            places.registry().runner("mine")
        expected = f"{places.cwd}/my.ini, line 3: is neither [name] nor key = value; correct it, or put # before it"
        assert expected == str(caught.value)

    def test_a_malformed_file_nobody_asked_for(self, places: Places, module: Module) -> None:
        """Other names, built-in or defined in other files, are there as if the file were not."""
        places.ini("cwd/bad.ini", b"\xff\xfe nonsense [x\n[other]\nRunner = m.C\n")
        places.ini("cwd/good.ini", f"[mine]\nRunner = {module(RUNNER)}.Fine\nsetup = 100 %\n")
        registry = places.registry()
        assert {"setup": "100 %"} == options(registry.runner("mine"))
        assert "pytaskfarmer.handlers.lines.Lines" == class_of(registry.handler("default"))

    def test_a_file_that_others_can_write_to(self, places: Places, module: Module) -> None:
        """Its class is not even imported, and the error says what to do."""
        name = module("raise SystemExit('imported')")
        places.ini("cwd/my.ini", f"[mine]\nRunner = {name}.C\n").chmod(0o666)
        with pytest.raises(DefinitionError, match=r"my\.ini: not trusted, .* chmod go-w "):
            places.registry().runner("mine")
        assert name not in sys.modules

    def test_a_file_of_another_user(self, places: Places) -> None:
        """What the caller's rule says about a file is said to whoever asks for a name in it."""
        places.ini("cwd/my.ini", "[mine]\nRunner = m.C\n")
        registry = Registry.read(places.home, places.cwd, lambda path, status: "not trusted, for a test")
        with pytest.raises(DefinitionError, match=r"my\.ini: not trusted, for a test"):
            registry.runner("mine")
        assert "pytaskfarmer.runners.shell.Shell" == class_of(registry.runner("default"))


class TestOptions:
    def test_options_come_from_the_definition(self, places: Places, module: Module) -> None:
        """All keys but the class are given to the constructor, as text, with their case."""
        places.ini("cwd/my.ini", f"[mine]\nRunner = {module(RUNNER)}.Fine\nmaxEvents = 10\ntempdir: True\n")
        assert {"maxEvents": "10", "tempdir": "True"} == options(places.registry().runner("mine"))

    def test_options_of_the_caller_come_first(self, places: Places, module: Module) -> None:
        """An option of the caller replaces the definition's, which stays as it was for the next."""
        places.ini("cwd/my.ini", f"[mine]\nRunner = {module(RUNNER)}.Fine\na = 1\nb = 1\n")
        registry = places.registry()
        assert {"a": "1", "b": "2", "c": "2"} == options(registry.runner("mine", {"b": "2", "c": "2"}))
        assert {"a": "1", "b": "1"} == options(registry.runner("mine"))

    def test_an_unknown_option_lists_those_that_there_are(self, places: Places, module: Module) -> None:
        """A misspelt key is named, together with the options of the class."""
        name = module("class C:\n def __init__(self, image, *, setup=''): pass\n def command(self): pass\n")
        expected = "there is no option 'imgae'. Did you mean 'image'? Its options: image, setup."
        assert expected == complaint(places, f"{name}.C", "imgae = x\n")

    def test_an_option_for_a_class_without_any(self, places: Places) -> None:
        """The default handler takes no options, and says so."""
        with pytest.raises(DefinitionError) as caught:
            places.registry().handler("lines", {"skip": "3"})
        assert "-T skip=3: handler 'lines': there is no option 'skip'. It takes no options." == str(caught.value)

    def test_a_missing_option(self, places: Places, module: Module) -> None:
        """An option without a default that is not given is named."""
        name = module("class C:\n def __init__(self, image, setup=''): pass\n def command(self): pass\n")
        expected = "the option 'image' is missing. Its options: image, setup."
        assert expected == complaint(places, f"{name}.C", "setup = x\n")

    def test_a_value_that_cannot_be_used(self, places: Places, module: Module) -> None:
        """What the constructor says in its ValueError is what the user reads."""
        name = module("class C:\n def __init__(self, n): raise ValueError('n: a number')\n def command(self): pass\n")
        assert "n: a number" == complaint(places, f"{name}.C", "n = x\n")


class TestClasses:
    def test_a_module_that_is_not_there(self, places: Places) -> None:
        """The error names the first part of the path that is missing, and where modules are looked for."""
        text = complaint(places, "no_such_package.sub.C")
        assert "there is no module 'no_such_package' on Python's import path" in text
        assert "PYTHONPATH" in text

    @pytest.mark.parametrize(
        ("target", "hint"),
        [
            ("pytaskfarmer.runners.shel.Shell", "Did you mean shell? "),
            ("pytaskfarmer.runners.pyhton.Python", "Did you mean python? "),
            ("pytaskfarmer.x.y", ""),
        ],
    )
    def test_a_misspelt_class_of_ours(self, places: Places, target: str, hint: str) -> None:
        """The closest built-in name is offered, and nobody is told to install what is installed."""
        module_name = target.rpartition(".")[0]
        expected = f"there is no module {module_name!r}. {hint}Built in: {', '.join(BUILT_IN['runner'])}"
        assert expected == complaint(places, target)

    def test_a_module_beside_the_file_is_not_imported(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the INI file's directory nor the current one is searched beyond what Python searches anyway."""
        places.ini("cwd/module_beside.py", RUNNER)
        monkeypatch.chdir(places.cwd)
        assert "there is no module 'module_beside'" in complaint(places, "module_beside.Fine")

    @pytest.mark.parametrize("target", ["Fine", "os.", ".Fine", ":Fine", "os:"])
    def test_a_target_that_is_no_dotted_name(self, places: Places, target: str) -> None:
        """A class is written with its module."""
        expected = (
            f"{target!r} is neither of the form module.Class nor a built-in runner ({', '.join(BUILT_IN['runner'])})"
        )
        assert expected == complaint(places, target)

    def test_both_ways_to_write_a_class(self, places: Places, module: Module) -> None:
        """`module:Class` is `module.Class`."""
        name = module(RUNNER)
        places.ini("cwd/my.ini", f"[a]\nRunner = {name}.Fine\n[b]\nRunner = {name}:Fine\n")
        registry = places.registry()
        assert type(registry.runner("a")) is type(registry.runner("b"))

    @pytest.mark.parametrize("attribute", ["Missing", "number"])
    def test_a_class_that_is_not_there(self, places: Places, module: Module, attribute: str) -> None:
        """A name that the module does not have, or that is something else, is named with the module's file."""
        name = module("number = 3\n")
        text = complaint(places, f"{name}.{attribute}")
        assert text.startswith(f"module {name!r} (")
        assert text.endswith(f"{name}.py) has no class {attribute!r}; correct the name")

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ("\nraise RuntimeError('first\\nsecond')", "RuntimeError: first ({file}, line 2)"),
            ("import sys\nsys.exit(3)", "SystemExit: 3 ({file}, line 2)"),
            ("raise BaseException", "BaseException ({file}, line 1)"),
            ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency' ({file}, line 1)"),
            ("raise ImportError('half', name=__name__)", "ImportError: half ({file}, line 1)"),
            ("\nclass\n", "SyntaxError: invalid syntax ({name}.py, line 2)"),
        ],
    )
    def test_a_module_that_raises(self, places: Places, module: Module, source: str, told: str) -> None:
        """Whatever the import raises, SystemExit included, is told in one line with its place."""
        name = module(source)
        file = places.root / "importable" / f"{name}.py"
        expected = f"importing {name!r} failed with {told.format(file=file, name=name)}; "
        expected += f"`python3 -c 'import {name}'` shows more"
        assert expected == complaint(places, f"{name}.C")

    @pytest.mark.parametrize(
        ("raised", "told"),
        [
            ("KeyError('HOME')", "KeyError: 'HOME'"),
            ("SystemExit", "SystemExit"),
            ("TypeError('inside')", "TypeError: inside"),
            ("ValueError", "ValueError"),
        ],
    )
    def test_a_constructor_that_raises(self, places: Places, module: Module, raised: str, told: str) -> None:
        """Anything but a ValueError with words is told with its type and place."""
        name = module(f"class C:\n def __init__(self): raise {raised}\n def command(self): pass\n")
        file = places.root / "importable" / f"{name}.py"
        assert f"its constructor failed with {told} ({file}, line 2)" == complaint(places, f"{name}.C")

    def test_an_interrupt_is_not_an_error_of_the_class(self, places: Places, module: Module) -> None:
        """Control-C during a slow import stops the program."""
        places.ini("cwd/my.ini", f"[mine]\nRunner = {module('raise KeyboardInterrupt')}.C\n")
        with pytest.raises(KeyboardInterrupt):
            places.registry().runner("mine")

    @pytest.mark.parametrize(
        ("kind", "lacks"),
        [
            ("runner", "it has neither a method 'command' nor 'worker'; add one of them"),
            ("handler", "it has no method 'tasks'; add it"),
        ],
    )
    @pytest.mark.parametrize("what", ["class", "function"])
    def test_an_object_without_the_method(
        self, places: Places, module: Module, kind: str, lacks: str, what: str
    ) -> None:
        """A class, or what a function makes, that has not the method of its kind is refused before it is used."""
        name = module("class C:\n def __init__(self, path): pass\n" if what == "class" else "def C(): return 3\n")
        assert f"{name}.C is no {kind}, since {lacks}" == complaint(places, f"{name}.C", kind=kind)

    def test_a_runner_of_workers(self, places: Places, module: Module) -> None:
        """A class with `worker`, `request` and the two numbers is a runner, without a method `command`."""
        name = module(WORKER_RUNNER)
        places.ini("cwd/my.ini", f"[mine]\nRunner = {name}.Warm\n")
        assert f"{name}.Warm" == class_of(places.registry().runner("mine"))

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("concurrency = 0", "concurrency is 0; it must be a whole number above 0"),
            ("concurrency = '3'", "concurrency is '3'; it must be a whole number above 0"),
            ("concurrency = None", "concurrency is None; it must be a whole number above 0"),
            ("max_tasks = 0", "max_tasks is 0; it must be a whole number above 0, or None"),
            ("max_tasks = 2.0", "max_tasks is 2.0; it must be a whole number above 0, or None"),
        ],
    )
    def test_numbers_that_no_farmer_can_count_with(self, places: Places, module: Module, line: str, told: str) -> None:
        """A runner of workers whose numbers are none is refused before anything is started."""
        name = module(WORKER_RUNNER.replace("def worker", f"    self.{line}\n        def worker"))
        assert f"{name}.Warm: {told}" == complaint(places, f"{name}.Warm")

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("def request(self, task, context): ...", "{} is no runner, since it has no method 'request'; add it"),
            ("self.concurrency = 1", "{} has a method 'worker', but no attribute 'concurrency'; set it in the constr"),
            ("self.max_tasks = None", "{} has a method 'worker', but no attribute 'max_tasks'; set it in the constr"),
        ],
    )
    def test_half_a_runner_of_workers(self, places: Places, module: Module, line: str, told: str) -> None:
        """What a class with a method `worker` lacks to be a runner is named."""
        assert line in WORKER_RUNNER
        name = module(WORKER_RUNNER.replace(line, "pass"))
        assert complaint(places, f"{name}.Warm").startswith(told.format(f"{name}.Warm"))

    def test_only_the_class_asked_for_is_imported(self, places: Places, module: Module) -> None:
        """A definition whose module would end the program does no harm while nobody asks for it."""
        fine, fatal = module(RUNNER), module("raise SystemExit")
        places.ini("cwd/my.ini", f"[a]\nRunner = {fatal}.C\n[b]\nRunner = {fine}.Fine\n[c]\nTaskList = {fatal}.C\n")
        registry = places.registry()
        registry.runner("b")
        assert {"a", "b"} <= {definition.name for definition in registry.known("runner").entries}
        assert fatal not in sys.modules


class TestWrittenFor010:
    @pytest.mark.parametrize("source", ["from taskfarmer.runners import Runner", "import taskfarmer"])
    def test_a_module_that_needs_it(self, places: Places, module: Module, source: str) -> None:
        """A module that imports the old package is told what it was written for, and where the contract is."""
        name = module(source)
        text = complaint(places, f"{name}.C")
        assert text.startswith(f"{name}.C was written for PyTaskFarmer 0.1.0's own base classes")
        assert text.endswith("; see the manual, 'Migrating from PyTaskFarmer'")

    def test_a_class_of_its_own_that_is_not_known(self, places: Places) -> None:
        """So is a definition that names a class of the old package."""
        expected = "taskfarmer.runners.Unheard was written for PyTaskFarmer 0.1.0's own base classes"
        assert complaint(places, "taskfarmer.runners.Unheard").startswith(expected)

    def test_where_it_is_installed(self, places: Places, importable: Path, module: Module) -> None:
        """With the old package installed, a class derived from its base classes is still recognised."""
        (importable / "taskfarmer.py").write_text("class Runner: pass\n")
        name = module("import taskfarmer\nclass C(taskfarmer.Runner):\n def __init__(self, image): pass\n")
        assert "was written for PyTaskFarmer 0.1.0" in complaint(places, f"{name}.C")


def test_start_up_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """Loading the default runner and handler without INI files imports neither a parser nor a metadata scanner."""
    program = """\
import sys
from pytaskfarmer.plugins.registry import Registry, describe
assert not any(name.startswith(("pytaskfarmer.runners", "pytaskfarmer.handlers")) for name in sys.modules)
registry = Registry.read()
registry.runner("default"), registry.handler("default")
print({"configparser", "importlib.metadata"} & {*sys.modules})
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "set()\n" == ran.stdout
