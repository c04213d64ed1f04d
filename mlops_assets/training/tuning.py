"""Searches settings of the candidates with Optuna: what is declared first, then others, pruned early, resumable."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.search import OneOf, Range, Real, Whole
from mlops_assets.records.training import SearchedTrial
from mlops_assets.state.trials import Trials
from mlops_assets.training.candidates import default_space
from mlops_assets.training.folds import Validated

if TYPE_CHECKING:
    import optuna

DECLARED, CANDIDATE, SETTINGS = "declared", "candidate", "hyperparameters"


@dataclass(frozen=True)
class Best:
    """A candidate with its best setting, and how that validated."""

    candidate: Candidate
    validated: Validated


@dataclass(frozen=True)
class _Leader:
    """The trial of a candidate that scored best since this process began, with its fit: what it weighs is asked at the end."""

    number: int
    value: float
    validated: Validated


@dataclass(frozen=True)
class Tuned:
    best: dict[str, Best]
    searched: tuple[SearchedTrial, ...]
    ended_by: str


def tune(
    product: ModelProduct,
    validated: Callable[[Candidate], Iterator[Validated]],
    score_of: Callable[[Validated], float],
    on_progress: Callable[[str], None],
    name: str,
    trials: Trials | None,
) -> Tuned:
    """Every candidate as declared, then other settings until the product's trials or seconds are used up.

    validated: one value per fold. score_of: more is better. name: of the question (`study_name`). trials: where they are
    kept; one that was killed in the middle is tried again. A setting whose score after a fold lies below the median of those
    before is left (Optuna's median pruner); what is declared is always tried in full."""
    import optuna

    leaders: dict[str, _Leader] = {}
    with _quiet():
        study = optuna.create_study(
            study_name=name,
            storage=None if trials is None else trials.storage(name),
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=product.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=len(product.candidates)),
        )
        _forget_unfinished(study)
        done = [trial for trial in study.trials if trial.state.is_finished() and trial.state.name != "FAIL"]
        if done:
            on_progress(f"going on after {len(done)} trials that were kept")
        waiting = [
            trial for trial in study.trials if trial.state.name == "WAITING"
        ]  # declared settings that were not begun before a kill
        known = {trial.user_attrs.get(DECLARED) for trial in (*done, *waiting)}
        for candidate in product.candidates:
            if candidate.name not in known:
                study.enqueue_trial({}, user_attrs={DECLARED: candidate.name})
        ended_by = _search(product, study, len(done), validated, score_of, leaders, on_progress)
        searched = tuple(
            _searched(product, trial) for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")
        )
    return Tuned(_best(product, searched, validated, leaders), searched, ended_by)


def _search(
    product: ModelProduct,
    study: "optuna.Study",
    done: int,
    validated: Callable[[Candidate], Iterator[Validated]],
    score_of: Callable[[Validated], float],
    leaders: dict[str, _Leader],
    on_progress: Callable[[str], None],
) -> str:
    """Ask for a trial, run it and report its score until a budget is used up; returns which budget."""
    import optuna

    declared, spaces = len(product.candidates), _spaces(product)
    wanted = declared + (product.search.trials if any(spaces.values()) else 0)
    spent = sum(trial.duration.total_seconds() for trial in study.trials if trial.duration is not None)
    for count in range(done, wanted):
        if count >= declared and spent >= product.search.seconds:
            return f"{product.search.seconds:g} seconds"
        started = time.perf_counter()
        trial = study.ask()
        candidate = _suggest(product, trial, spaces)
        trial.set_user_attr(CANDIDATE, candidate.name)
        trial.set_user_attr(SETTINGS, dict(candidate.hyperparameters))
        value = _try(trial, candidate, validated, score_of, leaders)
        study.tell(trial, value, optuna.trial.TrialState.PRUNED if value is None else None)
        spent += time.perf_counter() - started
        sign = product.primary_metric.sign
        what = "left early" if value is None else f"{product.metric} {sign * value:.4f}"
        on_progress(
            f"trial {count + 1} of {wanted}, {candidate.name}: {what}; {spent:.0f} s of {product.search.seconds:g} s"
        )
    return f"{product.search.trials} trials" if wanted > declared else "what is declared"


