# Everything here works on a machine that has Python >= 3.11 and make: the first target called makes .venv, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test crash check format reference mutants mutmut bench bench-peers plots soak clean

demo: $(READY)  ## a worker and a client, side by side, on real pictures
	@$(BIN)/pmtq demo

test: $(READY)  ## the tests, the fast ones first
	@$(BIN)/python -m pytest -q -n 2

crash: $(READY)  ## kill, cut, fill and scramble at large, about half an hour; one table of what came of it
	@$(BIN)/python -m tests.crash

check: $(READY)  ## style, types and floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

reference: $(READY)  ## tutorials/reference.md: what there is of Celery's names here
	@$(BIN)/python -m tests.docs.reference

mutants: $(READY)  ## puts bugs into copies of the code, to see that the tests catch them
	@$(BIN)/python -m tests.mutants

mutmut: $(READY)  ## changes the core by rule, one place at a time, and counts which changes no test notices; some five minutes
	@$(BIN)/python -m tests.mutants.by_rule

bench: $(READY)  ## speed and memory beside the targets, and beside other queues where they are installed
	@$(BIN)/python -m tests.benchmarks

bench-peers: $(READY)  ## the same, after installing the other queues (a redis-server must be there for Celery on Redis)
	@$(BIN)/python -m pip install --quiet -e '.[peers]'
	@$(BIN)/python -m tests.benchmarks

plots: $(READY)  ## measures and draws the figures in tutorials/figures
	@$(BIN)/python -m tests.benchmarks --plots

soak: $(READY)  ## a long run: says whether anything grows or is missing (MINUTES=10)
	@$(BIN)/python -m tests.benchmarks.soak --minutes $(or $(MINUTES),10)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pmtq needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making .venv, once; this takes half a minute ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

clean:
	@rm -rf .venv
