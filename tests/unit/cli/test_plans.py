"""`mlops backtest` in a pipe or a narrow terminal."""

import io

from rich.console import Console

from mlops_assets.cli.plans import table_of_plans

NUMBERS = {
    "roc_auc": 0.69144,
    "trained": 107,
    "deployed": 56,
    "rolled back": 0,
    "watch": 3,
    "retrain": 52,
    "rework": 4,
    "train s": 18.751,
    "watch s": 0.30532,
}


def test_every_plan_keeps_its_name_and_every_number_its_heading_in_eighty_columns():
    output = io.StringIO()
    rows = [{"plan": "shipped", **NUMBERS}, {"plan": "every 10 periods (budget of shipped)", **NUMBERS}]

    Console(file=output, width=80).print(table_of_plans(rows, "churn, 58 periods"))

    lines = output.getvalue().splitlines()
    headings = " ".join(lines[1:4]).split()
    assert {word for name in NUMBERS for word in name.split()} <= {*headings}
    numbers = ["0.6914", "107", "56", "0", "3", "52", "4", "18.75", "0.3053"]
    assert next(line for line in lines if "shipped" in line).split() == ["shipped", *numbers]
    assert next(line for line in lines if "every" in line).split()[-9:] == numbers
