"""CPU microseconds of one request of so many rows without a server: msgspec, array, ONNX Runtime, JSON.

`python in_process.py FOLDER BATCH`: the inputs come ready made, nothing is logged, nothing is counted.
"""

import json
import re
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime


def main() -> None:
    folder, batch = Path(sys.argv[1]), sys.argv[2]
    described = json.loads((folder / "model.json").read_text())
    bodies = re.findall(r"\[==\[(.*)\]==\]", (folder / f"inputs_{batch}.lua").read_text())
    categories = described["categories"]
    row = msgspec.defstruct("Row", [(name, str if name in categories else float | None) for name in described["names"]])
    request = msgspec.defstruct("Request", [("rows", list[row])])
    decode, encode = msgspec.json.Decoder(request).decode, msgspec.json.Encoder().encode
    codes = {name: {value: float(code) for code, value in enumerate(values)} for name, values in categories.items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "home/bundles/flight_delay/1/model.onnx"), options)

    def answer(body: str) -> bytes:
        rows = decode(body).rows
        matrix = np.array(
            [
                [
                    codes[name].get(value, -1.0) if name in codes else np.nan if value is None else value
                    for name, value in zip(described["names"], msgspec.structs.astuple(row), strict=True)
                ]
                for row in rows
            ],
            dtype=np.float32,
        )
        (scores,) = session.run(["scores"], {"inputs": matrix})
        return encode({"predictions": scores[:, 1].tolist()})

    best = float("inf")
    for _ in range(20):
        started = time.process_time()
        for body in bodies:
            answer(body)
        best = min(best, (time.process_time() - started) / len(bodies))
    print(best * 1e6)


if __name__ == "__main__":
    main()
