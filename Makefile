# `make demo` runs the main job, `make test` runs every check; both set up .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
# Tests that look at the clock: nothing may run beside them.
CLOCKED := tests/faults/test_fault_speed.py tests/faults/test_fault_signals.py tests/executors tests/cli/test_cli_runs.py

DATA ?= data

.PHONY: demo test setup lint fast bench results clean

demo: setup
	$(BIN)/searchitect search --data digits --budget 3m

test: setup lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m slow $(CLOCKED:%=--ignore %)
	$(BIN)/python -m pytest -q -m slow $(CLOCKED)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: setup
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

bench: setup
	$(BIN)/python benchmarks/engine.py

results: setup
	$(BIN)/python benchmarks/results.py --data $(DATA)
	$(BIN)/python benchmarks/results.py --data $(DATA) --group kinds

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv
