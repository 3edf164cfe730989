# `make demo` and `make test` need Python 3.10-3.13 with pip and nothing else. PYTHON=python3.12 chooses another one.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo check test lint audit install install-dev clean

demo: install
	$(BIN)/python -m jobs demo

# All that needs no Ray and is done within seconds.
check: lint
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m "not ray and not slow"

# Everything. Two files at a time, as tests with Ray mostly wait, or start processes of their own; the longest first.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known vulnerabilities of all that is installed. Asks PyPI; what that cannot answer for counts as a failure.
audit: install-dev
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --local --skip-editable --strict --progress-spinner off

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch .venv/installed $@

clean:
	rm -rf .venv demo
