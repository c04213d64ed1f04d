"""The label: which column it is, whether it has two classes, several classes or is a number, and its expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlops_assets.drafting.columns import MOST_CATEGORIES, Profile
from mlops_assets.drafting.literals import written
from mlops_assets.drafting.questions import Ask, Question, Remarks, known_columns, listed
from mlops_assets.errors import DeclarationError
from mlops_assets.products.source import Kind
from mlops_assets.products.task import Task

_USUAL_NAMES = ("label", "target", "y", "outcome", "class", "churn", "churned")
_YES = ("yes", "true", "y", "1", "t", "up", "positive", "ja", "late", "bad", "fraud", "churned", "malignant")
MOST_CLASSES = 50
_FEW_NUMBERS = 10  # at most so many different whole numbers may be names of classes
_FEW_ROWS = 10  # a class with fewer rows is hardly learned


@dataclass(frozen=True)
class Target:
    """name: of the label. expression: that computes it in the product file; {col} stands for its column."""

    column: Profile
    name: str
    task: Task
    expression: str


def choose_label(profiles: Sequence[Profile], time: str, named: str, ask: Ask) -> Profile:
    by_name = {item.source_name: item for item in profiles}
    if named:
        if named not in by_name:
            raise DeclarationError(f"the table has no column {named!r} for --label. {known_columns(named, by_name)}")
        return by_name[named]
    possible = [item for item in profiles if item.source_name != time and item.kind not in (None, Kind.TIMESTAMP)]
    possible = [item for item in possible if not item.is_constant] or possible
    if not possible:
        raise DeclarationError(
            "the table has no column that could be predicted. Name one that holds the outcome with --label."
        )
    usual = next((item for item in possible if item.source_name.lower() in _USUAL_NAMES), None)
    guess = usual or possible[-1]
    why = "it has the usual name of a label" if usual else "it is the last column"
    answer = ask(
        Question(
            "--label",
            "Which column is predicted?",
            guess.source_name,
            why,
            tuple(item.source_name for item in possible),
        )
    )
    return by_name[answer]


def choose_task(label: Profile, product: str, named: str, taken: Sequence[str], ask: Ask, remarks: Remarks) -> Target:
    """named: the task, or "" to infer it. taken: names that the label must not have.

    Raises DeclarationError: the column cannot be a label."""
    if label.kind is None or label.kind is Kind.TIMESTAMP:
        raise DeclarationError(
            f"--label {label.source_name}: {label.fault or 'it contains timestamps'}. Name a column of numbers or classes."
        )
    if label.is_constant:
        value = label.values.drop_nulls()[0]
        raise DeclarationError(
            f"--label {label.source_name}: every row has the same label, {value!r}, so there is nothing to learn. Add rows of the other "
            "outcome, or name another column."
        )
    if label.nulls:
        remarks.assume(
            f"{label.nulls:,} rows without {label.source_name} are not used for training",
            "their outcome is not known yet, or never will be",
        )
    name = label.name if label.name not in taken else f"{label.name}_outcome"
    task = Task(named) if named else _task_of(label, ask, remarks)
    if task is Task.BINARY:
        return Target(label, name, task, _binary(label, remarks))
    if task is Task.REGRESSION:
        if not label.is_number:
            raise DeclarationError(
                f"--label {label.source_name} is {label.kind}, which is not a number. Leave --task out."
            )
        remarks.assume("regression", f"{label.source_name} has {label.distinct:,} values")
        return Target(label, name, task, "{col}")
    return Target(label, name, task, _classes(label, remarks))


def _task_of(label: Profile, ask: Ask, remarks: Remarks) -> Task:
    if label.distinct == 2:
        return Task.BINARY
    if label.kind is Kind.STRING:
        return Task.MULTICLASS
    is_whole = label.kind is Kind.INTEGER or bool((label.values.drop_nulls() % 1 == 0).all())
    if is_whole and label.distinct <= _FEW_NUMBERS:
        question = Question(
            "--task",
            f"{label.source_name} has {label.distinct} whole values. Are they names of classes (multiclass) or a quantity (regression)?",
            Task.MULTICLASS.value,
            "they are few",
            (Task.MULTICLASS.value, Task.REGRESSION.value),
        )
        return Task(ask(question))
    return Task.REGRESSION


def _binary(label: Profile, remarks: Remarks) -> str:
    values = label.values.drop_nulls().unique().sort().to_list()
    if len(values) != 2:
        raise DeclarationError(
            f"--task binary: {label.source_name} has {len(values):,} values. Name a column of two, or leave --task out."
        )
    if label.kind is Kind.BOOLEAN or (label.is_number and values == [0, 1]):
        remarks.assume("binary", f"{label.source_name} is true or false")
        return "{col}"
    positive = next((value for value in values if str(value).lower() in _YES), values[-1])
    remarks.assume(
        f"binary: the probability of {positive!r} in {label.source_name} is predicted",
        f"the other value is {_other(values, positive)!r}",
    )
    return f"{{col}} == {written(positive)}"


def _classes(label: Profile, remarks: Remarks) -> str:
    if label.distinct > MOST_CLASSES:
        raise DeclarationError(
            f"--label {label.source_name} has {label.distinct:,} different values, and a model may have at most {MOST_CLASSES} classes. "
            "Group them in the source, or name another column."
        )
    counts = label.values.drop_nulls().value_counts(sort=True)
    rare = [str(value) for value, rows in counts.iter_rows() if rows < _FEW_ROWS]
    if rare:
        remarks.warn(f"classes of fewer than {_FEW_ROWS} rows will hardly be learned: {listed(rare)}")
    remarks.assume(f"multiclass with {label.distinct} classes", f"{label.source_name} has that many values")
    if label.kind is Kind.STRING:
        return "{col}"
    return "{col}.cast(ml.nw.String)" if label.kind is not Kind.FLOAT else "{col}.cast(ml.nw.Int64).cast(ml.nw.String)"


def _other(values: list[object], positive: object) -> object:
    return next(value for value in values if value != positive)


def is_categorical(profile: Profile) -> bool:
    return profile.kind is Kind.STRING and profile.distinct <= MOST_CATEGORIES
