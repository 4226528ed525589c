# k8s-execution: `make run` runs the main job, `make test` the checks and tests. Both do all set-up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
PY := $(VENV)/bin/python
TEST_WORKERS ?= 2

.PHONY: help env run test check unit wheel lock generate clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(VENV)/.ready ## system packages, virtual environment, agent binary

$(VENV)/.ready: requirements-dev.txt pyproject.toml clients/python/pyproject.toml tools/setup.sh
	@bash tools/setup.sh $(VENV)
	@touch $@

run: env ## the main job: an example application and two suites on the simulated cluster
	@$(PY) examples/main_job.py

test: env check ## every check, then every test
	@$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile

check: env ## format, lint, types, import contracts, budgets, purity, contract, generated code
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(PY) tools/purity.py
	@$(PY) tools/budgets.py
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/mypy server clients/python tests tools bench
	@$(PY) tools/contract_check.py
	@$(PY) tools/docs_check.py

generate: env ## generated code from proto/
	@$(PY) tools/generate.py

wheel: env ## both wheels into dist/, the agent built into the service's
	@$(VENV)/bin/uv build -q --offline --wheel --no-build-isolation --python $(PY) -o dist .
	@$(VENV)/bin/uv build -q --offline --wheel --no-build-isolation --python $(PY) -o dist clients/python

lock: env ## lock files from requirements*.in
	@$(VENV)/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal requirements.in -o requirements.txt
	@$(VENV)/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal requirements-dev.in -o requirements-dev.txt

clean: ## what the build and the tests left (not the caches outside)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: cluster-build cluster-up cluster-down cluster-status

CLUSTER ?= default

cluster-build: env ## builds all that cluster-up and test-cluster need, gently; may run beside other work
	@PYTHONPATH=tests $(PY) -m cluster build

cluster-up: env ## a real Kubernetes for tests (root; docs/cluster.md); prints its kubeconfig
	@PYTHONPATH=tests $(PY) -m cluster up --name $(CLUSTER)

cluster-down: env ## removes it, whatever state it is in
	@PYTHONPATH=tests $(PY) -m cluster down --name $(CLUSTER)

cluster-status: env ## how it is, where its kubeconfig and logs are
	@PYTHONPATH=tests $(PY) -m cluster status --name $(CLUSTER)

.PHONY: test-cluster
PYTEST_ARGUMENTS ?=
test-cluster: env ## the Kubernetes suite, end-to-end and real-cluster tests on a real cluster; brings it up if need be
	@PYTHONPATH=tests $(PY) tools/test_cluster.py --name $(CLUSTER) $(PYTEST_ARGUMENTS)
