# Everything that a newcomer types. It needs make and Python 3.11 or newer; uv is used when it is there.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
UPGRADE ?= --upgrade
BENCHES ?= $(filter-out generated result,$(basename $(notdir $(wildcard bench/*.py))))

# Where Python was told to keep nothing compiled, every command that a test starts would compile the product again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install engines demo test check format bench lock docs wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

engines: $(VENV)/.engines ## Spark, ClickHouse and the peers that benches measure against (1.2 GB)

install: $(STAMP) ## make .venv with everything that the other targets need

demo: $(STAMP) ## a whole round on real data: demo/report.html
	$(BIN)/aimwell demo

# Each worker gets one thread (two workers with two each wait for one another), and a file stays with one worker, so that
# what it prepares is prepared once. tests/conftest.py puts the longest files first, and xdist is to keep that order.
test: $(STAMP) ## run all tests; a warning is an error
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 12

check: $(STAMP) ## format, lint, types, import walls, house contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/house

format: $(STAMP) ## put the source in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.engines ## measure what we claim
	@set -e; for name in $(BENCHES); do echo "== $$name"; $(BIN)/python -m bench.$$name; done

docs: $(STAMP) ## print docs/tables.md from the declared tables
	$(BIN)/python docs/print_tables.py > docs/tables.md

wheel: $(STAMP) ## build dist/*.whl
	$(BIN)/python -m hatchling build --target wheel --directory dist

# --no-emit-index-url and no header: the file carries no address, so it serves every mirror.
lock: ## renew the lock files (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" $(UPGRADE) --quiet --output-file requirements.lock
	uv pip compile pyproject.toml requirements-peers.in --extra dev --extra spark --extra clickhouse --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --constraint requirements.lock $(UPGRADE) --quiet \
		--output-file requirements-engines.lock

$(VENV)/.engines: $(STAMP) requirements-engines.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-engines.lock
	@touch $@

clean: ## remove what was built, and .venv
	rm -rf $(VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-compile: compiling modules that are never imported took half of the installation's time.
# hatchling and Node.js stand in the lock, so the package itself is built without unpinned downloads (--no-build-isolation).
$(STAMP): requirements.lock pyproject.toml hatch_build.py
	@sh .ci/make-venv $(VENV)
	@set -e; if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || \
		echo "LightGBM cannot be loaded here; most often libgomp is missing (Debian, Ubuntu: apt-get install libgomp1)." >&2
	@touch $(STAMP)
