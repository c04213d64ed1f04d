"""The BentoML service of the serving benchmark; its place and model are told by PEER, as in peer.py."""

import bentoml
import pandas as pd
from peer import NAMES, trained_pipeline


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Flights:
    def __init__(self) -> None:
        self.pipeline = trained_pipeline()

    @bentoml.api(route="/predict")
    def predict(self, rows: list[dict]) -> dict:
        frame = pd.DataFrame(rows, columns=NAMES)
        return {"predictions": self.pipeline.predict_proba(frame)[:, 1].tolist()}
