# The prediction API as one image, for a machine of one's own, KServe, SageMaker, Vertex AI and Azure ML: docs/serving.md.
#
#   docker build -t predictions .
#   docker run -p 8000:8000 -v "$PWD/var/home:/home/mlops/home" -e MLOPS_PREDICT_KEYS=… predictions
#
# A platform starts it with variables of its own (AIP_…, AZUREML_…) or with the argument `serve` (SageMaker), and mounts
# the bundle. Where it cannot, an image of three lines holds the bundle: FROM this one, COPY it, ENV MLOPS_BUNDLE.
FROM python:3.11-slim AS packages
COPY requirements/serving.lock .
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r serving.lock

FROM python:3.11-slim
COPY --from=packages /opt/venv /opt/venv
# the source tree and no wheel beside it: the two would shadow each other
WORKDIR /home/mlops
COPY mlops_assets/errors.py mlops_assets/addresses.py mlops_assets/variables.py mlops_assets/__init__.py mlops_assets/
COPY mlops_assets/products mlops_assets/products
COPY mlops_assets/sources mlops_assets/sources
COPY mlops_assets/records mlops_assets/records
COPY mlops_assets/state mlops_assets/state
COPY mlops_assets/features mlops_assets/features
COPY serving serving
# your own products take the place of these: the API finds them in the folder it is started in
COPY examples examples
COPY products products
# the user below cannot write what the interpreter would keep
RUN /opt/venv/bin/python -m compileall -q mlops_assets serving examples products
RUN useradd --uid 1000 --no-create-home mlops && mkdir -p home && chown mlops home
USER mlops
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 MLOPS_HOME=/home/mlops/home MLOPS_HOST=0.0.0.0 MLOPS_LOG=json DO_NOT_TRACK=1
# 8000 by itself, 8080 on SageMaker and Vertex AI, 5001 on Azure ML
EXPOSE 8000 8080 5001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "serving"]
