"""Runs in the peers' environment: what Evidently and NannyML say of pairs of windows, with their own defaults.

Reads a folder of cases, each `<case>/reference.parquet` (column `window`) and `<case>/current<n>.parquet`, and prints one
JSON object: case to the verdict of each peer on each current window.
"""

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["DO_NOT_TRACK"] = "1"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import pandas as pd  # noqa: E402 (warnings and tracking are off first)


def evidently_verdict(reference: pd.DataFrame, current: pd.DataFrame, categories: list[str]) -> dict:
    """any column drifted, and the data set as Evidently calls it (half of the columns)."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [name for name in reference.columns if name not in categories]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
    snapshot = Report([DataDriftPreset()]).run(*sides)
    value = snapshot.dict()["metrics"][0]["value"]
    return {"any": value["count"] > 0, "data set": value["share"] >= 0.5, "columns": value["count"]}


def nannyml_verdict(reference: pd.DataFrame, currents: list[pd.DataFrame], categories: list[str]) -> list[dict]:
    """any column alerts, by univariate drift on windows of the reference's length."""
    import nannyml as nml

    names = [name for name in reference.columns if name != "window"]
    numbers = [name for name in names if name not in categories]
    size = int(reference.groupby("window").size().median())
    calculator = nml.UnivariateDriftCalculator(
        column_names=names,
        treat_as_categorical=categories,
        chunk_size=size,
        continuous_methods=["jensen_shannon"] if numbers else [],
        categorical_methods=["jensen_shannon"] if categories else [],
    )
    calculator.fit(reference[names])
    found = []
    for current in currents:
        table = calculator.calculate(current[names].iloc[:size]).filter(period="analysis").to_df()
        alerts = table.loc[:, [column for column in table.columns if column[-1] == "alert"]]
        found.append({"any": bool(alerts.to_numpy().any()), "columns": int(alerts.to_numpy().sum())})
    return found


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    categories = json.loads((folder / "categories.json").read_text())
    verdicts: dict[str, dict] = {}
    deadline = time.monotonic() + seconds
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        if time.monotonic() > deadline:
            break  # what was not reached is not claimed: the caller counts what came back
        reference = pd.read_parquet(case / "reference.parquet")
        currents = [pd.read_parquet(path) for path in sorted(case.glob("current*.parquet"))]
        values = reference.drop(columns="window")
        verdicts[case.name] = {
            "evidently": [evidently_verdict(values, current, categories) for current in currents],
            "nannyml": nannyml_verdict(reference, currents, categories),
        }
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
