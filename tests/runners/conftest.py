"""What the tests of runners share."""

from pathlib import Path

import pytest
from shell_stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
