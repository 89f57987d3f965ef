"""A batch system's own programs, run to their end with patience, and their failures in one line."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytaskfarmer.cluster.contract import PATIENCE, BatchError


class Answer(NamedTuple):
    """What a program said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said on stderr, or else on stdout, in one line."""
        return " ".join((self.err.strip() or self.out.strip()).split()) or f"exit status {self.status}, no words"


def ask(
    words: Sequence[str], environ: Mapping[str, str] | None = None, stdin: str = "", patience: float = PATIENCE
) -> Answer:
    """Run a program and return its answer. Raises `BatchError` if it cannot be run, or does not end."""
    try:
        ended = subprocess.run(
            words,
            input=stdin,
            env=environ,
            capture_output=True,
            timeout=patience,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except subprocess.TimeoutExpired:
        raise BatchError(
            f"{words[0]} did not answer within {patience:.0f} s; whether it was obeyed, only the batch system knows."
        ) from None
    except FileNotFoundError:
        raise BatchError(
            f"{words[0]} is not on PATH. Where jobs can be submitted, such as on a login node, it is; perhaps after "
            "`module load`."
        ) from None
    except OSError as error:
        raise BatchError(f"{words[0]}: {error.strerror}.") from None
    return Answer(ended.returncode, ended.stdout, ended.stderr)