def _try(
    trial: "optuna.Trial",
    candidate: Candidate,
    validated: Callable[[Candidate], Iterator[Validated]],
    score_of: Callable[[Validated], float],
    leaders: dict[str, _Leader],
) -> float | None:
    """Score over all folds, None where it was left early. A metric that a fold does not have says nothing about it."""
    value = float("nan")
    for folds, made in enumerate(validated(candidate), 1):
        value, latest = score_of(made), made
        if not np.isnan(value):
            trial.report(value, folds)
            if DECLARED not in trial.user_attrs and trial.should_prune():
                return None
    if np.isnan(value):
        raise NothingToLearnFrom("the folds hold one outcome only. Lengthen training_window.")
    best = leaders.get(candidate.name)
    if best is None or value > best.value:
        leaders[candidate.name] = _Leader(trial.number, value, latest)
    return value


def _suggest(product: ModelProduct, trial: "optuna.Trial", spaces: Mapping[str, Mapping[str, Range]]) -> Candidate:
    """What is declared, or another setting of a candidate that can be varied."""
    by_name = {candidate.name: candidate for candidate in product.candidates}
    if DECLARED in trial.user_attrs:
        return by_name[trial.user_attrs[DECLARED]]
    name = trial.suggest_categorical(CANDIDATE, sorted(name for name, space in spaces.items() if space))
    chosen = {key: _value(trial, f"{name}.{key}", span) for key, span in spaces[name].items()}
    return replace(by_name[name], hyperparameters={**by_name[name].hyperparameters, **chosen})


def _value(trial: "optuna.Trial", name: str, span: Range) -> Any:
    match span:
        case Whole(low, high, log):
            return trial.suggest_int(name, low, high, log=log)
        case Real(low, high, log):
            return trial.suggest_float(name, low, high, log=log)
        case OneOf(options):
            return trial.suggest_categorical(name, options)


def _spaces(product: ModelProduct) -> dict[str, Mapping[str, Range]]:
    return {
        item.name: default_space(item.estimator, product.task) if item.space is None else item.space
        for item in product.candidates
    }


def _searched(product: ModelProduct, trial: "optuna.trial.FrozenTrial") -> SearchedTrial:
    sign = product.primary_metric.sign
    return SearchedTrial(
        trial.number,
        trial.user_attrs[CANDIDATE],
        trial.user_attrs[SETTINGS],
        sign * trial.value if trial.state.name == "COMPLETE" and trial.value is not None else None,
        len(trial.intermediate_values),
        trial.duration.total_seconds() if trial.duration else 0.0,
    )


def _best(
    product: ModelProduct,
    searched: Sequence[SearchedTrial],
    validated: Callable[[Candidate], Iterator[Validated]],
    leaders: Mapping[str, _Leader],
) -> dict[str, Best]:
    """Each candidate's best setting. One that was found before a kill is validated again."""
    sign = product.primary_metric.sign
    best = {}
    for candidate in product.candidates:
        complete = [item for item in searched if item.candidate == candidate.name and item.score is not None]
        chosen = max(complete, key=lambda item: sign * (item.score or 0.0))
        setting = replace(candidate, hyperparameters=chosen.hyperparameters)
        leader = leaders.get(candidate.name)
        if leader is not None and leader.number == chosen.number:
            best[candidate.name] = Best(setting, leader.validated)
        else:
            best[candidate.name] = Best(setting, list(validated(setting))[-1])
    return best


def study_name(product: ModelProduct, as_of: str, data: str) -> str:
    """The same name for the same question; a search over other data, candidates or ranges begins anew."""
    asked = repr((product.candidates, product.metric, product.seed, data, product.calibrate))
    return f"{as_of}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def _forget_unfinished(study: "optuna.Study") -> None:
    """A trial that a killed process left running is tried again, if it was declared; others are drawn anew."""
    import optuna

    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own lines are left out: each trial is reported once, by us."""
    import optuna

    former = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(former)
