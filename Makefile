# make demo   install into .venv, then run the demonstration (writes taskloom-runs/demo/report.html)
# make stubs  rewrite the __init__.pyi of packages whose public names changed
# make test   install into .venv, then every check: formatting, types, floors, documentation, tests
# make coverage   the tests again, with the lines and branches that they reach (at least 90 %); 1.5 times as long
#
# No virtual environment has to be active; everything happens in .venv.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test lint unit coverage stubs docs clean
.DEFAULT_GOAL := test

setup: $(INSTALLED)

# PyTorch comes first and alone: where an installer is asked for everything at once, it may choose another build.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/taskloom demo

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 20

coverage: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-report=xml

stubs: setup
	$(BIN)/python tools/write_stubs.py

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# lint and documentation take one core each, the tests take both
test: setup
	@status=0; \
	$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target lint docs || status=1; \
	$(MAKE) --no-print-directory unit || status=1; \
	exit $$status

clean:
	rm -rf docs/_build docs/gallery docs/api/generated docs/sg_execution_times.rst
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* coverage.xml build dist
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
