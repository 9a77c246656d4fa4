"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("mezzotint", deadline=None)  # how long an example takes depends on who else is computing
settings.load_profile("mezzotint")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real images and weights for development; skips where it is absent."""
    folder = (ROOT / os.environ.get("MEZZOTINT_TEST_DATA", "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"no development data at {folder} (set MEZZOTINT_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
