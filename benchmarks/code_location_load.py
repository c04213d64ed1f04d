"""How long the code location takes to load, beside `import dagster` alone: every launched run pays this.

Interleaved in fresh processes; the last line is one JSON object. `--quick` ends within 50 s.
"""

import json
import statistics
import subprocess
import sys
import time

FLOOR = "import dagster"
OURS = "from mlops_assets.definitions import defs; defs()"


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    rounds = 5 if "--quick" in sys.argv else 15
    seconds(OURS)  # fill the disk cache
    floor, ours = [], []
    for _ in range(rounds):
        floor.append(seconds(FLOOR))
        ours.append(seconds(OURS))
    bare, loaded = statistics.median(floor), statistics.median(ours)
    print(f"import dagster             {bare:.2f} s (median of {rounds})")
    print(f"load the code location     {loaded:.2f} s")
    print(f"ratio                      {loaded / bare:.2f}")
    print(json.dumps({"dagster_seconds": bare, "code_location_seconds": loaded, "load_ratio": loaded / bare}))


if __name__ == "__main__":
    main()
