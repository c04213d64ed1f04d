"""Fills a state with the past of a product, by the writers of the platform; what the newest week reads is made for real."""

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise

import dagster as dg
import msgspec
import polars as pl

from benchmarks.growth_parts.parcels import ROWS, TRAINED_WEEKS, parcels_of
from mlops_assets.data.labels import known_labels
from mlops_assets.features.build import build_features
from mlops_assets.features.golden import Golden
from mlops_assets.inference.batch import predict_period
from mlops_assets.products.periods import Period
from mlops_assets.products.policy import Action
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.records.record import Record
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.label_log import COLUMNS as LABEL_COLUMNS
from mlops_assets.state.manifest import GOLDEN
from mlops_assets.state.prediction_log import log_columns
from mlops_assets.state.sealed import seal
from mlops_assets.state.spool import empty_rows
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.build import Trained, train
from mlops_assets.training.recipe import recipe_key
from mlops_assets.training.register import manifest_of
from mlops_assets.training.window import load_training_set
from resources.asset_parts import key_of
from sensors.runs import CAUSE, WHAT

READINGS: tuple[type[Record], ...] = (DriftRecord, PerformanceRecord, StalenessRecord, ProbationRecord, DriftDecision)
SEGMENTS = 1  # of the prediction log, for each week
TOLD_SHARE = 20  # of so many predictions a client tells the outcome of one
OLD_ROWS = 50  # a partition that nobody reads any more is as good as a large one
Told = Callable[[str], None]


def weeks_before(state: ProductState, key: str) -> list[Period]:
    """Of the product, oldest first."""
    return list(state.product.period.ended_by(state.product.period.at(key).start))


def fill_tables(state: ProductState, key: str, told: Told) -> None:
    """Source, features and labels of every week before `key`: real ones where they are read, else a few rows of a real one."""
    before = weeks_before(state, key)
    read = before[-TRAINED_WEEKS - 1 :]
    for earlier, period in pairwise([None, *read]):
        assert period is not None
        made = _tables(state, earlier, period)
        for table, rows in made.items():
            state.tables.write(table, period.key, rows)
    few = {table: rows.head(OLD_ROWS) for table, rows in made.items()}
    for number, period in enumerate(before[: -len(read)], 1):
        for table, rows in few.items():
            state.tables.write(table, period.key, rows)
        _say(told, "tables", number, len(before) - len(read))


def _tables(state: ProductState, earlier: Period | None, period: Period) -> dict[str, pl.DataFrame]:
    """Of one week, whose features look back to the one before."""
    rows = parcels_of(period, ROWS)
    seen = pl.concat([*([parcels_of(earlier, ROWS)] if earlier else []), rows])
    return {
        "raw": rows,
        "features": build_features(state.product, rows.lazy(), {"parcels": seen.lazy()}),
        "labels": known_labels(state.product, rows.lazy(), period.end + timedelta(days=30)),
    }


def train_once(state: ProductState, key: str) -> Trained:
    rows = load_training_set(state, key)
    state.tables.write("training_set", key, rows)
    return train(state.product, state.product.candidates[0], rows)


def fill_versions(state: ProductState, key: str, trained: Trained, told: Told) -> None:
    """A version and its deployment for every week up to `key`, all of one model."""
    product, weeks = state.product, [*weeks_before(state, key), state.product.period.at(key)]
    chosen = product.candidates[0]
    settings = chosen.name, chosen.estimator, dict(chosen.hyperparameters)
    recipe = Recipe(product.name, 1, *settings, "benchmark", "the only one", weeks[0].start)
    state.records.save(recipe_key(1), recipe)
    golden = Golden.record(product).pack()
    for version, period in enumerate(weeks, 1):
        manifest = manifest_of(product, trained, recipe, version, period.key, period.start, "0" * 16)
        state.bundles.write(
            msgspec.structs.replace(manifest, fitted_until=period.start - timedelta(days=8)),
            {**trained.files, GOLDEN: golden},
        )
        state.records.save(period.key, ModelRecord(version))
        facts = product.name, version, True, "automatic", period.start, "all gates passed", (), {}
        state.records.save(period.key, AcceptanceRecord(*facts, AcceptanceState.ACCEPTED))
        state.ledger.deploy(version, period.key, period.start, reason="gates passed", by="benchmark", after=version - 1)
        _say(told, "versions and deployments", version, len(weeks))


def fill_predictions(state: ProductState, key: str) -> None:
    """What was predicted in the weeks before `key`."""
    history = state.ledger.history()
    before = weeks_before(state, key)
    for period in before[-TRAINED_WEEKS:]:
        features = state.tables.read("features", [period.key])
        state.tables.write("predictions", period.key, predict_period(state, features, history))
    newest = state.tables.read("predictions", [before[-1].key]).head(OLD_ROWS)
    for period in before[:-TRAINED_WEEKS]:
        state.tables.write("predictions", period.key, newest)


