# Two commands do all set-up on a fresh machine with python3, pip and make:
#   make demo    real dialogues answered by a real model (a 92 MB download)
#   make test    the tests (installs torch and transformers as well)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# torch for the CPU. Where the package index offers it with CUDA only, this one saves gigabytes:
#   make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
# torchvision belongs to one torch: the two are named together.
TORCH ?= torch==2.13.0 torchvision==0.28.0
TORCH_INDEX ?=

# Two engines with spinning threads on the same cores slow each other down fifty times.
export OMP_WAIT_POLICY ?= passive

DEMO_MODEL := SmolLM2-135M-Instruct-Q4
DEMO_INPUT := src/playbill/demo/dialogues.jsonl

# How many tests run at once. Each worker may load torch, which takes a gigabyte.
WORKERS ?= 2

# How long `make fuzz` looks for faults, all targets together.
SECONDS ?= 300

.PHONY: help demo test test-all fuzz sdks lint types format lock docs clean

help:
	@sed -n '1,3s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	$(BIN)/playbill run $(DEMO_INPUT) -m $(DEMO_MODEL) -p n_ctx=2048 -o runs/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal --durations 40 --durations-min 4

# The slow ones one after the other: they measure, or take all cores for an engine.
test-all: test
	$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/.test
	PLAYBILL_FUZZ_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/fuzz -k long -rP --timeout=0

# Requests against what the services' own SDKs know, in environments of their own (.venvs, 0.5 GB).
sdks: $(VENV)/.test
	$(BIN)/python -m pytest tests/backends/engines/remote/test_other_sdks.py tests/backends/engines/remote/test_sdk_versions.py

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.test
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The versions that the tests ran with, as constraints for `pip install -c`.
lock: $(VENV)/.test
	@{ sed -n 1p requirements-dev.lock; \
	   $(BIN)/python -m pip list --format=freeze --exclude-editable | sed 's/+cpu//' | grep -viE '^(pip|setuptools)='; } > .lock.new
	@mv .lock.new requirements-dev.lock

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/site
	@echo "the site is in build/site: open build/site/index.html"

clean:
	rm -rf $(VENV) .venvs .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Playbill needs Python 3.11 or newer; this is `$(PYTHON) --version`. Name another one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "This Python has no venv module. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing Playbill with llama.cpp"
	@$(PIP) --editable ".[llamacpp]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing Playbill with all that its tests need; torch takes a while"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(PIP) --editable ".[all]" --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	@echo "installing Playbill with what builds its docs"
	@$(PIP) --editable ".[serve]" --group docs
	@touch $@
