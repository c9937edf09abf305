# make demo    search the bundled LeNet in onnxruntime and show the result (no Caffe needed)
# make test    all tests; builds an environment with real Caffe where a Python 3.6 to 3.9 is found
# make quick   every test but the slow ones, with its first two cases: a few minutes
# make lint    ruff, mypy, import rules
# make fuzz    FUZZ_SECONDS (60) of random mutations for each kind of file that is read
# make faults  every operation on files of whole runs made to fail, and the process killed at each (about an hour)
# make zoo     published architectures: to ONNX and back, every blob against real Caffe or OpenCV
# make soak    10,000 forward passes and 1,000 trials: does memory grow?
# make pythons environments .venv-3.10 to .venv-3.13 of the Pythons that are found, in which a test runs the sample
# make bench   the benchmarks           make results   the table of docs/results.md
# make docs    the documents as a site, in build/site; a broken link is an error
# make wheel-check   what would be published, tried on each Python from 3.10 to 3.14 that is found
# make lowest  tests with the lowest versions of what nuqconv needs
PYTHON ?= python3
# Processes that run tests at the same time; 0 runs them in one, as --pdb and -s want it.
WORKERS ?= 2
PIP_FLAGS ?= --quiet --disable-pip-version-check
FUZZ_SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
# A worker takes its share of the files from one end, and of another's rest when it is done.
SIDE_BY_SIDE := -n $(WORKERS) --dist worksteal
# Processes that share the cores would only wait for one another's threads.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
# Files of tests are in memory where that has room for them: on a disk most tests only wait until it has written.
IN_MEMORY := $(shell [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'END { print $$4 }')" -gt 8000000 ] && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)
# nuqconv, frontends and backends as the one package they are installed as, for tools that read folders.
TREE := build/tree

.PHONY: demo test quick explore pythons faults fuzz soak zoo lint bench bench-search results caffe models format docs wheel-check lowest clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "nuqconv needs Python 3.10 or later; $(PYTHON) is older. Try: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[test,lint,schema]'
	@touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/lenet/demo.py

# Exit code 3: no Python that Caffe runs on. The tests that need Caffe are then skipped, unless NUQCONV_REQUIRE_CAFFE=1.
caffe: $(VENV)/demo.stamp
	@$(BIN)/python tools/setup_caffe.py || [ $$? -eq 3 ]

pythons:
	@for version in 3.10 3.11 3.12 3.13; do \
	  python=$$(command -v python$$version) && $$python -c '' 2>/dev/null || { echo "there is no python$$version"; continue; }; \
	  $$python -m venv .venv-$$version && .venv-$$version/bin/python -m pip install $(PIP_FLAGS) --editable . || exit 1; \
	done

test: $(VENV)/test.stamp caffe
	$(IN_MEMORY) $(ONE_THREAD) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

quick: $(VENV)/test.stamp caffe
	$(IN_MEMORY) $(ONE_THREAD) $(BIN)/python -m pytest --quick $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

# The property tests on other random examples than last time.
explore: $(VENV)/test.stamp caffe
	HYPOTHESIS_PROFILE=explore $(ONE_THREAD) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_FLAGS)

# What it finds goes to tests/corpus/found and fails `make test` until it is fixed; the counts go to build/fuzz/result.json.
fuzz: $(VENV)/test.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[test,fuzz]'
	$(BIN)/python -m fuzz.run --seconds $(FUZZ_SECONDS)

# make test tries every 20th or 40th of these points.
faults: $(VENV)/test.stamp
	NUQCONV_ALL_FAULTS=1 $(BIN)/python -m pytest -s $(PYTEST_FLAGS) tests/files/staging tests/faults/test_whole_runs.py

# 10,000 forward passes through each child, and searches of 1,000 trials: memory and descriptors.
soak: $(VENV)/test.stamp caffe
	NUQCONV_WHOLE_SOAK=1 $(BIN)/python -m pytest -s $(PYTEST_FLAGS) tests/job/test_soak.py

lint: $(VENV)/test.stamp $(TREE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(TREE) $(BIN)/mypy -p nuqconv
	cd $(TREE) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports $(CURDIR)/pyproject.toml --no-cache

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(TREE): nuqconv frontends backends
	@rm -rf $(TREE) && mkdir -p $(TREE)/nuqconv
	@for part in nuqconv/*; do ln -s $(CURDIR)/$$part $(TREE)/nuqconv/; done
	@ln -s $(CURDIR)/frontends $(CURDIR)/backends $(TREE)/nuqconv/

bench: $(VENV)/test.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[test,bench]'
	PYTHONPATH=tools $(BIN)/python benchmarks/run.py

# Not in it, since they take hours: benchmarks/task_metrics.py and benchmarks/peers.py, for docs/results.md.
# The search and its parts: errors of layers, their solver, strategies, predicted losses, kills, workers, steps of a trial. Takes about 35 minutes.
bench-search: $(VENV)/test.stamp caffe
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[test,bench]'
	PYTHONPATH=tools:benchmarks $(BIN)/python benchmarks/search.py

results: $(VENV)/test.stamp caffe
	PYTHONPATH=tools $(BIN)/python benchmarks/results.py

# The table of docs/results.md; about three minutes. make test runs a sample.
zoo: $(VENV)/test.stamp caffe
	PYTHONPATH=tools $(BIN)/python -m tests.zoo

docs: $(VENV)/test.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[docs]'
	$(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python tools/check_site.py build/site

wheel-check: $(VENV)/demo.stamp
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[release]'
	$(BIN)/python tools/wheel_check.py

lowest: $(VENV)/demo.stamp
	$(IN_MEMORY) $(BIN)/python tools/lowest.py

models: $(VENV)/test.stamp
	$(BIN)/python tools/real_models.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