def fill_logs(state: ProductState, key: str, rows_of_a_week: int, told: Told) -> int:
    """What the API answered and was told in every week up to `key`; returns how many answers."""
    product, weeks = state.product, [*weeks_before(state, key), state.product.period.at(key)]
    columns = log_columns(product)
    first = weeks[-1]
    answers = _answers(state, first, rows_of_a_week)
    outcomes = _outcomes(answers)
    clocks = [name for name, kind in answers.schema.items() if isinstance(kind, pl.Datetime)]
    label_clocks = [name for name, kind in outcomes.schema.items() if isinstance(kind, pl.Datetime)]
    objects = state.workspace.objects
    for number, period in enumerate(weeks, 1):
        back = period.start - first.start
        logged = answers.with_columns(pl.col(*clocks) + back, version=pl.lit(number, pl.Int64)).select(list(columns))
        for part in range(SEGMENTS):
            segment = f"host-1-{uuid.uuid4().hex[:16]}"
            seal(objects, f"predictions/{product.name}", segment, logged.gather_every(SEGMENTS, part), "served_at")
        labels = outcomes.with_columns(pl.col(*label_clocks) + back)
        seal(objects, f"labels/{product.name}", f"host-1-{uuid.uuid4().hex[:16]}", labels, "received_at")
        _say(told, "logs", number, len(weeks))
    return len(weeks) * rows_of_a_week


def _answers(state: ProductState, period: Period, count: int) -> pl.DataFrame:
    """The parcels of a week, asked for again and again."""
    parcels = parcels_of(period, ROWS)
    rows = parcels[[index % ROWS for index in range(count)]]
    step = (period.end - period.start) / count
    served = pl.Series([period.start + step * index for index in range(count)], dtype=pl.Datetime("us", "UTC"))
    logged = rows.select(
        "parcel",
        "depot",
        "weight",
        pl.col("accepted_at").alias("event_time"),
        "accepted_at",
        served.alias("served_at"),
        served.alias("received_at"),
        prediction=pl.lit(0.3),
        label=pl.lit("false"),
        depot_late_share=pl.lit(0.2),
    ).with_row_index("number")
    ids = {name: pl.format("{}-{}", pl.lit(name), "number") for name in ("request_id", "trace_id", "prediction_id")}
    empty = empty_rows(log_columns(state.product))
    typed = logged.with_columns(**ids).with_columns(pl.col("event_time", "accepted_at").cast(pl.Datetime("us", "UTC")))
    return pl.concat([empty, typed.drop("number")], how="diagonal_relaxed")


def _outcomes(answers: pl.DataFrame) -> pl.DataFrame:
    told = answers.gather_every(TOLD_SHARE).with_row_index("arrival")
    return pl.concat(
        [
            empty_rows(LABEL_COLUMNS),
            told.select(
                "prediction_id",
                pl.lit("true").alias("label"),
                (pl.col("served_at") + timedelta(hours=1)).alias("received_at"),
                pl.col("arrival").cast(pl.Int64),
            ),
        ],
        how="diagonal_relaxed",
    )


def fill_records(state: ProductState, key: str, told: Told) -> None:
    """Readings and decisions of the weeks before `key`, as they were made for it."""
    before = weeks_before(state, key)
    newest = [state.records.load(kind, key) for kind in READINGS]
    for number, period in enumerate(before, 1):
        for record in newest:
            if isinstance(record, DriftDecision):
                state.records.save(
                    period.key,
                    msgspec.structs.replace(record, period=period.key, model_version=number, action=Action.WATCH),
                )
            elif isinstance(record, DriftRecord | PerformanceRecord | StalenessRecord):
                state.records.save(period.key, msgspec.structs.replace(record, model_version=number))
            else:
                state.records.save(period.key, record)
        _say(told, "readings and decisions", number, len(before))


def fill_dagster(
    instance: dg.DagsterInstance, state: ProductState, key: str, assets: dict[str, Sequence[str]], told: Told
) -> None:
    """The runs of the weeks before `key`, and what they materialised. assets: by what was asked for."""
    product, before = state.product, weeks_before(state, key)
    for number, period in enumerate(before, 1):
        for what, names in assets.items():
            cause = f"{product.name}:{period.key}:{what}"
            tags = {CAUSE: cause, "product": product.name, WHAT: what, "dagster/partition": period.key}
            instance.add_run(
                dg.DagsterRun(
                    job_name="__ASSET_JOB", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.SUCCESS, tags=tags
                )
            )
            for name in names:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        key_of(product, name), partition=period.key, tags={"dagster/data_version": f"{number:016x}"}
                    )
                )
        _say(told, "Dagster's runs and events", number, len(before))


def _say(told: Told, what: str, number: int, count: int) -> None:
    if number == count or number % 50 == 0:
        told(f"{what}: {number:,} of {count:,} weeks")
