# make demo: align the bundled model in minutes.   make test: lint, types and all tests.
# make comfyui: open ComfyUI with this repository as a custom node.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMFYUI_VENV := .venv-comfyui
COMFYUI_BIN := $(COMFYUI_VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test comfyui bundled-model clean

demo: $(VENV)/headless.stamp
	$(BIN)/treegrpo demo

test: $(VENV)/test.stamp $(COMFYUI_VENV)/comfyui.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest
	$(COMFYUI_BIN)/python -m pytest tests/comfyui

comfyui: $(COMFYUI_VENV)/comfyui.stamp
	$(COMFYUI_BIN)/python -m comfyui.serve

# Trains the bundled model and its scorer again from scratch; takes about an hour on two cores and needs npm.
bundled-model: $(VENV)/training.stamp
	$(BIN)/python -m training.build

$(VENV)/headless.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[headless]'
	touch $@

$(VENV)/test.stamp: $(VENV)/headless.stamp
	$(BIN)/python $(PIP) --editable '.[headless,test,dev]'
	touch $@

$(VENV)/training.stamp: $(VENV)/headless.stamp
	$(BIN)/python $(PIP) --editable '.[headless,training]'
	touch $@

$(COMFYUI_VENV)/comfyui.stamp: pyproject.toml constraints.txt comfyui/requirements.txt comfyui/prepare.py comfyui/fetch.py
	test -x $(COMFYUI_BIN)/python || $(PYTHON) -m venv $(COMFYUI_VENV)
	$(COMFYUI_BIN)/python $(PIP) --requirement comfyui/requirements.txt --editable '.[headless,test]'
	$(COMFYUI_BIN)/python -m comfyui.prepare
	$(COMFYUI_BIN)/python -m comfyui.fetch
	touch $@

clean:
	rm -rf $(VENV) $(COMFYUI_VENV) build
