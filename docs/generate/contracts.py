"""What a private base class says is part of the contract of the public class that derives from it."""

from sphinx.application import Sphinx


def _with_base(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    if isinstance(thing, type):
        for base in thing.__bases__:
            if base.__module__.startswith("pytaskfarmer.") and base.__name__.startswith("_"):
                lines += ["", *(base.__doc__ or "").splitlines()[2:]]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("autodoc-process-docstring", _with_base)
    return {"parallel_read_safe": True}
