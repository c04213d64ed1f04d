"""`mlops sign`: bundles of before the key was set are signed once somebody said that they are ours."""

from pathlib import Path

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.cli.app import app
from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.state.bundles import Bundles
from mlops_assets.state.manifest import MODEL
from mlops_assets.state.objects import Folder
from mlops_assets.state.workspace import Workspace
from tests.tiny_bundle import deploy_tiny

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state with version 7, which nobody signed."""
    deploy_tiny(Workspace(tmp_path / "home").of(flight_delay), 7)
    return tmp_path / "home"


def sign(folder: Path) -> None:
    app(["sign", "flight_delay", "7", "--home", str(folder)], result_action="return_value")


def opened_with_the_key(folder: Path) -> int:
    return Bundles(Folder(folder), "flight_delay", approval_key=KEY).open(7).manifest.version


def test_a_signed_version_opens_with_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_APPROVAL_KEY", KEY)

    sign(folder)

    assert opened_with_the_key(folder) == 7


def test_a_damaged_version_is_not_signed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_APPROVAL_KEY", KEY)
    (folder / "bundles" / "flight_delay" / "7" / MODEL).write_bytes(b"damaged")

    with pytest.raises(BundleError, match="is damaged"):
        sign(folder)
    with pytest.raises(BundleError, match="is not signed"):
        opened_with_the_key(folder)


def test_nothing_is_signed_without_a_key(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLOPS_APPROVAL_KEY", raising=False)

    with pytest.raises(DeclarationError, match="MLOPS_APPROVAL_KEY is not set"):
        sign(folder)
