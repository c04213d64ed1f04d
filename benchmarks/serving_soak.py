"""Ten minutes of load: the server's memory stays where it was.

    python benchmarks/serving_soak.py [--seconds 600] [--clients 16]

Asked by `wrk` with the bodies of benchmarks/serving.py, in slices; memory after the first tenth beside memory at the end.
The last line is one JSON object.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "serving_parts"))
sys.path.insert(0, str(Path(__file__).parent))
from data import prepare

from serving import FOLDER, Running, load, servers

SLICES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    prepare(FOLDER)
    server = next(server for server in servers(workers=1) if server.name == "ours")
    memory, rates, errors = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(FOLDER / "home", home, ignore=shutil.ignore_patterns("predictions", "spool"))
        server = type(server)(server.name, server.form, server.path, ("ours.py", "PORT", str(home), "relaxed", "1"))
        running = Running(server)
        try:
            running.wait()
            for number in range(SLICES):
                run = load(running, (1, given.clients), given.seconds / SLICES)
                memory.append(running.memory_mb())
                rates.append(run["rps"])
                errors += run["errors"]
                print(
                    f"{(number + 1) * given.seconds / SLICES:6.0f} s {run['rps']:8,.0f}/s {memory[-1]:7.1f} MB",
                    flush=True,
                )
        finally:
            running.stop()
    warm, last = memory[SLICES // 10 - 1], memory[-1]
    print(
        f"memory {warm:.1f} MB after a tenth, {last:.1f} MB at the end, {max(memory):.1f} MB at most; {errors:.0f} errors"
    )
    figures = {"seconds": given.seconds, "memory_growth_mb": round(last - warm, 1), "memory_mb": round(last, 1)}
    print(json.dumps({**figures, "requests_per_second": round(sum(rates) / SLICES), "errors": errors}))


if __name__ == "__main__":
    main()
