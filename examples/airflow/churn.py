"""A model product period by period, by the `mlops` command of another environment.

Each run stores a period as soon as it has arrived, predicts it and reads its drift. Once the labels are due it measures, decides, and
carries the decision out. Airflow reads exit codes and the JSON object that `--json` prints; it imports nothing of the platform.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import DAG, CronDataIntervalTimetable, task

# of products/churn.py: its name, its period, and the delay of its label
PRODUCT = "churn"
PERIODS = CronDataIntervalTimetable("0 0 * * MON", timezone="UTC")
LABEL_DELAY = timedelta(days=1)
# the folder that holds `products`, and the command of the environment in which mlops-assets is installed
FOLDER = os.environ["PRODUCT_FOLDER"]
COMMAND = os.environ.get("MLOPS_COMMAND", "mlops")

TOO_EARLY = 75  # the exit code that says that a period has not arrived
THIS_PERIOD = "{{ data_interval_start | ds }}"
# moments for `mlops clock`. A run of the schedule names none: it is about today, and would carry a replay of the past along with it
OF_THE_PAST = "if dag_run.run_type != 'scheduled'"
ARRIVED = f"{{{{ data_interval_end | ts {OF_THE_PAST} }}}}"
LABELLED = (
    f"{{{{ (data_interval_end + macros.timedelta(days={LABEL_DELAY / timedelta(days=1)})) | ts {OF_THE_PAST} }}}}"
)
DECIDED = "{{ ti.xcom_pull('decide')['decisions'][-1]['partition'] }}"


def mlops(*commands: str) -> str:
    """Bash that runs these one after the other, up to the first that fails."""
    return "\n".join(["set -e", f"cd '{FOLDER}'", *(f"{COMMAND} {command}" for command in commands)])


@task.branch
def what_follows(said: dict[str, Any]) -> str | None:
    """The task that carries the decision out; None: nothing follows."""
    return {"train": "retrain", "send_back": "rework"}.get(said["decisions"][-1]["step"])


with DAG(PRODUCT, schedule=PERIODS, start_date=datetime(2024, 5, 20, tzinfo=UTC), catchup=False, max_active_runs=1):
    # `mlops clock` lets the platform's clock go along with back-fills of the past; where the wall clock holds, it changes nothing
    arrival = BashSensor(
        task_id="arrival",
        bash_command=mlops(
            f"clock {ARRIVED}",
            f"materialize {PRODUCT} raw features online_features predictions data_drift --partition {THIS_PERIOD}",
        ),
        retry_exit_code=TOO_EARLY,  # a period that is late is asked for again; one that breaks its contract fails at once
        poke_interval=timedelta(minutes=15),
        mode="reschedule",
        retries=2,  # of a lost worker; a broken contract is not tried again
    )
    labels_are_due = TimeDeltaSensor(task_id="labels_are_due", delta=LABEL_DELAY, mode="reschedule")
    decide = BashOperator(
        task_id="decide",
        bash_command=mlops(
            f"clock {LABELLED}",
            f"materialize {PRODUCT} labels performance staleness probation drift_decision "
            f"--partition {THIS_PERIOD} --json",
        ),
        output_processor=json.loads,  # of the last line, which is the object
    )
    retrain = BashOperator(task_id="retrain", bash_command=mlops(f"train {PRODUCT} --partition {DECIDED} --json"))
    rework = BashOperator(
        task_id="rework", bash_command=mlops(f"materialize {PRODUCT} rework_brief --partition {DECIDED} --json")
    )
    arrival >> labels_are_due >> decide >> what_follows(decide.output) >> [retrain, rework]
