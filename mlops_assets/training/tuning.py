"""Searches settings of the candidates with Optuna: the declared ones first, then others, with pruning, resumable."""

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
    """A candidate with its best setting, and the validation of that setting."""

    candidate: Candidate
    validated: Validated


@dataclass(frozen=True)
class _Leader:
    """A candidate's best trial in this process. It keeps the fitted model, whose size is measured at the end."""

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

    validated: yields one value per fold. score_of: more is better. name: see `study_name`. trials: their store, None: they are
    not stored. A trial that was killed is tried again. A setting whose score after a fold lies below the median of the earlier
    ones is pruned (Optuna's median pruner); declared settings are never pruned."""
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
            on_progress(f"continuing after {len(done)} stored trials")
        # declared settings that a killed search had not begun
        waiting = [trial for trial in study.trials if trial.state.name == "WAITING"]
        queued = {trial.user_attrs.get(DECLARED) for trial in (*done, *waiting)}
        for candidate in product.candidates:
            if candidate.name not in queued:
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
    """Run trials and report their scores until a budget is used up; returns which budget."""
    import optuna

    declared, spaces = len(product.candidates), _spaces(product)
    count_of_trials = declared + (product.search.trials if any(spaces.values()) else 0)
    spent = sum(trial.duration.total_seconds() for trial in study.trials if trial.duration is not None)
    for count in range(done, count_of_trials):
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
        result = "pruned" if value is None else f"{product.metric} {sign * value:.4f}"
        progress = f"trial {count + 1} of {count_of_trials}, {candidate.name}: {result}"
        on_progress(f"{progress}; {spent:.0f} s of {product.search.seconds:g} s")
    return f"{product.search.trials} trials" if count_of_trials > declared else "the declared settings"


def _try(
    trial: "optuna.Trial",
    candidate: Candidate,
    validated: Callable[[Candidate], Iterator[Validated]],
    score_of: Callable[[Validated], float],
    leaders: dict[str, _Leader],
) -> float | None:
    """Score over all folds, None if it was pruned. Folds whose score is NaN neither prune nor report."""
    value = float("nan")
    for folds, latest in enumerate(validated(candidate), 1):
        value = score_of(latest)
        if not np.isnan(value):
            trial.report(value, folds)
            if DECLARED not in trial.user_attrs and trial.should_prune():
                return None
    if np.isnan(value):
        raise NothingToLearnFrom("the folds hold only one outcome. Lengthen training_window.")
    best = leaders.get(candidate.name)
    if best is None or value > best.value:
        leaders[candidate.name] = _Leader(trial.number, value, latest)
    return value


def _suggest(product: ModelProduct, trial: "optuna.Trial", spaces: Mapping[str, Mapping[str, Range]]) -> Candidate:
    """The declared setting of the trial, or a new setting of a candidate whose space is not empty."""
    by_name = {candidate.name: candidate for candidate in product.candidates}
    if DECLARED in trial.user_attrs:
        return by_name[trial.user_attrs[DECLARED]]
    name = trial.suggest_categorical(CANDIDATE, sorted(name for name, space in spaces.items() if space))
    chosen = {key: _value(trial, f"{name}.{key}", values) for key, values in spaces[name].items()}
    return replace(by_name[name], hyperparameters={**by_name[name].hyperparameters, **chosen})


def _value(trial: "optuna.Trial", name: str, values: Range) -> Any:
    match values:
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
    """Each candidate's best setting. A setting from before a restart of the process is validated again."""
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
    """The same name for the same search; a search over other data, candidates or ranges starts from the beginning."""
    identity = repr((product.candidates, product.metric, product.seed, data, product.calibrate))
    return f"{as_of}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _forget_unfinished(study: "optuna.Study") -> None:
    """Fails trials that a killed process left running: declared ones are tried again, others are replaced by new draws."""
    import optuna

    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Optuna's log, because on_progress reports each trial already."""
    import optuna

    former = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(former)
