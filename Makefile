# Palaestra. On a fresh machine with Python 3.11, pip, venv and make:
#   make arena   installs what serving needs and starts the web app on http://127.0.0.1:7860
#   make test    installs the rest and runs every check that this machine can run
# An interrupted step is finished by the next run.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Where to take torch from, if not from pip's default index; for the CPU build on Linux, for example:
#   make arena TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Contestants instead of the demo ones: make arena MODELS="Qwen/Qwen3-0.6B openai:gpt-5@https://api.openai.com/v1"
MODELS ?=
# Settings: an arena.toml here or in the data folder
CONFIG ?= $(wildcard arena.toml)
SERVE_OPTIONS ?=
# Processes that tests run in; each loads the small model, about 1 GiB.
TEST_WORKERS ?= 2

BIN := $(VENV)/bin
HASH := $(shell cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
SERVING := $(VENV)/.installed-serving-$(HASH)
TESTING := $(VENV)/.installed-testing-$(HASH)
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
TORCH = $(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

.PHONY: arena install test test-long lint format clean

arena: $(SERVING)
	@$(if $(MODELS)$(CONFIG),,echo "== Preparing the demo model" && $(BIN)/arena models prepare)
	@echo "== Starting the arena"
	@exec $(BIN)/arena serve $(if $(CONFIG),--config $(CONFIG)) $(foreach m,$(MODELS),--model $(m)) $(SERVE_OPTIONS)

install: $(SERVING)

$(BIN)/python:
	@echo "== Creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Palaestra needs Python 3.11 or later; this is %d.%d. Set PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

# The stamps are written last, and carry the hash of what they stand for.
$(SERVING): | $(BIN)/python
	@echo "== Installing PyTorch"
	@$(TORCH)
	@echo "== Installing Palaestra for serving"
	@$(PIP) -e ".[local]"
	@touch $@

$(TESTING): | $(BIN)/python
	@echo "== Installing PyTorch"
	@$(TORCH)
	@echo "== Installing Palaestra with all extras and test tools"
	@$(PIP) -e ".[all,test]"
	@touch $@ $(SERVING)

lint: $(TESTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m "not long and not gpu"

test-long: $(TESTING)
	$(BIN)/pytest -m "long" --timeout 7200

format: $(TESTING)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
