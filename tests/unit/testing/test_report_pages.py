"""What people see of a test report on its asset's page."""

import msgspec
import pytest

from mlops_assets.records import testing as reports
from mlops_assets.testing.assets import _report_metadata
from mlops_assets.testing.plots import test_report_figure as report_figure
from tests.unit.testing.builders import a_test_report
from tests.unit.training.builders import a_product

WIDEST_INCHES = 10  # of 100 pixels: Dagster's dialog cuts off what is wider


def a_report(*counts: tuple[int, ...], classes: tuple[str, ...] = ("false", "true")) -> reports.TestReport:
    return msgspec.structs.replace(a_test_report(), confusion=reports.Confusion(classes, counts, 0.5))


def test_every_count_of_the_confusion_has_a_row_and_a_column():
    report = a_report((193, 88), (70, 232))

    table = _report_metadata(a_product(metric="roc_auc"), report)["confusion at 0.5"].value

    # a class of the name "true" does not take the place of the rows' names
    assert table.splitlines() == [
        "| true class | predicted false | predicted true |",
        "|---|---|---|",
        "| false | 193 | 88 |",
        "| true | 70 | 232 |",
    ]


def test_counts_can_be_read_on_dark_and_on_light_squares():
    figure = report_figure(a_report((193, 88), (70, 232)))

    squares = next(axes for axes in figure.axes if axes.get_title().startswith("Rows at"))
    colours = {text.get_text(): text.get_color() for text in squares.texts}
    assert colours == {"193": "white", "88": "black", "70": "black", "232": "white"}


@pytest.mark.parametrize("report", [a_report((1, 2), (3, 4)), a_test_report()], ids=["classes", "numbers"])
def test_the_plot_fits_into_the_dialog_of_the_page(report: reports.TestReport):
    width, _ = report_figure(report).get_size_inches()

    assert width <= WIDEST_INCHES
