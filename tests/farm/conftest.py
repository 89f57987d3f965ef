"""What the tests of farming share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from farm_driver import Farm


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Return a farm whose farmers are killed at the end of the test, if they still run."""
    farm = Farm(tmp_path)
    yield farm
    farm.end()
