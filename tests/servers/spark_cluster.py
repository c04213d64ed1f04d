"""A real standalone Spark cluster on loopback: a master and two workers, from the classes in the pyspark package."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.servers.processes import a_server, answers, free_port

HAS_JAVA = shutil.which("java") is not None or "JAVA_HOME" in os.environ
NO_JAVA = "Java is not on this machine: install a JRE 17 (`apt-get install openjdk-17-jre-headless`) to run Spark"
needs_java = pytest.mark.skipif(not HAS_JAVA, reason=NO_JAVA)


def spark_program(name: str) -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent / "bin" / name)


@pytest.fixture(scope="session")
def spark_cluster() -> Iterator[str]:
    """The address of the master."""
    if not HAS_JAVA:
        pytest.skip(NO_JAVA)
    with TemporaryDirectory(prefix="spark-") as folder, ExitStack() as running:
        port = free_port()
        address = f"spark://127.0.0.1:{port}"
        run = [spark_program("spark-class")]
        common = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": f"{folder}/work", "SPARK_DAEMON_MEMORY": "512m"}
        log = Path(folder) / "master.log"
        master = [*run, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
        running.enter_context(a_server([*master, "--webui-port", "0"], log, lambda: answers(port), **common))
        worker = [*run, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0"]
        for number in (1, 2):
            said = Path(folder) / f"worker{number}.log"
            start = [*worker, "--cores", "1", "--memory", "1500m", address]
            running.enter_context(
                a_server(
                    start, said, lambda said=said: "Successfully registered with master" in said.read_text(), **common
                )
            )
        yield address
