# What a newcomer types. Each target installs what it needs into .venv, hash-checked, and is instant when that is done.
# Any Python 3.11 to 3.13 with pip will do; PYTHON=/path/to/python chooses one.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo up down status check test bench kill-matrix lock

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
SLIPWAY := $(BIN)/slipway
APPROVE ?= api
# A test run goes on after a failure; TESTS= narrows it, for example: make test TESTS=tests/unit
TESTS ?=
NICE := nice -n 5

help: ## Show what there is
	@echo "Slipway: from a pushed commit to production, and back by itself. Start with: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "State: SLIPWAY_STATE (default /var/lib/slipway as root, else ~/.local/state/slipway). Ports: SLIPWAY_PORT_BASE."
	@echo "All commands and settings: $(SLIPWAY) --help, docs/how-to/operate-the-stack.md"

demo: $(RUNTIME) ## See the whole journey for real, unattended (APPROVE=ui: you approve in the browser)
	@$(SLIPWAY) demo --approve $(APPROVE)

up: $(RUNTIME) ## Bring the embedded stack up; safe to run again
	@$(SLIPWAY) up

down: $(RUNTIME) ## End every process of the stack; state is kept
	@$(SLIPWAY) down

status: $(RUNTIME) ## Show what runs, since when, and where its log is
	@$(SLIPWAY) status

check: $(DEV) ## Hold style, types, the direction of imports, and the unit tests: the fast path
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/conventions tests/golden

test: $(DEV) ## Run all tests, on the real parts (TESTS=tests/unit narrows them)
	$(NICE) $(BIN)/python tests/run.py $(TESTS)

kill-matrix: $(DEV) ## Write the page of what was killed where (docs/reference/kill-matrix.md)
	SLIPWAY_KILL_MATRIX=write $(BIN)/python -m pytest -q tests/faults/test_kill_matrix.py

bench: $(DEV) ## Measure what we claim
	$(NICE) $(BIN)/python -m benchmarks

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--override requirements/overrides.in

lock: $(DEV) ## Lock the packages anew, with hashes and without addresses; then run all tests
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --extra dev pyproject.toml -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) requirements/data.in -o requirements/data.txt

# Finds a Python, makes the venv (with or without ensurepip: Debian ships python3 without it), installs the lock.
$(RUNTIME): requirements/runtime.txt requirements/install.sh
	@sh requirements/install.sh $(VENV) requirements/runtime.txt
	@touch $@

$(DEV): requirements/dev.txt requirements/install.sh
	@sh requirements/install.sh $(VENV) requirements/dev.txt
	@touch $@ $(RUNTIME)
