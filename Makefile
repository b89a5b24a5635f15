# make demo      the main job on a real recording, in three minutes
# make test      the tests                    make test-slow  the long ones
# make lint      ruff and mypy                make format     mends what can be mended
# make bench     speed against the peers       make studies    studies of published recordings
# make results   the papers' tables (hours)    make docs       the site, into site/
# make sanitize  the kernels under sanitizers
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet -c constraints.txt
BUILD  := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
TESTS  := $(BIN)/python -m pytest -n 2 --dist loadfile

export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow lint format bench studies results sanitize docs wheel clean

demo: $(VENV)/.installed
	$(BIN)/torchliquid assess japanese_vowels --seeds 3 --tuning 2 --out demo

test: $(VENV)/.developer
	$(TESTS) -m "not slow"

test-slow: $(VENV)/.developer
	$(TESTS) -m slow

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks

studies: $(VENV)/.developer
	$(BIN)/python -m benchmarks.studies

results: $(VENV)/.developer
	for table in occupancy traffic cheetah walker physionet; do \
		$(BIN)/torchliquid reproduce $$table --page docs/results.md || exit; \
	done

sanitize: $(VENV)/.developer
	PATH=$(CURDIR)/$(BIN):$$PATH sh native/sanitize.sh $(CURDIR)/$(BIN)/python

docs: $(VENV)/.developer
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel: $(VENV)/bin/python
	$(BIN)/python -m pip wheel --quiet -c constraints.txt --no-deps --wheel-dir dist .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(BUILD)
	@echo "Installing torchliquid into $(VENV) (a few minutes the first time) ..."
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.developer: $(VENV)/bin/python $(BUILD)
	@echo "Installing torchliquid and its development tools into $(VENV) (a few minutes the first time) ..."
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist demo site
