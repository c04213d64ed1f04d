"""The loop of one plan, replayed period by period on a state of its own under the same rules as the real loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from mlops_assets.errors import PlatformError
from mlops_assets.inference.probation import end_probation
from mlops_assets.inference.promotion import deploy
from mlops_assets.monitoring.loop import Step, decided_at, is_answered_after, send_back, what_follows
from mlops_assets.monitoring.plans import Plan
from mlops_assets.monitoring.run import decide_period
from mlops_assets.products.periods import Period
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import BacktestPeriod, DriftDecision
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.training import Recipe
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.recipe import current_recipe, leave_development

_ACTION = {Step.NOTHING: Action.NONE, Step.TRAIN: Action.RETRAIN, Step.SEND_BACK: Action.REWORK}


class ReplayedLoop(ABC):
    """Subclasses say how a period is predicted and measured, and how a version is trained; `replay_period` does the rest."""

    def __init__(self, state: ProductState, plan: Plan) -> None:
        self.state, self.product, self.plan = state, state.product, plan
        self.trained, self.replayed, self.rolled_back = 0, 0, 0

    @abstractmethod
    def observe(self, key: str) -> None:
        """Store the predictions and the drift reading of a period that is over."""

    @abstractmethod
    def measure(self, key: str) -> float | None:
        """Store the performance and staleness of a period whose labels arrived; returns the champion's score in it."""

    @abstractmethod
    def read_probation(self, key: str) -> ProbationRecord:
        """The champion's probation once the labels of the period have arrived."""

    @abstractmethod
    def train(self, key: str) -> tuple[int, str]:
        """Train and test a version for `key`; returns the version, and why its gates refuse it ("" if they accept it)."""

    @abstractmethod
    def develop(self, key: str) -> Recipe:
        """The recipe that development chooses after a new search on the window of `key`."""

    def history(self) -> list[Deployment]:
        return self.state.ledger.history()

    def replay_period(self, period: Period) -> BacktestPeriod:
        """Predict, measure and decide the period, and carry out what the plan demands."""
        state, product, key = self.state, self.product, period.key
        clock = state.workspace.replay_clock
        clock.set(period.end)
        self.observe(key)
        clock.set(decided_at(product, key))
        score = self.measure(key)
        outcomes = self._end_probation(key)
        decision = decide_period(state, key)
        state.records.save(key, decision)
        action, reason = decision.action, decision.reason
        following = what_follows(product, decision if self.plan.every is None else self._by_calendar(decision))
        if self.plan.every is not None:
            action, reason = _ACTION[following.step], f"by calendar; the policy says: {decision.reason}"
        if following.step is Step.SEND_BACK:
            send_back(state, decision)
        elif following.step is Step.TRAIN:
            outcomes += self._outcome_of(lambda: self.retrain(following.partition))
        outcomes += self._answer_flag(period)
        return BacktestPeriod(key, action, decision.reading, score, decision.model_version, reason, "; ".join(outcomes))

    def retrain(self, key: str) -> str:
        """Train with the newest recipe and deploy the version if it passes the gates of its test report; else returns why not."""
        version, refusal = self.train(key)
        if not refusal:
            deploy(self.state, version, key, reason="gates passed", by="backtest")
        return refusal

    def _end_probation(self, key: str) -> list[str]:
        _, rollback = end_probation(self.state, key, self.read_probation(key))
        if rollback is None:
            return []
        self.rolled_back += 1
        return [rollback.deployment.reason]

    def _by_calendar(self, decision: DriftDecision) -> DriftDecision:
        self.replayed += 1
        action = Action.RETRAIN if self.plan.is_due(self.replayed) else Action.NONE
        return msgspec.structs.replace(decision, action=action)

    def _answer_flag(self, period: Period) -> list[str]:
        """If development answers an open flag now, promote its recipe and train a version with it."""
        flag = self.state.ledger.open_flag()
        following = self.product.period.shift(period, 1)
        if flag is None or not self.product.period.has(following):
            return []
        if not is_answered_after(self.product, flag, period.key, self.plan.answer_after):
            return []

        def answer() -> str:
            former = current_recipe(self.state)
            leave_development(self.state, former, self.develop(following.key))
            return self.retrain(following.key)

        return [f"development answers with {following.key}", *self._outcome_of(answer)]

    def _outcome_of(self, run: Callable[[], str]) -> list[str]:
        try:
            refusal = run()
        except PlatformError as error:  # a failed run does not stop the real loop either
            return [f"training failed: {error}"]
        return [f"refused: {refusal}"] if refusal else []
