# make demo: align the bundled model in minutes.   make test: style, types and all tests but the long ones.
# make test-processors: the tests that rounding may disturb, on every processor that this one can play.
# make test-frontends: the browser tests on the oldest and the newest of ComfyUI's pages that this is meant for.
# make bench: the long tests, and the tables of speed and learning on the bundled model; two hours on two cores.
# make comfyui: open ComfyUI with this repository as a custom node.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMFYUI_VENV := .venv-comfyui
COMFYUI_BIN := $(COMFYUI_VENV)/bin
REFERENCE_VENV := .venv-reference
REFERENCE_BIN := $(REFERENCE_VENV)/bin
MAKEFLAGS += --jobs=2
# Modules are compiled when they are first imported, and kept, whatever the shell says: most never are imported.
unexport PYTHONDONTWRITEBYTECODE
PIP := -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

define made
test -x $(1)/bin/python || $(PYTHON) -c 'import sys; sys.version_info < (3, 10) and sys.exit( \
  "Python 3.10 or newer is needed, and this is " + sys.version.split()[0] + "; say which: make PYTHON=python3.12 ...")'
test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

.PHONY: demo bench test test-processors test-frontends tests-ready references comfyui bundled-model clean

demo: $(VENV)/headless.stamp
	$(BIN)/treegrpo demo

# Each goes on with nothing else beside it, so that times can be compared.
bench: $(VENV)/test.stamp $(COMFYUI_VENV)/test.stamp
	$(BIN)/pytest -m long
	$(COMFYUI_BIN)/python -m pytest -m long tests/comfyui
	$(COMFYUI_BIN)/python -m pytest -m long tests/browser
	$(BIN)/treegrpo bench train
	$(BIN)/treegrpo bench learning --what methods

# All parts, three beside each other, and a line for each at the end; tests/parts.py runs single ones. The browser tests
# find a Chromium or install one; what the pages looked like is in build/screenshots.
test: tests-ready
	$(BIN)/python tests/parts.py

# The tests whose numbers hang on a processor's kernels, with all the kernels that this one can be told to use.
test-processors: tests-ready
	$(BIN)/python tests/parts.py processors

# They are downloaded to the user's cache, beside ComfyUI's source.
test-frontends: tests-ready
	$(BIN)/python tests/parts.py frontends

tests-ready: $(VENV)/test.stamp $(COMFYUI_VENV)/test.stamp web/node_modules/install.stamp

# Records once more what the packages say that rewards are compared with; they need old releases of others.
references: $(REFERENCE_VENV)/reference.stamp
	PYTHONPATH=. $(REFERENCE_BIN)/python -m tests.rewards.reference

comfyui: $(COMFYUI_VENV)/comfyui.stamp
	$(COMFYUI_BIN)/python -m comfyui.serve

# Trains the bundled model and its scorer again from scratch; takes about an hour on two cores and needs npm.
bundled-model: $(VENV)/emoji-model.stamp
	$(BIN)/python -m emoji_model.build

$(VENV)/headless.stamp: pyproject.toml constraints.txt
	$(call made,$(VENV))
	$(BIN)/python $(PIP) --editable '.[headless]'
	touch $@

# brisque is there for the model that it carries, open_clip for its vocabulary; what they need to run stays away.
$(VENV)/test.stamp: $(VENV)/headless.stamp
	$(BIN)/python $(PIP) --editable '.[headless,test,dev]'
	$(BIN)/python $(PIP) --no-deps brisque==0.2.0 open_clip_torch==3.3.0
	touch $@

$(VENV)/emoji-model.stamp: $(VENV)/headless.stamp
	$(BIN)/python $(PIP) --editable '.[headless,emoji-model]'
	touch $@

$(COMFYUI_VENV)/comfyui.stamp: requirements.txt constraints.txt $(addprefix comfyui/,requirements.txt prepare.py fetch.py)
	$(call made,$(COMFYUI_VENV))
	$(COMFYUI_BIN)/python $(PIP) --requirement comfyui/requirements.txt --requirement requirements.txt
	$(COMFYUI_BIN)/python -m comfyui.prepare
	$(COMFYUI_BIN)/python -m comfyui.fetch
	touch $@

# After the other environment, not beside it: both write this project's metadata into its folder.
$(COMFYUI_VENV)/test.stamp: $(COMFYUI_VENV)/comfyui.stamp $(VENV)/test.stamp
	$(COMFYUI_BIN)/python $(PIP) --editable '.[headless,test,browser]'
	$(COMFYUI_BIN)/python $(PIP) --no-deps open_clip_torch==3.3.0
	touch $@

$(REFERENCE_VENV)/reference.stamp: constraints.txt $(addprefix tests/rewards/reference,.txt _bare.txt)
	$(call made,$(REFERENCE_VENV))
	$(REFERENCE_BIN)/python $(PIP) --requirement tests/rewards/reference.txt
	$(REFERENCE_BIN)/python $(PIP) --no-deps --requirement tests/rewards/reference_bare.txt
	$(REFERENCE_BIN)/python -m comfyui.prepare
	touch $@

web/node_modules/install.stamp: web/package.json web/package-lock.json
	npm --prefix web ci --silent --no-audit --no-fund
	touch $@

clean:
	rm -rf $(VENV) $(COMFYUI_VENV) $(REFERENCE_VENV) build web/node_modules
