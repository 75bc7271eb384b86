# `make retrain` and `make test` need Python 3.11 to 3.13, git and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed-$(shell sha256sum requirements.lock pyproject.toml | sha256sum | cut -c1-16)

.PHONY: setup retrain lint types deploy-check test test-slow lock

setup: $(READY)

# --no-deps: the lock is complete, and each line of it is checked by hash.
$(READY):
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

retrain: setup
	$(BIN)/nightreel retrain
	$(BIN)/nightreel recommend --user 1

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# containers, cluster and account: by rules, and by the tools that are there; it names those that are not
deploy-check: setup
	$(BIN)/pytest -rs tests/infra/test_deploy.py

# two processes, as on a machine with two cores; a file's tests stay together, since they share servers and nights, and
# files go in their own order, as the flows, which come first, take longest
test: lint types deploy-check
	$(BIN)/pytest -m "not slow" --ignore tests/infra/test_deploy.py --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/pytest -m "slow and not alone" --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -m alone

# Rewrites the lock from pyproject.toml; needs uv (`pip install uv`). The file names no registry.
lock:
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 --extra sample --extra text --extra media --extra stack --extra dev pyproject.toml --output-file requirements.lock
