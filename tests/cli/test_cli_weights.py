"""`mezzotint weights fetch | verify`."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.evaluation.extractors.inception import Inception
from mezzotint.evaluation.weights import Published

CONTENT = b"not really weights"


def weights(*words: object) -> Result:
    return CliRunner().invoke(app, ["weights", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, and an address from which Inception's weights can be fetched without a network."""
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path))
    monkeypatch.delenv("MEZZOTINT_WEIGHTS", raising=False)
    source = tmp_path / "source" / "w.pth"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    file = Published("w.pth", hashlib.sha256(CONTENT).hexdigest(), source.as_uri())
    monkeypatch.setattr(Inception, "published", {"inception": (file,)})
    return tmp_path / "weights"


def test_fetch_lists_fetches_and_finds(folder: Path) -> None:
    assert "inception" in weights("fetch").stdout
    assert weights("fetch").stdout.count("absent") == len(weights("fetch").stdout.splitlines())
    for _ in range(2):
        found = weights("fetch", "inception")
        assert found.exit_code == 0, found.output
        assert found.stdout == f"inception: {folder / 'w.pth'}\n"
    assert str(folder / "w.pth") in weights("fetch").stdout


def test_verify_tells_ok_wrong_and_absent(folder: Path) -> None:
    assert weights("verify", "inception").stdout == "inception: absent\n"
    weights("fetch", "inception")
    right = weights("verify")
    assert right.exit_code == 0
    assert f"inception: ok  {folder / 'w.pth'}  {hashlib.sha256(CONTENT).hexdigest()}" in right.stdout
    assert "dinov2-large: absent" in right.stdout
    (folder / "w.pth").write_bytes(b"changed")
    wrong = weights("verify", "inception")
    assert wrong.exit_code == 2
    assert f"inception: wrong  {folder / 'w.pth'}  {hashlib.sha256(b'changed').hexdigest()}" in wrong.stdout
    assert wrong.stderr.count("\n") == 1


def test_verify_as_json(folder: Path) -> None:
    absent = {"name": "inception", "state": "absent", "path": None, "sha256": None}
    assert json.loads(weights("verify", "inception", "--json").stdout) == absent
    weights("fetch", "inception")
    found = [json.loads(line) for line in weights("verify", "--json").stdout.splitlines()]
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert {"name": "inception", "state": "ok", "path": str(folder / "w.pth"), "sha256": digest} in found
    assert len(found) > 1


def test_a_wrong_download_and_an_unknown_name_are_bad_input(folder: Path) -> None:
    (folder.parent / "source" / "w.pth").write_bytes(b"changed")
    wrong = weights("fetch", "inception")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "wrong weights file, SHA-256" in wrong.stderr
    assert list(folder.iterdir()) == []
    unknown = weights("fetch", "dinov2")
    assert unknown.exit_code == 2
    assert "did you mean dinov2-" in unknown.stderr
