"""Model card in Markdown: what a version is, what it scores, and where it is weak (Mitchell et al. 2019)."""

import html
import re
from collections.abc import Iterable, Sequence

from mlops_assets.products.periods import spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import GateResult
from mlops_assets.records.testing import Confusion, TestReport
from mlops_assets.records.training import Recipe
from mlops_assets.state.manifest import Manifest

SIGNIFICANT = 0.05  # adjusted probability below which a slice's gap is called beyond noise


def write_card(
    product: ModelProduct,
    manifest: Manifest,
    report: TestReport,
    gates: Sequence[GateResult],
    recipe: Recipe | None,
) -> str:
    """The card repeats what the manifest, the test report, the gates and, if it is stored, the recipe say."""
    parts = [
        f"# {product.name}, version {manifest.version}",
        f"{product.description} Owner: {product.owner}.",
        "## What it is",
        _table(("", ""), _facts(product, manifest, recipe)),
        "## What it scores",
        f"On {report.rows:,} later rows that it was not fitted on; 95 % intervals from resampling whole days.",
        _table(("metric", "value", "interval"), _scores(report)),
        *_against_champion(report),
        *_confusion(report.confusion),
        "## Where it is weak",
        _weak(report),
        "## Which inputs matter",
        f"Loss of {product.metric} when an input is shuffled.",
        _table(("input", "loss"), ((name, f"{loss:.4g}") for name, loss in list(report.importance.items())[:10])),
        *_leakage(report),
        "## Gates",
        _table(("gate", "passed", "reason"), ((g.gate, "yes" if g.passed else "**no**", g.reason) for g in gates)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(product: ModelProduct, manifest: Manifest, recipe: Recipe | None) -> list[tuple[str, str]]:
    settings = ", ".join(f"{name}={value}" for name, value in manifest.hyperparameters.items()) or "defaults"
    facts = [
        ("estimator", f"{manifest.estimator} ({settings})"),
        ("label", f"{manifest.label}, known {spelled(product.label.delay)} after the event"),
        ("trained as of", f"{manifest.partition}, on {manifest.rows:,} rows"),
        ("training data", manifest.training_data_version),
        ("code", manifest.git_commit or "unknown"),
        ("made at", f"{manifest.created_at:%Y-%m-%d %H:%M} UTC"),
    ]
    if manifest.shift_since and manifest.tested_from is not None:
        tested = f"it was tested on the rows from {manifest.tested_from:%Y-%m-%d} on"
        facts.insert(3, ("learned the shift since", f"{manifest.shift_since}; {tested}"))
    if manifest.calibration is not None:
        facts.insert(
            1, ("calibration", "Platt's sigmoid over the log-odds, fitted on the last fifth of those rows' periods")
        )
    if recipe is not None:
        facts.insert(1, ("recipe", f"{recipe.version}, by {recipe.by}: {recipe.reason}"))
    return facts


def _scores(report: TestReport) -> list[tuple[str, str, str]]:
    scores = [*report.scores, *([report.calibration_error] if report.calibration_error else [])]
    return [(item.metric, f"{item.value:.4g}", f"{item.low:.4g} to {item.high:.4g}") for item in scores]


def _against_champion(report: TestReport) -> list[str]:
    if not report.comparisons:
        return ["There was no champion to compare with."]
    return [
        f"Against version {item.champion_version} on the same rows: {item.gain:+.4f} {item.metric} "
        f"({item.low:+.4f} to {item.high:+.4f}, {item.confidence:.0%} interval)."
        for item in report.comparisons
    ]


def _confusion(confusion: Confusion | None) -> list[str]:
    if confusion is None:
        return []
    rule = "by the most probable class" if confusion.threshold is None else f"at threshold {confusion.threshold:g}"
    rows = [
        (name, *map("{:,}".format, counts)) for name, counts in zip(confusion.classes, confusion.counts, strict=True)
    ]
    return [
        f"Rows by true and predicted class, predicted {rule}:",
        _table(("true", *(f"predicted {name}" for name in confusion.classes)), rows),
    ]


def _weak(report: TestReport) -> str:
    if not report.worst_slices:
        return f"None of {report.slices_examined} slices scored below the whole."
    rows = [
        (
            item.description,
            f"{item.rows:,}",
            f"{item.value:.4g}",
            f"{item.gap:.4g}",
            "unknown" if item.p_adjusted is None else f"{item.p_adjusted:.2g}",
            "yes" if item.p_adjusted is not None and item.p_adjusted < SIGNIFICANT else "no",
        )
        for item in report.worst_slices
    ]
    introduction = (
        f"The worst of {report.slices_examined} examined slices. The chance is the probability of such a gap in any of them "
        "if none were worse than the whole."
    )
    return f"{introduction}\n\n{_table(('slice', 'rows', report.worst_slices[0].metric, 'gap', 'chance', 'beyond noise'), rows)}"


def _leakage(report: TestReport) -> list[str]:
    if report.leakage is None:
        return []
    name, skill = report.leakage.most_predictive
    return [
        f"Most predictive single input: {name}, skill {skill:.2f} of 1. Test rows that were also fitted on: "
        f"{report.leakage.shared_rows}."
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_text, head))} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _text(cell: str) -> str:
    """Escapes names of slices and classes, which are untrusted data: they can neither end the cell nor act as HTML or a link."""
    # ">" is left as it is: it opens nothing, and every gate contains it
    escaped = " ".join(html.escape(cell, quote=False).replace("&gt;", ">").split()).replace("|", "/")
    return re.sub(r"([\[\]!`\\])", r"\\\1", escaped)
