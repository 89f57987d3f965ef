import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell_stage import Stage

# Nothing here may destroy, hang, or print what differs between two runs: no kill, no loops, no process ids, no times,
# and redirections only to names in the stage.
PROGRAMS = ["args", "./bin/args", "exit3", "noshebang", "nointerpreter", "ls", "cat", "printf", "head", "wc", "seq"]
NO_PROGRAMS = ["dir", "a.txt", "./a.txt", "nosuchprogram", "x=1", "%1", "1", "~", "_"]
BUILTINS = ["echo", ":", ".", "test", "cd", "pwd", "exec", "eval", "command", "builtin", "export", "umask", "exit"]
KEYWORDS = ["if", "then", "fi", "for", "in", "case", "esac", "function"]
ARGUMENTS = ["a", "b.txt", "a.txt", "1", "3", "-n", "--", "a=b", "../stage/dir", "%s", "@", "+", "a,b", "u@h:p", "/"]
ODD = [
    "'c d'", '"$HOME"', "$x", "${x:-y}", "$((1+2))", "$(pwd)", "`pwd`", "*", "?.txt", "[ab]*", "{a,b}", "~", "\\",
    "\\\\", "'", '"', "$", "#", "!", "(", ")", ">out", "<a.txt", "2>&1", "|", "||", "&&", ";", "<<<",
    "é", "\udcff", "\r", "^",
]  # fmt: skip

WORDS = st.sampled_from(PROGRAMS + NO_PROGRAMS + BUILTINS + KEYWORDS + ARGUMENTS)
PLAIN_LINES = st.builds(
    lambda first, rest, blank: blank.join([first, *rest]),
    st.sampled_from(PROGRAMS + NO_PROGRAMS + BUILTINS + KEYWORDS),
    st.lists(WORDS | st.text(string.ascii_letters + "0123456789_.:=@%+,-", min_size=1, max_size=3), max_size=4),
    st.sampled_from([" ", "  ", "\t"]),
)
ODD_PARTS = st.tuples(
    st.sampled_from(PROGRAMS) | WORDS | st.sampled_from(ODD),
    st.sampled_from(["", " ", " ", "\t"]),
)
ODD_LINES = (
    st.lists(ODD_PARTS, max_size=7)
    .map(lambda parts: "".join(word + blank for word, blank in parts))
    .filter(lambda line: "$$" not in line)
)

generated = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@generated
@given(PLAIN_LINES)
def test_a_line_of_plain_words_runs_as_under_bash(stage: Stage, line: str) -> None:
    """Whatever program, builtin, keyword or mistake a line of plain words begins with."""
    environment = stage.environment()

    assert stage.by_bash(line, environment).sorted() == stage.by_runner(line, environment).sorted()


@generated
@given(ODD_LINES)
def test_a_line_of_anything_runs_as_under_bash(stage: Stage, line: str) -> None:
    """Whatever a line is made of, quoted or not, complete or not."""
    environment = stage.environment()

    assert stage.by_bash(line, environment).sorted() == stage.by_runner(line, environment).sorted()
