# make demo   the main job on a real recording, in three minutes
# make test   the tests              make test-all   with the long ones
# make lint   ruff and mypy          make bench      speed against the peers
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet -c constraints.txt
NATIVE := CMakeLists.txt $(wildcard native/*)
TESTS  := $(BIN)/python -m pytest -n 2 --dist loadfile

export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all lint format bench wheel clean

demo: $(VENV)/.installed
	$(BIN)/torchliquid assess japanese_vowels --seeds 3 --out demo

test: $(VENV)/.developer
	$(TESTS) -m "not slow"

test-all: $(VENV)/.developer
	$(TESTS)

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks

wheel: $(VENV)/.installed
	$(BIN)/python -m pip wheel --quiet -c constraints.txt --no-deps --wheel-dir dist .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt $(NATIVE)
	@echo "Installing torchliquid into $(VENV) (a few minutes the first time) ..."
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	@echo "Installing the development tools into $(VENV) ..."
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist demo
