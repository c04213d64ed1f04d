"""A workspace hands out one state for each product, so that what was read of it is read once."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.objects import Folder
from mlops_assets.state.workspace import Workspace


@dataclass(frozen=True)
class WatchedFolder(Folder):
    got: list[str] = field(default_factory=list)

    def get(self, name: str) -> bytes | None:
        self.got.append(name)
        return super().get(name)


@dataclass(frozen=True)
class WatchedWorkspace(Workspace):
    @cached_property
    def objects(self) -> WatchedFolder:  # type: ignore[override]
        return WatchedFolder(Path(self.url))


def test_a_product_has_one_state_and_another_product_of_its_name_another_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    assert workspace.of(flight_delay) is workspace.of(flight_delay)
    changed = replace(flight_delay, seed=8)
    assert workspace.of(changed).product is changed
    assert Workspace(tmp_path) == workspace


def test_of_a_ledger_that_was_read_only_its_newest_entry_is_read_again(tmp_path: Path) -> None:
    writer = Workspace(tmp_path).of(flight_delay).ledger
    for version in range(1, 6):
        at = datetime(2013, 7, version, tzinfo=UTC)
        writer.deploy(version, "2013-07-01", at, reason="a test", by="test", after=version - 1)
    workspace = WatchedWorkspace(tmp_path)
    workspace.of(flight_delay).ledger.history()
    workspace.objects.got.clear()  # type: ignore[attr-defined]

    history = workspace.of(flight_delay).ledger.history()

    assert [item.version for item in history] == [1, 2, 3, 4, 5]
    assert workspace.objects.got == ["ledger/flight_delay/000005.json"]  # type: ignore[attr-defined]
