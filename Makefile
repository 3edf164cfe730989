# `make demo` and `make test` need Python 3.10-3.13 with pip and nothing else. PYTHON=python3.12 chooses another one.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo check test docs results lint audit install install-dev clean

demo: install
	$(BIN)/python -m jobs demo

# All that needs no Ray and is done within seconds.
check: lint
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m "not ray and not slow"

# Everything. What starts Ray runs one after the other: clusters of two tests at once get in each other's way.
test: lint docs
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal -m "not ray"
	$(BIN)/python -m pytest -m ray

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation, into site/. Any warning ends the build, such as one of a broken link; --quiet would hide them from --strict.
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The pages of docs/results, from a run of the whole protocol with the bundled models. The paper's tables take about a
# quarter of an hour, the table of proof longer.
results: install
	$(BIN)/python -m jobs reproduce --out reproduction
	for name in coca blip2 internvl open_clip; do \
		cp reproduction/miniature/$$name/report.md docs/results/$$name.md; \
		mkdir -p docs/results/$$name/proof; \
		cp reproduction/miniature/$$name/proof/gain_by_size.svg docs/results/$$name/proof/; \
	done
	cp reproduction/miniature/proof.md docs/results/proof.md

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
	$(BIN)/python -m pip install --quiet --editable '.[yolo,onnx]'
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch .venv/installed $@

clean:
	rm -rf .venv demo reproduction site
