# What people run here, and CI runs the same: `make` alone lists it. Needs make and Python 3.11.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo sweep-demo up down status check quick test bench format lock clean static env compose-test

VENV := .venv
BIN := $(VENV)/bin
SITE := $(VENV)/lib/python3.11/site-packages
LOCK := requirements.lock

# All tests run on all processors. Those that need services run a file at a time, what takes longest first:
# each process of pytest starts a stack of its own for its first such test, and waits for it half of the time.
ALONE := unit distributed
TIERS := docs e2e contracts integration
PARALLEL := --numprocesses logical
BY_FILE := $(PARALLEL) --dist loadfile --no-loadscope-reorder

# The first of these that is Python 3.11; `make PYTHON=/path/to/python3.11` names another.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

# An installation fits one folder, one lock file and one pyproject.toml. Its stamp is named after all
# three: when one of them changes, or the checkout is copied, it is made again, and otherwise never.
STAMP := $(VENV)/installed-$(shell { pwd -P; cat $(LOCK) pyproject.toml; } | cksum | tr ' ' '-')

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## Install the pinned packages and ganlib into .venv; the targets below do it themselves
	@echo "$(VENV) is ready"

demo: $(STAMP)  ## From nothing to a registered generator and a picture of what it makes
	@$(BIN)/ganlib demo $(ARGS)

sweep-demo: $(STAMP)  ## Twelve configurations on Fashion-MNIST: which generates best, and pictures of how they compare
	@$(BIN)/ganlib sweep-demo $(ARGS)

up down status: $(STAMP)
	@$(BIN)/ganlib $@

up:  ## Start the embedded services
down:  ## Stop them; their state stays
status:  ## Tell which of them answer

# Side by side, since neither is busy on all processors all of the time.
check: $(STAMP)  ## The quick part of the tests: format, lint, types, imports, unit tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target static quick

quick: $(STAMP)
	$(BIN)/pytest $(PARALLEL) -m "not slow" tests/unit

test: static  ## Everything, as CI runs it
	$(BIN)/pytest --durations=10 $(PARALLEL) $(ALONE:%=tests/%)
	$(BIN)/pytest --durations=30 $(BY_FILE) $(TIERS:%=tests/%)

static: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

env:  ## Write .env with random credentials, for docker-compose.yml
	@infra/docker/make-env.sh

# Beside `make test`, as it needs a container engine, or root to install one, and builds an image of 8 GB.
compose-test: $(STAMP)  ## Build the image, bring the cluster of containers up, train, kill, sweep, tear down
	$(BIN)/pytest --capture=no --timeout 3600 --exitfirst tests/compose

bench: $(STAMP)  ## Measure speed, memory and quality, each beside what it is compared to; some: make bench ARGS="loop ddp"
	@$(BIN)/ganlib up
	@$(BIN)/ganlib bench $(ARGS)

format: $(STAMP)  ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pins without hashes: pip-compile asks the index's JSON API for them, which mirrors do not have; it then
# downloads every wheel of every platform, and hashes of this platform alone would refuse all others.
lock: $(BIN)/pip-compile  ## Rewrite requirements.lock from pyproject.toml; newer pins: make lock ARGS=--upgrade
	CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --all-extras --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(ARGS) --output-file $(LOCK) pyproject.toml

clean:  ## Remove the environment and all caches; data and services under .ganlib stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find ganlib flows tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip-compile:
	@$(MAKE) --no-print-directory setup

# An environment from another folder, of another Python, or without a working pip is made anew; any other
# is completed. INSTALLER is among the last files that pip writes for a package: without it, an installation
# was cut short in the middle of that package, and pip would take it for whole. The pinned pip goes first:
# the one that comes with Python 3.11 needs three times as long to see that the pins fit together.
PIP_INSTALL := $(BIN)/python -m pip install --no-input

$(STAMP):
	@rm -f $(VENV)/installed-*
	@$(BIN)/pip --version 2>/dev/null | grep -qF "$$(pwd -P)/$(SITE)" || $(MAKE) --no-print-directory $(VENV)
	@rm -rf $(SITE)/~*
	@for package in $(SITE)/*.dist-info; do [ -e "$$package/INSTALLER" ] || rm -rf "$$package"; done
	@echo "Installing $$(grep -c == $(LOCK)) packages, 7 GB in all, which takes some minutes ($(VENV)/install.log)"
	@{ $(PIP_INSTALL) "$$(grep ^pip== $(LOCK))" && \
		$(PIP_INSTALL) --requirement $(LOCK) && \
		$(PIP_INSTALL) --no-deps --no-build-isolation --editable .; \
		} > $(VENV)/install.log 2>&1 || { cat $(VENV)/install.log; exit 1; }
	@touch $@

.PHONY: $(VENV)
$(VENV):
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 is needed, and $$(python3 --version 2>&1 || :) is here." \
		"Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv)" \
		"or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
