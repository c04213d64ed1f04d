"""The peers, run with the interpreter of their own environment: `python peer.py NAME PORT FOLDER WORKERS`.

This file knows nothing of the platform: it is what people write today.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# uvicorn and BentoML import this file anew: PEER tells them what the arguments told us
NAME, PORT, FOLDER, WORKERS = os.environ["PEER"].split(",") if "PEER" in os.environ else sys.argv[1:5]
DESCRIBED = json.loads((Path(FOLDER) / "model.json").read_text())
NAMES, CATEGORIES = DESCRIBED["names"], DESCRIBED["categories"]


def trained_pipeline():
    """Ordinal codes and the same boosting as ours, from the same rows and seed."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    rows = pd.read_csv(Path(FOLDER) / "training.csv")
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    prepare = ColumnTransformer([("codes", encoder, list(CATEGORIES))], remainder="passthrough")
    boosting = HistGradientBoostingClassifier(max_iter=DESCRIBED["trees"], early_stopping=False, random_state=7)
    return Pipeline([("prepare", prepare), ("model", boosting)]).fit(rows[NAMES], rows.iloc[:, -1])


def row_model():
    import pydantic

    return pydantic.create_model("Row", **{name: (str if name in CATEGORIES else float | None, ...) for name in NAMES})


def fastapi_onnx():
    import numpy as np
    import onnxruntime
    import pydantic
    from fastapi import FastAPI

    row = row_model()
    request = pydantic.create_model("Request", rows=(list[row], ...))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{FOLDER}/home/bundles/flight_delay/1/model.onnx", options)
    codes = {name: {value: float(code) for code, value in enumerate(values)} for name, values in CATEGORIES.items()}
    app = FastAPI()

    @app.post("/predict")
    async def predict(body: request):  # type: ignore[valid-type]
        matrix = np.empty((len(body.rows), len(NAMES)), np.float32)
        for number, given in enumerate(body.rows):
            for column, name in enumerate(NAMES):
                value = getattr(given, name)
                matrix[number, column] = (
                    codes[name].get(value, -1.0) if name in codes else np.nan if value is None else value
                )
        (scores,) = session.run(["scores"], {"inputs": matrix})
        return {"predictions": scores[:, 1].tolist()}

    return app


def fastapi_sklearn():
    import pandas as pd
    import pydantic
    from fastapi import FastAPI

    pipeline = trained_pipeline()
    row = row_model()
    request = pydantic.create_model("Request", rows=(list[row], ...))
    app = FastAPI()

    @app.post("/predict")
    async def predict(body: request):  # type: ignore[valid-type]
        frame = pd.DataFrame([given.model_dump() for given in body.rows], columns=NAMES)
        return {"predictions": pipeline.predict_proba(frame)[:, 1].tolist()}

    return app


def uvicorn_app(name):
    os.environ["PEER"] = ",".join((name, PORT, FOLDER, WORKERS))
    command = ["--factory", f"peer:{name}", "--port", PORT, "--workers", WORKERS, "--no-access-log"]
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *command, "--log-level", "error"])


def mlflow():
    import mlflow.sklearn

    model = Path(FOLDER) / "mlflow_model"
    if not model.exists():
        half = model.with_name(f"{model.name}.part")
        shutil.rmtree(half, ignore_errors=True)
        mlflow.sklearn.save_model(trained_pipeline(), half, pip_requirements=[], serialization_format="cloudpickle")
        half.rename(model)
    command = ["models", "serve", "-m", str(model), "-p", PORT, "-w", WORKERS, "--env-manager", "local"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command])


def bentoml():
    from importlib.metadata import version

    assert version("bentoml")
    os.environ["PEER"] = ",".join(("bentoml", PORT, FOLDER, WORKERS))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "bento:Flights", "--port", PORT])


def mlserver():
    import joblib

    folder = Path(FOLDER) / "mlserver_model"
    if not folder.exists():
        folder.mkdir()
        joblib.dump(trained_pipeline(), folder / "model.joblib")
    settings = {
        "name": "flights",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    ports = {"http_port": int(PORT), "grpc_port": int(PORT) + 100, "metrics_port": int(PORT) + 200}
    server = {**ports, "parallel_workers": 0 if WORKERS == "1" else int(WORKERS), "host": "127.0.0.1"}
    server["metrics_dir"] = str(folder / "metrics")
    (folder / "settings.json").write_text(json.dumps(server))
    script = Path(sys.executable).with_name("mlserver")
    sys.exit(subprocess.call([script, "start", str(folder)]))


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    {
        "fastapi_onnx": lambda: uvicorn_app("fastapi_onnx"),
        "fastapi_sklearn": lambda: uvicorn_app("fastapi_sklearn"),
        "mlflow": mlflow,
        "bentoml": bentoml,
        "mlserver": mlserver,
    }[NAME]()
