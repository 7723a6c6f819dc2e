"""What several tests of evaluations share, since it takes seconds to make."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_run import drawn, evaluated, networks

from i2am.evaluation.run_folder import RunFolder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of drawn pairs."""
    return drawn(tmp_path_factory.mktemp("drawn") / "data")


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name small networks."""
    return networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def whole(data: Path, given: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run over both kinds of pairs that was never stopped."""
    return evaluated(data, tmp_path_factory.mktemp("whole") / "out", *given)
