import shutil
from pathlib import Path

import pytest


@pytest.fixture
def output(trained, tmp_path) -> Path:
    """A copy of the finished run of 6 steps."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
