# Every target makes .venv itself; `make help` lists them. Another Python: make PYTHON=python3.12 test
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p"; done))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= auto

# One computing thread a test worker: more only fight for the same cores.
test bench: export OMP_NUM_THREADS = 1

.PHONY: help demo test check bench fuzz

help: ## this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: .venv/core.stamp ## an emulated beamline and the real daemon, from end to end
	@$(BIN)/cade demo

test: .venv/dev.stamp ## all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(ARGS)

check: .venv/dev.stamp ## format, lint, types, import contracts
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/dev.stamp ## benchmarks with ratios
	@for file in benchmarks/[!_]*.py; do [ ! -e "$$file" ] || $(BIN)/python "$$file"; done

fuzz: .venv/dev.stamp ## a million hostile messages against every decoder
	@$(BIN)/python -m tests.fuzz $(ARGS)

# A stamp is newer than what it was made from, so a change of either file installs again.
.venv/core.stamp: pyproject.toml constraints.txt
	$(make_environment)
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt
	$(make_environment)
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch .venv/core.stamp $@

define make_environment
@if [ -z "$(PYTHON)" ]; then \
	echo "make: no Python 3.11 or newer found; install one, or say make PYTHON=/path/to/python" >&2; exit 1; fi; \
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	echo "making .venv (the first time takes minutes)"; \
	$(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	echo "make: $(PYTHON) cannot make a virtual environment with pip; on Debian and Ubuntu: apt install python3-venv" >&2; \
	exit 1; }; \
fi
endef
