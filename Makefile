# What people, the README and CI call. `make help` lists the targets.
#
# Everything is installed below this folder: Python packages in .venv, Node packages in
# node_modules. Each step leaves a stamp, so nothing is installed twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
FORGE := node_modules/@foundry-rs/forge-linux-amd64/bin/forge

# Options for benchmarks, e.g. make bench NAME=groth16 ARGS="--log2 16 --json"
NAME =
ARGS =
SECONDS = 60
# Options for pytest, e.g. make test PYTEST="-n 0 tests/unit". Files go to the workers in their order:
# the slow ones are early, and few tests in a file do not mean little work.
PYTEST = -n 2 --dist loadfile --no-loadscope-reorder
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
# Build tools come from the pinned environment, so that no step resolves them anew.
INSTALL_ZKAI := $(PIP_INSTALL) --no-build-isolation

NATIVE := CMakeLists.txt $(wildcard native/*.c native/*.h native/*.inc native/*.cdef native/*.py)
C_SOURCES := $(wildcard native/*.c native/*.h native/*.inc native/tests/*.c native/tests/*.h)
BENCHES = $(patsubst bench/%.py,%,$(shell grep -l __main__ bench/[!_]*.py))
# Files that the wheel copies, beside the Python sources.
SHIPPED := $(shell find circuits zkai/chain/artifacts zkai/receipt/page -type f 2>/dev/null)

.PHONY: help demo test test-slow lint format bench peers contracts page vectors reference sanitize fuzz build concrete test-concrete pins clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# ---------------------------------------------------------------- installation

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zkai needs Python 3.11 or newer; name one with make PYTHON=python3.12" >&2; exit 2; }
	@echo "== creating $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/tools: constraints.txt | $(STAMPS)/venv
	@echo "== installing the build tools"
	$(PIP_INSTALL) scikit-build-core cffi cmake ninja
	@touch $@

# The package, and what the demo and the README's commands need. Built again when a C source or a shipped file changes.
$(STAMPS)/demo: pyproject.toml $(NATIVE) $(SHIPPED) $(STAMPS)/tools
	@echo "== building and installing zkai"
	$(INSTALL_ZKAI) -e '.[demo]'
	@touch $@

# torch goes first and pinned: left to the resolver, a later package could bring another build.
$(STAMPS)/torch: constraints.txt | $(STAMPS)/tools
	@echo "== installing torch"
	$(PIP_INSTALL) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(STAMPS)/dev: pyproject.toml constraints.txt $(STAMPS)/torch | $(STAMPS)/demo
	@echo "== installing the development extras"
	$(INSTALL_ZKAI) -e '.[dev]'
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json .npmrc
	@command -v npm >/dev/null || { echo "the tests need Node.js with npm (20.19 or newer)" >&2; exit 3; }
	@echo "== installing the Node packages"
	npm ci --no-progress --loglevel=error
	@touch $@

build: $(STAMPS)/demo  ## build the C library and install zkai into .venv

# ------------------------------------------------------------------ main jobs

demo: $(STAMPS)/demo  ## private fine-tuning, proven and checked on an EVM, end to end
	$(BIN)/zkai demo --out build/demo

test: $(STAMPS)/dev node_modules/.package-lock.json  ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST)

test-slow: $(STAMPS)/dev node_modules/.package-lock.json  ## every byte of signed files flipped, 300 kills, a file of 1 GiB, 1,000 trials a policy, EZKL on larger models
	ZKAI_TEST_SLOW=1 $(BIN)/python -m pytest $(PYTEST) -k "flip or byte or kill or trials or merkle_memory or halo2_models or heads_steps" tests/unit tests/e2e/test_kill.py

lint: $(STAMPS)/dev node_modules/.package-lock.json  ## ruff, mypy, import-linter, clang-format, forge fmt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict zkai bench
	$(BIN)/lint-imports --no-cache
	$(if $(C_SOURCES),$(BIN)/clang-format --dry-run -Werror $(C_SOURCES))
	$(if $(wildcard contracts/foundry.toml),cd contracts && ../$(FORGE) fmt --check)

format: $(STAMPS)/dev node_modules/.package-lock.json  ## rewrite sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(C_SOURCES),$(BIN)/clang-format -i $(C_SOURCES))
	$(if $(wildcard contracts/foundry.toml),cd contracts && ../$(FORGE) fmt)

bench: $(STAMPS)/dev node_modules/.package-lock.json  ## every benchmark, or one: make bench NAME=groth16
	@for name in $(or $(NAME),$(BENCHES)); do \
	  echo "== $$name"; $(BIN)/python -m bench.$$name $(ARGS); done

peers:  ## what the benchmarks compare with, in an environment of its own (.venv-peers)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -q -r bench/requirements-peers.txt

contracts: $(STAMPS)/dev node_modules/.package-lock.json  ## recompile the contracts, compare with the shipped artifacts
	$(BIN)/python contracts/build.py --check

page: $(STAMPS)/dev node_modules/.package-lock.json  ## build the verifier page again, compare with the shipped one
	$(BIN)/python web/build.py --check

vectors: $(STAMPS)/dev node_modules/.package-lock.json  ## regenerate the test vectors, compare with the committed ones
	@for script in $(wildcard */make_*vectors.py tests/vectors/make_*.py); do \
	  echo "== $$script"; $(BIN)/python $$script --check; done

reference: $(STAMPS)/dev  ## write docs/reference/cli.md from the commands' help
	$(BIN)/python docs/reference/write_cli.py

# ------------------------------------------------------------ sanitize and fuzz

sanitize: $(STAMPS)/dev  ## ASan with UBSan, then TSan, over the native tests
	PYTHON=$(BIN)/python bash native/sanitize.sh address,undefined
	PYTHON=$(BIN)/python bash native/sanitize.sh thread

fuzz: $(STAMPS)/dev  ## fuzz what the parsers read, guided by coverage: make fuzz SECONDS=60
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS)

concrete: $(STAMPS)/demo  ## Concrete ML in .venv-concrete, 2.3 GB; commercial use needs a licence from Zama
	$(BIN)/zkai he concrete --install .venv-concrete

test-concrete: $(STAMPS)/dev  ## queries with Concrete ML, after make concrete
	ZKAI_CONCRETE=.venv-concrete $(BIN)/python -m pytest -n 0 tests/concrete

pins: $(STAMPS)/dev  ## write constraints.txt from what is installed now
	@head -n 4 constraints.txt > constraints.tmp
	@$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(pip|zkai)==' | grep -v ' @ ' \
	  | sed -E 's/\+cpu$$//' >> constraints.tmp
	@mv constraints.tmp constraints.txt

clean:  ## remove what was built; keeps .venv and node_modules
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
