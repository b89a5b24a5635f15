# make demo      the main job on a real recording, in four minutes
# make test      the tests                    make test-slow  the long ones
# make test-pure   the layers without their kernels       make test-shapes  layers and models, annotations checked at each call
# make test-lowest   the tests with the lowest versions that pyproject.toml names, make test-newest   with the newest
# make lint      ruff, mypy, import-linter    make format     mends what can be mended
# make bench     speed against the peers       make studies    studies of published recordings
# make best-possible  how near each contender comes to what theory allows
# make results   the papers' tables (hours)    make docs       the site, into site/
# make sanitize  the kernels under sanitizers  make wheel      sdist and wheel, into dist/
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Constraints of the environment bind the build tools too; what was compiled is kept for the next build.
SKBUILD_BUILD_DIR ?= build/{wheel_tag}
PINNED := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt SKBUILD_BUILD_DIR=$(SKBUILD_BUILD_DIR)
PIP    := $(PINNED) $(BIN)/python -m pip install --quiet
BUILD  := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
PYTEST := -m pytest -n 2 --dist loadfile
TESTS  := $(BIN)/python $(PYTEST)

export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow test-shapes test-pure test-lowest test-newest lint format bench studies best-possible results sanitize docs wheel clean

demo: $(VENV)/.installed
	$(BIN)/torchliquid assess japanese_vowels --seeds 3 --tuning 2 --out demo

test: $(VENV)/.developer
	$(TESTS) -m "not slow"

test-slow: $(VENV)/.developer
	$(TESTS) -m slow

# Without the tests of wrong arguments, which the checks refuse first, and those that compile, trace or export with
# TorchScript: neither Dynamo nor TorchScript reads the checked functions.
test-shapes: $(VENV)/.developer
	CHECK_SHAPES=1 $(TESTS) tests/layers tests/runtime tests/models/test_change.py tests/models/test_predictor.py tests/test_parallel.py -m "not slow" -k "not wrong_call and not refused and not compiled and not trace and not onnx"

# In an environment of its own: the package built without kernels, and the developer's environment for all else.
test-pure: $(VENV)/.developer
	$(PYTHON) -m venv --clear $(VENV)-pure
	TORCHLIQUID_PURE_PYTHON=true $(PINNED) $(VENV)-pure/bin/python -m pip install --quiet --no-deps .
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(VENV)-pure/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/developer.pth"
	TORCHLIQUID_PURE_PYTHON=true $(VENV)-pure/bin/python $(PYTEST) -m "not slow" \
		tests/layers tests/kernels tests/solvers tests/runtime tests/test_wirings.py tests/test_versions.py

test-lowest test-newest: test-%:
	$(PYTHON) -m venv --clear $(VENV)-$*
	$(PYTHON) .ci/versions.py $* > $(VENV)-$*/constraints.txt
	PIP_CONSTRAINT=$(VENV)-$*/constraints.txt PIP_BUILD_CONSTRAINT=$(VENV)-$*/constraints.txt \
		$(VENV)-$*/bin/python -m pip install --quiet -e '.[dev]'
	$(VENV)-$*/bin/python $(PYTEST) -m "not slow"

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks

studies: $(VENV)/.developer
	$(BIN)/python -m benchmarks.studies

best-possible: $(VENV)/.developer
	$(BIN)/python -m benchmarks.best_possible

results: $(VENV)/.developer
	for table in occupancy traffic cheetah walker physionet; do \
		$(BIN)/torchliquid reproduce $$table --page docs/results.md || exit; \
	done

sanitize: $(VENV)/.developer
	PATH=$(CURDIR)/$(BIN):$$PATH sh native/sanitize.sh $(CURDIR)/$(BIN)/python

docs: $(VENV)/.developer
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel: $(VENV)/.developer
	$(PINNED) $(BIN)/python -m build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(BUILD)
	@echo "Installing torchliquid into $(VENV) (a few minutes the first time) ..."
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.developer: $(VENV)/bin/python $(BUILD)
	@echo "Installing torchliquid and its development tools into $(VENV) (a few minutes the first time) ..."
	$(PIP) -e '.[dev]'
	@# Where there is a compiler, kernels that could not be built are no reason to go on without.
	@! command -v c++ > /dev/null || [ -n "$$TORCHLIQUID_PURE_PYTHON" ] || $(BIN)/python -c "import torchliquid._native"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(VENV)-* build dist demo site
