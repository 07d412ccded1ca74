# `make` lists the commands. Set-up runs once and again only when the dependencies change.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
NEWEST := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c '$(NEWEST)' 2>/dev/null && echo $$name && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
GENERATORS := $(sort $(wildcard tools/generate_*.py))
FILE ?= $(wildcard ../shared/data/*-dev.json)
PYTEST_ARGS ?=
# Twice the cores of a small machine: half of the time a test waits for a process, a clock or a disk.
WORKERS ?= 4
# Neighbours stay together, as they share servers; whoever is done takes from whoever is not.
PARALLEL := -n $(WORKERS) --dist worksteal
COMPOSE := docker compose
SERVICES := \
	HOLDFAST_TEST_QDRANT_URL=http://127.0.0.1:$${QDRANT_PORT:-6333} \
	HOLDFAST_TEST_QDRANT_GRPC_PORT=$${QDRANT_GRPC_PORT:-6334} \
	HOLDFAST_TEST_POSTGRES_URL=postgresql://holdfast:holdfast@127.0.0.1:$${POSTGRES_PORT:-5432}/holdfast \
	HOLDFAST_TEST_PGVECTOR_URL=postgresql://holdfast:holdfast@127.0.0.1:$${POSTGRES_PORT:-5432}/holdfast \
	HOLDFAST_TEST_REDIS_URL=redis://127.0.0.1:$${REDIS_PORT:-6379}/0 \
	HOLDFAST_TEST_WEAVIATE_URL=http://127.0.0.1:$${WEAVIATE_PORT:-8080}

export PIP_NO_INPUT := 1

.PHONY: help demo test test-thorough test-compat test-services check audit-deps bench bench-server eval fmt generate lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## set everything up, then watch Holdfast remember a conversation
	@$(BIN)/holdfast demo

test: $(VENV)/.installed-dev ## set everything up, then run all tests (PYTEST_ARGS="-k name")
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-thorough: $(VENV)/.installed-dev ## the same with more examples, kills and whole contracts everywhere
	@HOLDFAST_TEST_THOROUGH=1 $(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-compat: $(VENV)/.installed-dev ## drive the real clients of Mem0 against a server (installs them once)
	@$(BIN)/python -m pytest -m compat -o cache_dir=.pytest_cache/compat tests/compat $(PYTEST_ARGS)

test-services: $(VENV)/.installed-dev ## run the contracts against real databases, started with docker compose
	@trap '$(COMPOSE) down --volumes' EXIT; $(COMPOSE) up --detach --wait; \
	  $(SERVICES) $(BIN)/python -m pytest tests/contract $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## format, lint, types, layers, generated files current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@for generator in $(GENERATORS); do echo "$$generator --check"; $(BIN)/python $$generator --check; done

audit-deps: $(VENV)/.installed-dev ## look for known weaknesses in what the lock pins (ARGS="--must")
	@$(BIN)/python tools/audit.py $(ARGS)

bench: $(VENV)/.installed-dev ## measure against Mem0 and the bare limit, in one run (ARGS="--quick")
	@$(BIN)/python bench/run.py $(ARGS)

bench-server: $(VENV)/.installed-dev ## measure the server against Mem0 behind FastAPI (ARGS="--quick")
	@$(BIN)/python bench/server_run.py $(ARGS)

eval: $(VENV)/.installed ## recall on conversations with known evidence (FILE="a.json b.json")
	@[ -n "$(strip $(FILE))" ] || { \
	  echo "No conversations found in ../shared/data. Name yours: make eval FILE=conversations.json" >&2; exit 2; }
	@for file in $(FILE); do echo "== $$file"; $(BIN)/holdfast eval "$$file"; done

fmt: $(VENV)/.installed-dev ## format the code and mend what the linter can
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

generate: $(VENV)/.installed-dev ## write the generated files anew
	@for generator in $(GENERATORS); do echo "$$generator"; $(BIN)/python $$generator; done

lock: ## find newer versions of what is installed and write requirements.lock
	@PYTHON=$(PYTHON) tools/lock.sh

clean: ## remove the environment, caches and what the benchmark built
	rm -rf $(VENV) .bench .compat build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Holdfast needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Could not make $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Setting up $(VENV) (takes about a minute the first time)"
	@$(PIP) install -c requirements.lock hatchling editables
	@$(PIP) install -c requirements.lock --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Setting up the tools for tests and checks"
	@$(PIP) install -c requirements.lock --no-build-isolation -e '.[dev]'
	@touch $@
