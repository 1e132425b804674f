# make demo: align the bundled model in minutes.   make test: lint, types and all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test bundled-model clean

demo: $(VENV)/headless.stamp
	$(BIN)/treegrpo demo

test: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# Trains the bundled model and its scorer again from scratch; takes about an hour on two cores and needs npm.
bundled-model: $(VENV)/training.stamp
	$(BIN)/python -m training.build

$(VENV)/headless.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[headless]'
	touch $@

$(VENV)/test.stamp: $(VENV)/headless.stamp
	$(PIP) --editable '.[headless,test,dev]'
	touch $@

$(VENV)/training.stamp: $(VENV)/headless.stamp
	$(PIP) --editable '.[headless,training]'
	touch $@

clean:
	rm -rf $(VENV) build
