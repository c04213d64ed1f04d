"""The sensor for lost runs: marks runs as failed whose process or machine has ended, so that they are retried."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from mlops_assets.state.run_records import RunRecords, reason_it_is_gone
from resources.platform import Platform
from sensors.runs import OPEN

# how long a run may be starting, or started, without a process that has recorded it
STARTS_WITHIN = timedelta(minutes=10)
RECORDED_WITHIN = timedelta(minutes=2)
# where our own code server starts runs, which takes seconds: for runs of a former code server, and of the current one
TAKEN_UP_WITHIN = timedelta(minutes=1)
LAUNCHED_WITHIN = timedelta(minutes=2)


def build_lost_runs_sensor(
    status: dg.DefaultSensorStatus, products: frozenset[str], name: str = "lost_runs"
) -> dg.SensorDefinition:
    """Checks only runs of these products' assets, because other code locations may share the instance."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=10,
        default_status=status,
        description="Marks runs as failed whose process has ended; Dagster or the sensor that requested them retries them.",
    )
    def lost_runs(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        records, instance = platform.open().run_records, context.instance
        now, began = datetime.now(UTC), _code_server_began(instance)
        open_runs = [
            record
            for record in instance.get_run_records(dg.RunsFilter(statuses=list(OPEN)))
            if _is_ours(record.dagster_run, products)
        ]
        lost = []
        for record in open_runs:
            run = record.dagster_run
            reason = why_lost(record, records, now, began)
            if reason is None:
                continue
            latest = instance.get_run_by_id(run.run_id)
            if latest is None or latest.is_finished:
                continue  # it ended meanwhile
            message = f"This run is lost: {reason}."
            if run.status is dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, message)
            else:
                instance.report_run_failed(run, message)
            records.remove(run.run_id)
            lost.append(f"{run.run_id}: {reason}")
        _remove_old_records(instance, records)
        return dg.SkipReason("; ".join(lost) or f"{len(open_runs)} runs are under way, and their processes are alive")

    return lost_runs


def why_lost(
    record: dg.RunRecord, records: RunRecords, now: datetime, code_server_began: datetime | None = None
) -> str | None:
    """Why no process executes this run; None while one does or may.

    code_server_began: when the code server that starts runs began; None: another launcher starts them.

    A queued run is never lost, because the queue may be long."""
    run = record.dagster_run
    run_record = records.read(run.run_id)
    if run_record is not None:
        return reason_it_is_gone(run_record, now)
    if run.status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING):
        created = record.create_timestamp.astimezone(UTC)
        waited = now - created
        if code_server_began is not None and created < code_server_began and waited > TAKEN_UP_WITHIN:
            return "the code server that was to start it has ended"
        # a daemon may end between recording a run and launching it; a process that starts later is refused
        within = STARTS_WITHIN if code_server_began is None else LAUNCHED_WITHIN
        return f"no process started it within {within.total_seconds() / 60:.0f} minutes" if waited > within else None
    if run.status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING) and record.start_time is not None:
        waited = now - datetime.fromtimestamp(record.start_time, UTC)
        return "its process ended before its first step" if waited > RECORDED_WITHIN else None
    return None


def _code_server_began(instance: dg.DagsterInstance) -> datetime | None:
    """The start of this process: sensors are evaluated in the code server, which starts runs with Dagster's default launcher."""
    import psutil

    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return None
    return datetime.fromtimestamp(psutil.Process().create_time(), UTC)


def _remove_old_records(instance: dg.DagsterInstance, records: RunRecords) -> None:
    """Remove the records of finished runs: a killed process leaves its record."""
    for run_id in records.run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            records.remove(run_id)


def _is_ours(run: dg.DagsterRun, products: frozenset[str]) -> bool:
    if run.tags.get("product") in products:
        return True
    return any(key.path[0] in products for key in run.asset_selection or ())
