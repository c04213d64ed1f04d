"""The year of flights as the benchmarks read it: one table of features and labels a week, built once and kept."""

import hashlib
import inspect
import shutil
import tempfile
import threading
from pathlib import Path

import polars as pl

from examples.flights import flight_features, nyc_flights
from examples.flights.flight_delay import flight_delay
from mlops_assets.data.labels import LABEL, known_labels
from mlops_assets.features.build import build_features

CACHE = Path(__file__).parents[1] / "var" / "benchmarks"
_building = threading.Lock()
ORDER = tuple(dict.fromkeys((flight_delay.event_timestamp, *flight_delay.entity_key)))


def flight_weeks() -> dict[str, pl.DataFrame]:
    """Week to its features, `label` and `period`, oldest first; the first week, which has nothing to look back on, is left
    out. About 10 s the first time."""
    code = inspect.getsource(flight_features) + inspect.getsource(nyc_flights)
    folder = CACHE / f"weeks-{hashlib.sha256(code.encode()).hexdigest()[:12]}"
    with _building:
        if not folder.exists():
            _fill(folder)
    return {path.stem: pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))[1:]}


def _fill(folder: Path) -> None:
    """All of the folder or none of it, also where two benchmarks do so at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-"))
    for key, table in _build():
        table.write_parquet(half / f"{key}.parquet")
    try:
        half.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(half)  # another process was first


def _build():
    product, end = flight_delay, flight_delay.period.end
    assert end is not None
    for period in product.period.ended_by(end):
        reach = [product.period.shift(period, back) for back in (-2, -1, 0)]
        tables = {
            table.name: pl.concat([product.source.read(table.name, item) for item in reach if product.period.has(item)])
            for table in (product.source.main, *product.source.side_tables)
        }
        raw = product.source.read(product.source.main.name, period)
        features = build_features(product, raw.select(product.request), tables)
        labels = known_labels(product, raw, end + 10 * product.label.delay).select(*product.entity_key, LABEL)
        yield (
            period.key,
            features.join(labels, on=list(product.entity_key), how="left").with_columns(period=pl.lit(period.key)),
        )
