# Two commands on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# leaves no trace elsewhere: Dagster's and Evidently's telemetry stay off
export DO_NOT_TRACK := 1
# OpenMP's threads wait without spinning, so that several people can share the cores
export OMP_WAIT_POLICY := PASSIVE
# compiled modules are kept, whatever the machine says: every process would compile its libraries anew, for seconds
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help env demo test fast check docs lock peers clean
help: ## show these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(READY) ## make the environment from the lock

$(READY): requirements/bootstrap.lock requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12")'
	@echo "making the environment in $(VENV) (about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## replay a year of flights, then look at it: Dagster, MLflow and the API stay up until Ctrl-C
	@$(BIN)/mlops demo

test: $(READY) ## run the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20 # the long files, of acceptance, first

fast: $(READY) ## lint, types and the quick unit tests, in about a minute: for while you work
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n 2 -m "not slow" tests/unit

check: $(READY) ## lint, types, import contracts, definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@MLOPS_HOME=$$(mktemp -d) $(BIN)/dagster definitions validate -w workspace.yaml

docs: $(READY) ## build the documentation as a site in var/docs; a link that leads nowhere is an error
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs var/docs
	@echo "open var/docs/index.html"

lock: ## renew the lock files (hashes, no registry address)
	@for name in bootstrap runtime dev serving; do \
	  case $$name in bootstrap) from=requirements/bootstrap.in;; runtime) from=pyproject.toml;; dev) from="pyproject.toml --extra dev -c requirements/runtime.lock";; serving) from="requirements/serving.in -c requirements/dev.lock";; esac; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" $$from -o requirements/$$name.lock || exit 1; done
	@for from in benchmarks/peers/*.in examples/airflow/requirements.in; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make lock" $$from -o $${from%.in}.lock || exit 1; done

peers: $(READY) ## make the environments of the peers that benchmarks compare with, and of Airflow's example
	@$(BIN)/python benchmarks/peer_environments.py

clean: ## remove the environment and what the demo left
	@rm -rf $(VENV) var/demo
