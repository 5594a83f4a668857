# Everything a developer does. `make` alone lists the targets. Needs python3 (3.11 or newer), git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv and install the package there, with the versions of requirements.lock

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else f"semiseg needs Python 3.11 or newer, $(PYTHON) is {v}: make install PYTHON=python3.12")'
	@echo "installing into $(VENV); the first time this takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[app,completion,dev,docs,export,geo,heic,import,mit,prepare,scale,starter,video]'
	@touch $@

demo: install ## train on the embedded scenes and show what comes out; goes on where it was cut off
	$(BIN)/semiseg demo

# Two workers with one thread each: torch's own threads would fight over the cores.
test: install ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: install ## check style, types, spelling and import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo

docs: install ## the pages of docs/ as a site: build/site/index.html
	$(BIN)/mkdocs build

bench: install ## measure speed beside a plain rendering of the published way; BENCH='--only step' and so on
	$(BIN)/python -m benchmarks.speed $(BENCH)

clean: ## remove .venv and every cache; runs/ stays
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
