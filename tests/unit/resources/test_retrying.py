"""A step is repeated after what lies outside of us, and after nothing else."""

import sqlite3
from collections.abc import Callable, Iterator

import dagster as dg
import httpx
import pytest
from mlflow.exceptions import MlflowException

from mlops_assets.errors import ContractBroken, GateFailed, SourceError, StoreError
from resources.retrying import is_transient, retrying


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SourceError("the source cannot be read"), True),
        (StoreError("no answer"), True),
        (OSError(28, "No space left on device"), True),
        (ConnectionRefusedError(), True),
        (httpx.ConnectError("refused"), True),
        (sqlite3.OperationalError("database is locked"), True),
        (MlflowException("API request failed"), True),
        (GateFailed("0.59 < 0.6"), False),
        (ContractBroken("columns are missing"), False),
        (KeyError("a mistake"), False),
        (sqlite3.IntegrityError("twice"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_errors_pass_by_themselves(error: Exception, expected: bool):
    assert is_transient(error) is expected


def an_asset(failures: list[Exception]) -> Callable[..., object]:
    def compute(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        if failures:
            raise failures.pop()
        return dg.MaterializeResult(metadata={"retry": context.retry_number})

    return compute


def a_generator(failures: list[Exception]) -> Callable[..., object]:
    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        if failures:
            raise failures.pop()
        yield dg.MaterializeResult(metadata={"retry": context.retry_number})

    return compute


NO_WAITS = (0.0, 0.0, 0.0)


@pytest.mark.parametrize("made", [an_asset, a_generator])
def test_a_step_goes_on_after_an_outage(made: Callable[[list[Exception]], Callable[..., object]]):
    asset = dg.asset(name="made")(retrying(made([StoreError("down")] * 2), NO_WAITS))

    result = dg.materialize([asset])

    (event,) = result.get_asset_materialization_events()
    assert event.step_materialization_data.materialization.metadata["retry"].value == 2


@pytest.mark.parametrize("made", [an_asset, a_generator])
def test_an_outage_that_lasts_fails_the_step_with_its_own_words(
    made: Callable[[list[Exception]], Callable[..., object]],
):
    asset = dg.asset(name="made")(retrying(made([StoreError("down")] * 4), NO_WAITS))

    result = dg.materialize([asset], raise_on_error=False)

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert error.cause.message == "mlops_assets.errors.StoreError: down\n"


@pytest.mark.parametrize("made", [an_asset, a_generator])
def test_what_another_attempt_does_not_change_fails_at_once(
    made: Callable[[list[Exception]], Callable[..., object]],
):
    failures: list[Exception] = [GateFailed("0.58 < 0.6"), GateFailed("0.59 < 0.6")]
    asset = dg.asset(name="made")(retrying(made(failures), NO_WAITS))

    with pytest.raises(GateFailed, match=r"0\.59"):
        dg.materialize([asset])

    assert len(failures) == 1
