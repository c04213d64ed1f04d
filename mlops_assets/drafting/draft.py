"""Drafts a product from a table: asks the questions, trains a first model and writes the text of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from mlops_assets.data.contract import check_contract, conform
from mlops_assets.drafting.baseline import Baseline, leakage_of, measure_baseline, past_windows
from mlops_assets.drafting.clock import choose_clock, usual_wait
from mlops_assets.drafting.columns import (
    Profile,
    decimal_mark,
    declare,
    names_of,
    profile_columns,
    usable_names,
    utc,
)
from mlops_assets.drafting.inputs import calendar_of, choose_inputs, without_suspects
from mlops_assets.drafting.key import choose_key
from mlops_assets.drafting.origin import Origin
from mlops_assets.drafting.questions import Ask, Question, Remarks, listed
from mlops_assets.drafting.source_text import Declaration, file_text, number_text
from mlops_assets.drafting.task import Target, choose_label, choose_task
from mlops_assets.drafting.windows import choose_windows
from mlops_assets.errors import DeclarationError, choices
from mlops_assets.features.validation import validate_features
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.products.task import Task
from mlops_assets.sources.typed_rows import typed

_LEAST_ROWS = 250  # of a training set: 200 to fit, 50 to test


@dataclass(frozen=True)
class Wishes:
    """The options of the command; "" and () where they were not given."""

    time: str = ""
    label: str = ""
    key: tuple[str, ...] = ()
    task: str = ""
    zone: str = ""
    known_after: str = ""


@dataclass(frozen=True)
class Draft:
    text: str
    product: ModelProduct
    remarks: Remarks
    baseline: Baseline


def draft_product(
    name: str, origin: Origin, wishes: Wishes, ask: Ask, on_progress: Callable[[str], None] = lambda _: None
) -> Draft:
    """Raises DeclarationError: the table or the options do not allow a product; the sentence says what to do."""
    remarks, rows = Remarks(), origin.rows
    if wishes.task and wishes.task not in list(Task):
        raise DeclarationError(f"no task {wishes.task!r}. {choices(wishes.task, [task.value for task in Task])}")
    if origin.unread:
        why = "Polars has no type for its values" if origin.is_postgres else "not every file has it"
        remarks.warn(f"left out: {listed(origin.unread)} ({why})")
    if origin.every > 1:
        remarks.assume(f"one of {origin.every} rows was read", f"there are about {origin.every * rows.height:,}")
        if origin.is_text:
            remarks.warn(
                f"each period reads {origin.pattern} from its first line to its last: Parquet would be much faster."
            )
    clock = choose_clock(rows, wishes.time, wishes.zone, ask, remarks)
    decimal = decimal_mark(rows, origin.separator) if origin.is_text else "."
    _remark_on_text(origin, decimal, remarks)
    profiles = profile_columns(rows, clock.all_moments, decimal, is_text=origin.is_text or origin.is_postgres)
    by_name = {item.source_name: item for item in profiles}
    _remark_on_names(profiles, remarks)
    time = by_name[clock.time.name]
    label = choose_label(profiles, time.source_name, wishes.label, ask)
    target = choose_task(label, name, wishes.task, [item.name for item in profiles if item is not label], ask, remarks)
    key = choose_key(profiles, time, label.source_name, wishes.key, remarks)
    is_said = wishes.known_after or not clock.learned
    delay = _known_after(label, wishes.known_after, ask) if is_said else usual_wait(clock, remarks)
    events = utc(time.values, clock.zone)
    is_labelled = label.values.is_not_null()
    if int(is_labelled.sum()) < _LEAST_ROWS:
        raise DeclarationError(
            f"{int(is_labelled.sum()):,} rows have a {label.source_name}, and a training needs {_LEAST_ROWS}: 200 to fit, 50 later ones to "
            "test. Add history to the source."
        )
    windows = choose_windows(events.filter(is_labelled), delay, remarks)
    inputs = choose_inputs(profiles, time, label, key, remarks)
    learned = by_name[clock.learned].name if clock.learned else None
    declared = Declaration(
        name=name,
        origin=origin,
        decimal=decimal,
        zone=clock.zone,
        time=time,
        learned=learned,
        key=key,
        target=target,
        delay=delay,
        windows=windows,
        table=_table_name(origin),
    )
    declared = replace(declared, calendar=calendar_of(events, declared, inputs))
    full = _with_inputs(declared, inputs, profiles)
    on_progress("measuring how well each column alone predicts the label")
    table = _read(full, origin)
    past = past_windows(product_of(file_text(full), name), table)
    skills = leakage_of(product_of(file_text(full), name), past)
    inputs = without_suspects(inputs, skills, label, remarks)
    full = _with_inputs(declared, inputs, profiles)
    if not (inputs or full.calendar):
        raise DeclarationError(
            f"no column is left from which {label.source_name} could be predicted. Add columns that are known before the outcome."
        )
    product = product_of(file_text(full), name)
    baseline = measure_baseline(product, past_windows(product, table), on_progress)
    final = _with_baseline(full, baseline, remarks)
    text = file_text(final)
    product = product_of(text, name)
    on_progress("reading one period through the source and its contract")
    _try(product, events, remarks)
    return Draft(text, product, remarks, baseline)


def product_of(text: str, name: str) -> ModelProduct:
    """The product that such a file declares."""
    namespace: dict[str, object] = {"__name__": f"products.{name}"}
    exec(compile(text, f"{name}.py", "exec"), namespace)
    product = namespace[name]
    assert isinstance(product, ModelProduct)
    return product


def _read(declared: Declaration, origin: Origin) -> pl.DataFrame:
    main = product_of(file_text(declared), declared.name).source.main
    return conform(main, typed(main, origin.rows.lazy(), declared.zone or None, decimal=declared.decimal))


def _try(product: ModelProduct, events: pl.Series, remarks: Remarks) -> None:
    """Raises DeclarationError, SourceError, ContractBroken: the drafted product cannot read its own table."""
    validate_features(product)
    main = product.source.main
    middle = events.sort()[len(events) // 2]  # its period has rows
    period = product.period.containing(middle)
    result = check_contract(main, period, conform(main, product.source.read(main.name, period)))
    if not result.kept:
        remarks.warn(f"the period {period.key} breaks the contract: {result.reason}")


def _with_inputs(declared: Declaration, inputs: Sequence[Profile], profiles: Sequence[Profile]) -> Declaration:
    """The declaration with these features and the contract of the columns that it needs, in the order of the table."""
    label = declared.target.column
    needed = {*names_of(inputs), declared.time.source_name, label.source_name, *names_of(declared.key)}
    key = names_of(declared.key)
    columns = [
        declare(
            item,
            is_key=item.source_name in key and item.kind is Kind.INTEGER,
            is_open=item is label and _is_open(declared.target),
        )
        for item in profiles
        if item.source_name in needed or item.name == declared.learned
    ]
    # new rows may be delivered before their outcome is known
    columns = [replace(column, nullable=True) if column.name == label.name else column for column in columns]
    names = names_of(inputs)
    leave_out = [
        item.name
        for item in profiles
        if item.source_name in needed and item.kind is not Kind.TIMESTAMP and item.source_name not in names
    ]
    return replace(declared, columns=tuple(columns), leave_out=tuple(leave_out))


def _is_open(target: Target) -> bool:
    """A predicted number may leave its observed range; a class must be one of those in the table."""
    return target.task is Task.REGRESSION


def _with_baseline(declared: Declaration, baseline: Baseline, remarks: Remarks) -> Declaration:
    metric, limit, margin = baseline.metric, baseline.limit, baseline.margin
    more = declared.target.task is not Task.REGRESSION
    gate = f'ml.{"at_least" if more else "at_most"}("{metric}", {number_text(limit)})'
    gates = (gate, f'ml.not_worse_than_champion("{metric}", {number_text(margin)})', "ml.latency_p99(250)")
    calls = {"linear": "ml.linear()", "lightgbm": "ml.lightgbm(n_estimators=100)"}
    said = f"{metric} {baseline.value:.4g} ({baseline.low:.4g} to {baseline.high:.4g})"
    remarks.assume(
        f"the gate {metric} {'at least' if more else 'at most'} {limit:g}",
        f"{baseline.ranked[0]} reaches {said} on {len(baseline.scores)} windows of the past; a constant answer {baseline.constant:.4g}",
    )
    unreliable = [name for name in calls if name not in baseline.ranked]
    if unreliable:
        remarks.assume(
            f"without the candidate {', '.join(unreliable)}", "a constant answer beats it in some window of the past"
        )
    bound = baseline.low if more else -baseline.high
    if bound <= (baseline.constant if more else -baseline.constant):
        remarks.warn(
            f"the columns hardly predict {declared.target.column.source_name}: {said}, a constant answer reaches {baseline.constant:.4g}. "
            "Add columns, or views of earlier outcomes, see docs/your_product.md."
        )
    return replace(declared, gates=gates, candidates=tuple(calls[name] for name in baseline.ranked))


def _known_after(label: Profile, said: str, ask: Ask) -> timedelta:
    answer = said or ask(
        Question(
            "--known-after",
            f"How long after the time of a row is {label.source_name} known (such as 30m, 6h, 2d)?",
            "1d",
            "no column says when it was known",
        )
    )
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m|h|d|w)?\s*", answer)
    if match is None or (match[2] is None and float(match[1])):
        raise DeclarationError(
            f"--known-after {answer!r} is not a duration. Write it as 30m, 6h or 2d, and 0 for at once."
        )
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "w": timedelta(weeks=1)}.get(
        match[2], timedelta(days=1)
    )
    return float(match[1]) * unit


def _table_name(origin: Origin) -> str:
    (name,) = usable_names([origin.name or "rows"]).values()
    return name.lower()


def _remark_on_text(origin: Origin, decimal: str, remarks: Remarks) -> None:
    if origin.separator != ",":
        remarks.assume(f"fields are separated by {origin.separator!r}", "it separates the first lines evenly")
    if decimal != ".":
        remarks.assume("numbers have a decimal comma", "columns hold numbers such as 3,5, and none such as 3.5")
    if origin.null_words:
        remarks.assume(f"{', '.join(origin.null_words)} mean null", "they occur among numbers, or yes and no")


def _remark_on_names(profiles: Sequence[Profile], remarks: Remarks) -> None:
    renamed = [f"{item.source_name} is {item.name}" for item in profiles if item.source_name not in ("", item.name)]
    if renamed:
        remarks.assume(
            listed(renamed), "a request needs names that every client can write; source_name keeps the table's"
        )
