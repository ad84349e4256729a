# Everything one does with a checkout. `make help` lists it; CONTRIBUTING.md says why it is done this way.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The oldest supported Python first, so that a developer meets what a user of it would meet.
PYTHON ?= $(shell for it in python3.11 python3.12 python3.13 python3; do \
	if $$it -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$it; break; fi; done)
VENV := .venv
NODE := tests/interop/node/node_modules
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url $(if $(UPGRADE),--upgrade)
# The methods that report to nursery.start. In tests, ASYNC124 would forbid what is async only to run under Trio's
# clock, and ASYNC910 and 912 a wait whose first look may already succeed.
FLAKE8_ASYNC := $(VENV)/bin/flake8-async --startable-in-context-manager run,watch_signals,serve
SECONDS_TO_CRAWL ?= 20
KILLS ?= 200

.PHONY: help
help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: crawl
crawl: $(VENV)/.runtime  ## crawl the embedded simulated network for 20 s; leaves peers.jsonl
	@$(PY) -m crawler.demo --duration $(SECONDS_TO_CRAWL) --out peers.jsonl

.PHONY: test
test: lint types $(NODE)/.installed  ## install everything, then lint, types and all tests
	$(PY) -m pytest

.PHONY: lint
lint: $(VENV)/.dev  ## ruff (rules and format) and flake8-async
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(FLAKE8_ASYNC) $$(git ls-files 'crawler/*.py')
	$(FLAKE8_ASYNC) --disable ASYNC124,ASYNC910,ASYNC912 $$(git ls-files 'tests/*.py')

.PHONY: types
types: $(VENV)/.dev  ## mypy --strict
	$(PY) -m mypy

.PHONY: bench
bench: $(VENV)/.dev  ## measure the daemon beside libtorrent, in one run
	@shopt -s nullglob; found=(tests/bench/bench_*.py); \
	if [ $${#found[@]} = 0 ]; then echo "make bench: no tests/bench/bench_*.py" >&2; exit 1; fi; \
	for script in "$${found[@]}"; do echo "== $$script"; $(PY) "$$script"; done

.PHONY: torture
torture: $(VENV)/.dev  ## kill a writer 200 times (KILLS=n), a daemon a fifth as often; fail their disk, rotate; hold files to promises
	$(PY) -m tests.torture.kill --kills $(KILLS)
	$(PY) -m tests.torture.kill_daemon --kills $$(( ($(KILLS) + 4) / 5 ))
	$(PY) -m tests.torture.faults --kills $(KILLS)
	$(PY) -m tests.torture.rotate

.PHONY: image
image:  ## build the container image with podman and run it (root; podman buildah runc debootstrap)
	tests/deploy/try_image.sh

.PHONY: lock
lock: $(VENV)/.dev  ## write the lock files anew from pyproject.toml (UPGRADE=1: newest versions)
	$(LOCK) pyproject.toml --extra all --output-file requirements.lock
	$(LOCK) pyproject.toml --extra all --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	| $(LOCK) - --no-annotate --output-file requirements-build.lock

.PHONY: config
config: $(VENV)/.runtime  ## write config/default.toml anew from the code
	$(PY) -c 'from crawler.config import default_toml; print(default_toml(), end="")' > $(VENV)/default.toml
	mv $(VENV)/default.toml config/default.toml

.PHONY: clean
clean:  ## remove the environment, caches and what a crawl left
	rm -rf $(VENV) $(NODE) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis peers.jsonl
	find crawler tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps keep a second `make` from installing again; a changed lock or pyproject.toml outdates them.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(PY)
	@echo "installing the packages of requirements.lock into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-build.lock -r requirements.lock
	@$(PIP) --quiet install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "installing the packages of requirements-dev.lock into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# Another tracker and its client, for tests alone. Those tests skip themselves where this could not be had.
$(NODE)/.installed: tests/interop/node/package.json tests/interop/node/package-lock.json
	@if ! command -v npm >/dev/null; then \
		echo "make: no npm, so the tests with bittorrent-tracker of npm are skipped"; \
	elif npm ci --prefix $(dir $(NODE)) --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error; then \
		touch $@; \
	else \
		echo "make: npm ci failed, so the tests with bittorrent-tracker of npm are skipped"; \
	fi

# Debian splits venv's other half into a package of its own, which a fresh machine lacks.
$(PY):
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: Python 3.11 or newer is needed (make PYTHON=/path/to/python3.11)" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null; \
		else \
			echo "make: Python's venv module is missing; install it first: apt-get install python3-venv" >&2; exit 1; \
		fi; fi
	$(PYTHON) -m venv $(VENV)
