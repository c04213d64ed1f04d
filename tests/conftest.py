"""What every test shares: UTC, and nothing phones home."""

import os
import time

os.environ["TZ"] = "UTC"
time.tzset()
os.environ.update(DO_NOT_TRACK="1", DAGSTER_DISABLE_TELEMETRY="1", MLFLOW_DISABLE_TELEMETRY="true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# threads that wait let others work: spinning ones make a fit sixty times slower where the cores are shared
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# the flights, and not what lies in the folder of whoever runs the tests
os.environ.update(MLOPS_PRODUCTS="examples.flights.catalog:CATALOG", MLOPS_PRODUCTS_DIR="")
# a test says which home it means
OTHERS = ("DAGSTER_HOME", "MLOPS_HOME", "MLOPS_STATE", "MLOPS_SENSORS", "MLOPS_WEBHOOK_URL", "MLOPS_MLFLOW_TRACKING")
for name in (*OTHERS, "MLOPS_ONLINE_STORE", "MLOPS_APPROVAL_KEY"):
    os.environ.pop(name, None)

# real servers, each started once, when a test first asks for it
pytest_plugins = ["tests.servers.databases", "tests.servers.object_store", "tests.servers.spark_cluster"]
