"""The floor: a Litestar route that reads the body and answers a constant. `python floor.py PORT WORKERS`."""

import sys

import uvicorn
from litestar import Litestar, Request, Response, post

ANSWER = b'{"predictions":[0.5]}'


@post("/predict", status_code=200)
async def predict(request: Request) -> Response:
    await request.body()
    return Response(ANSWER, media_type="application/json")


app = Litestar([predict], openapi_config=None)

if __name__ == "__main__":
    options = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "error"}
    uvicorn.run("floor:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), app_dir=sys.path[0], **options)
