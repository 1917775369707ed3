PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
export UV_PROJECT_ENVIRONMENT := .venv
# Processes that run tests, on two cores or more: those of real pods mostly wait.
WORKERS ?= 3
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test fuzz lint crds golden cluster-up cluster-down cluster-status images bench

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/synced ## Install everything that the project's Python needs into .venv

.venv/synced: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3'; exit 1; }
	@echo 'Installing the locked Python packages into .venv (half a minute) ...'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv --clear .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(BIN)/uv sync --quiet --frozen --inexact --extra dev
	@touch $@

demo: setup ## Train, serve, roll a bad version out and see it rolled back, on a cluster
	@$(BIN)/python -m tests.demo

demo-down: setup ## Remove what the demo made, and leave the cluster
	@$(BIN)/python -m tests.demo --remove

test: setup ## Run every test that this machine can run
	@$(BIN)/pytest --numprocesses=$(WORKERS)

fuzz: setup ## Feed nonsense to everything that reads what others wrote, for SECONDS (60)
	@UPRIGHT_FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest tests/fuzz

lint: setup ## Check style, types, the one-way imports, and that generated files are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.generated

crds: setup ## Generate the CustomResourceDefinitions again
	@$(BIN)/python -m tests.generated --write crds

golden: setup ## Write what the golden cases plan anew: read the difference before you commit it
	@$(BIN)/python -m tests.generated --write golden

cluster-up: setup ## Have a cluster for tests and demo (the first time builds Kubernetes: about 15 minutes)
	@$(BIN)/python -m tests.cluster up

cluster-down: setup ## Remove it again
	@$(BIN)/python -m tests.cluster down

cluster-status: setup ## Say what runs of it, and where its logs are
	@$(BIN)/python -m tests.cluster status

images: setup ## Make the images from this checkout and give them to the cluster
	@$(BIN)/python -m tests.cluster images

bench: setup ## Print the figures: how fast a bad version is rolled back, on the cluster
	@$(BIN)/python -m tests.bench.rollback
