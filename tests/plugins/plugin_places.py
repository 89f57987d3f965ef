"""A home and a current directory with INI files in them."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from pytaskfarmer.plugins.registry import Registry


@dataclass(frozen=True)
class Places:
    """A home and a current directory below a temporary one."""

    root: Path

    @property
    def home(self) -> str:
        """The home directory."""
        return str(self.root / "home")

    @property
    def cwd(self) -> str:
        """The current directory, in which no test need be."""
        return str(self.root / "cwd")

    def ini(self, place: str, text: str | bytes) -> Path:
        """Write a file; `place` is like `cwd/a.ini` or `home/runners.d/a.ini`."""
        path = self.root / place.replace("home/", "home/.pytaskfarmer/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        path.chmod(0o644)
        return path

    def registry(self) -> Registry:
        """Return all names, read now."""
        return Registry.read(self.home, self.cwd)
