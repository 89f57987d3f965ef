"""The events of the scan: the columns of their file, and how it is read."""

from pathlib import Path

from pytaskfarmer.runners.cut_scan import TRUTH, VARIABLES
from pytaskfarmer.runners.tables import DatasetError, Table, read_csv

HEADER = ("", VARIABLES[0], "NvtxReco", "p_nTracks", *VARIABLES[1:], TRUTH)


def read_events(path: Path) -> Table:
    """Read what the scan needs of a file. Raises DatasetError."""
    _check_header(path)
    return read_csv(path, (*VARIABLES, TRUTH), finite=True)


def _check_header(path: Path) -> None:
    """The reader would take any file that has these columns; this example's files have all of them, in this order."""
    with path.open("rb") as lines:
        filled = ((number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip())
        number, header = next(filled, (0, b""))
    if header and header.decode("utf-8", "replace").split(",")[1:] != list(HEADER[1:]):
        raise DatasetError(path, number, f"expected the header line {','.join(HEADER)}")
