# Two commands matter: `make demo` and `make test`. Each sets up what it needs in .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
CODE := engine indexer api tests daogou.py

.PHONY: demo test faults lint format clean

demo: $(VENV)/.core  ## index the demo catalog and serve it; `make demo CI=1` prints results and exits
	$(BIN)/daogou demo --store .demo $(if $(CI),--print)

test: $(VENV)/.dev lint  ## style, types, and every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/faults
	$(BIN)/python -m pytest tests/faults

faults: $(VENV)/.dev  ## 500 faults instead of the 50 of `make test`; `make faults SEED=17` repeats a run
	DAOGOU_FAULTS=500 DAOGOU_FAULT_SEED=$(or $(SEED),$$(date +%s)) $(BIN)/python -m pytest -q tests/faults

lint: $(VENV)/.dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf $(VENV) .demo dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "daogou needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Without torch: what a shop that only indexes and serves installs.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch  # first and pinned: a dependency must not choose another build
	$(PIP) --editable '.[train,dev]'
	touch $@ $(VENV)/.core
