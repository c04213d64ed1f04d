"""What an onlooker can tell of the loop: which periods are whole, which runs there were, when the sensors ticked last."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError
from unattended_parts.installation import PRODUCT
from unattended_parts.parcel_delay import parcel_delay

from mlops_assets.errors import PlatformError
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.state.workspace import ProductState

CAUSE = "mlops/cause"  # by this tag the runs that were asked for one reason are found
READINGS = (DriftRecord, PerformanceRecord, StalenessRecord, DriftDecision)
ENDED_BADLY = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
ENDED = (dg.DagsterRunStatus.SUCCESS, *ENDED_BADLY)
HEALTHY = ("SUCCESS", "SKIPPED")


class Unreadable(Exception):
    """The disk is full, or a file is being replaced: look again."""


@dataclass(frozen=True)
class Onlooker:
    state: ProductState
    instance: dg.DagsterInstance

    def missing(self, key: str) -> list[str]:
        """Of a period: its readings and decision, and what the decision asked for, as far as they are not there."""
        try:
            lacking = [kind.asset for kind in READINGS if not self.state.records.has(kind, key)]
            if lacking:
                return lacking
            decision = self.state.records.load(DriftDecision, key)
            if decision.action not in (Action.RETRAIN, Action.REWORK):
                return []
            runs = self.runs_of(f"{PRODUCT}:{key}:{decision.action}")
            succeeded = any(run.status is dg.DagsterRunStatus.SUCCESS for run in runs)
            return [] if succeeded else [f"the run for its decision to {decision.action}"]
        except (OSError, SQLAlchemyError, PlatformError) as error:
            raise Unreadable(str(error)) from error

    def is_arriving(self) -> bool:
        """Is a period over whose rows are not stored yet?"""
        newest = parcel_delay.period.shift(parcel_delay.period.containing(self.state.clock.now()), -1)
        return not self.state.tables.has("raw", newest.key)

    def decision(self, key: str) -> DriftDecision | None:
        try:
            return self.state.records.load(DriftDecision, key)
        except (OSError, PlatformError):
            return None

    def runs_of(self, cause: str) -> list[dg.DagsterRun]:
        """Newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags={CAUSE: cause})))

    def open_runs(self, kind: str = "") -> list[dg.DagsterRun]:
        statuses = [status for status in dg.DagsterRunStatus if status not in ENDED]
        tags = {"mlops/what": kind} if kind else {}
        try:
            return list(self.instance.get_runs(dg.RunsFilter(tags=tags, statuses=statuses)))
        except SQLAlchemyError as error:
            raise Unreadable(str(error)) from error

    def has_ticked_since(self, moment: datetime) -> bool:
        """Was every sensor of the product evaluated since then, without an error?"""
        try:
            states = [
                state
                for state in self.instance.all_instigator_state()
                # schedules, such as that of retention, tick once a day
                if state.instigator_name.startswith(PRODUCT) and state.instigator_type.value == "SENSOR"
            ]
            for state in states:
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5)
                if not any(tick.status.value in HEALTHY and tick.timestamp > moment.timestamp() for tick in ticks):
                    return False
        except SQLAlchemyError as error:
            raise Unreadable(str(error)) from error
        return bool(states)

    def retried_since(self, moment: datetime) -> tuple[list[str], bool]:
        """What became of the runs that were under way then or came after it, as far as they failed, in words; and whether
        something of them is still open."""
        try:
            updated = self.instance.get_run_records(dg.RunsFilter(updated_after=moment - timedelta(seconds=1)))
            runs = [*(record.dagster_run for record in updated), *self.open_runs()]
            said, is_open = [], False
            for cause in sorted({run.tags[CAUSE] for run in runs if CAUSE in run.tags}):
                story = self._story(cause, moment)
                newest = self.runs_of(cause)[0]
                if newest.status is dg.DagsterRunStatus.SUCCESS:
                    said += story
                else:
                    is_open |= bool(story) or self._began(newest) < moment
            return said, is_open
        except SQLAlchemyError as error:
            raise Unreadable(str(error)) from error

    def _story(self, cause: str, moment: datetime) -> list[str]:
        parts: Counter[str] = Counter()
        for number, run in enumerate(self.runs_of(cause)[::-1]):
            events = [entry for entry in self.instance.all_logs(run.run_id) if entry.timestamp > moment.timestamp()]
            kinds = [entry.dagster_event.event_type for entry in events if entry.dagster_event]
            if dg.DagsterEventType.STEP_UP_FOR_RETRY in kinds:
                parts["step repeated"] += kinds.count(dg.DagsterEventType.STEP_UP_FOR_RETRY)
            if dg.DagsterEventType.RUN_FAILURE in kinds:
                is_lost = any("is lost" in str(entry.dagster_event) for entry in events)
                parts["run found lost" if is_lost else "run failed"] += 1
            if number and self._began(run) > moment:
                retry = run.tags.get("dagster/retry_number")
                parts[f"run retry {retry}" if retry else "asked again by the sensor"] += 1
        what = cause.split(":")[-1]
        times = [name if count == 1 else f"{name} {count}x" for name, count in parts.items()]
        return [f"{what}: {', '.join(times)}"] if times else []

    def _began(self, run: dg.DagsterRun) -> datetime:
        record = self.instance.get_run_record_by_id(run.run_id)
        assert record is not None
        return record.create_timestamp.replace(tzinfo=UTC)

    def why_it_stands(self) -> str:
        """What the sensors said last, which runs are open, what the last failed run said."""
        lines = []
        try:
            for state in self.instance.all_instigator_state():
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                for tick in ticks:
                    said = tick.skip_reason or (tick.error.message.strip()[-300:] if tick.error else "")
                    at = datetime.fromtimestamp(tick.timestamp, UTC)
                    lines.append(f"  {state.instigator_name}: {tick.status.value} at {at:%H:%M:%S}: {said}")
            for run in self.open_runs():
                lines.append(f"  run {run.run_id[:8]} of {run.tags.get(CAUSE)} is {run.status.value}")
            for run in self.instance.get_runs(dg.RunsFilter(statuses=list(ENDED_BADLY)), limit=2):
                lines.append(f"  run {run.run_id[:8]} of {run.tags.get(CAUSE)} failed: {self._failure(run.run_id)}")
        except (SQLAlchemyError, Unreadable) as error:
            lines.append(f"  Dagster's storage cannot be read: {str(error)[:300]}")
        return "\n".join(lines)

    def _failure(self, run_id: str) -> str:
        said = ""
        for entry in self.instance.all_logs(run_id):
            event = entry.dagster_event
            if event is None:
                continue
            if event.event_type is dg.DagsterEventType.STEP_FAILURE and event.step_failure_data.error is not None:
                error = event.step_failure_data.error
                while error.cause is not None:
                    error = error.cause
                return f"{event.step_key}: {error.message.strip()[:300]}"
            if event.event_type is dg.DagsterEventType.RUN_FAILURE:
                said = str(event.message)[:300]
        return said
