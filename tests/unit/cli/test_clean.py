"""`mlops clean`: what it would remove, and what it removes."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.cli.command import main
from mlops_assets.state.workspace import ProductState, Workspace

OLD, NEW = (f"shadow/{flight_delay.name}/{day}/a.parquet" for day in ("2013-07-01", "2999-07-01"))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    former = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductState:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    state = Workspace(tmp_path).of(flight_delay)
    for name in (OLD, NEW):
        state.workspace.objects.put(name, b"1")
    return state


def clean(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mlops", "clean", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def test_a_dry_run_says_what_would_go_and_the_run_after_it_removes_that(
    state: ProductState, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean(monkeypatch, "flight_delay", "--dry-run") == 0
    said = capsys.readouterr().out
    assert state.workspace.objects.names("") == [OLD, NEW]
    assert "flight_delay: would be removed" in said
    (row,) = (line for line in said.splitlines() if "shadow" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["shadow", "90 days", "1", "2013-07-01", "2013-07-01"]

    assert clean(monkeypatch, "flight_delay") == 0
    assert "flight_delay: removed" in capsys.readouterr().out
    assert state.workspace.objects.names("") == [NEW]


def test_what_the_installation_keeps_for_ever_stays(
    state: ProductState, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_KEEP", "shadow:none")

    assert clean(monkeypatch, "flight_delay") == 0

    assert state.workspace.objects.names("") == [OLD, NEW]
    assert "for ever" in capsys.readouterr().out


def test_a_product_that_does_not_exist_is_one_sentence(
    state: ProductState, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean(monkeypatch, "flight_dely") == 1

    assert "Did you mean 'flight_delay'?" in capsys.readouterr().err
