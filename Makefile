# `make demo` and `make test` are all a new user needs; both build the environment first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench bench-serve fuzz clean

demo: .venv/installed  ## index the sample pictures and open the search page
	$(BIN)/python data/build_sample.py
	$(BIN)/python -m pipelines insert data/sample.csv --uri demo.db --model builtin
	$(BIN)/python -m app --uri demo.db

test: .venv/installed-dev  ## all tests
	$(BIN)/python -m pytest

lint: .venv/installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Debian takes ensurepip out of its Python: there the system's own pip, if it is installed, fills the environment.
.venv/bin/python:
	@$(PYTHON) -m venv .venv >/dev/null \
	|| { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $@ install --quiet pip; } 2>/dev/null \
	|| { rm -rf .venv; echo 'error: this Python cannot make environments with pip; on Debian: apt install python3-venv'; exit 3; }

.venv/installed: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	@touch $@

bench: .venv/installed  ## what benchmarks/README.md shows; CSV=… adds the precision on your own labels
	$(BIN)/python -W ignore -m benchmarks.sample
	$(BIN)/python -W ignore -m benchmarks.memory
	$(if $(CSV),$(BIN)/python -W ignore -m benchmarks.label_precision $(CSV))

bench-serve: .venv/installed  ## searches a second over HTTP, 1, 8 and 50 users on 100,000 rows, 30 s each
	$(BIN)/python -W ignore -m benchmarks.serve

fuzz: .venv/installed-dev  ## ten thousand requests, right and wrong, made from the API's own description
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/test_api_document.py --timeout 3000

# A real Milvus server for the tests that need one, in an environment of its own (its requirements are old).
.venv-milvus/bin/milvus-server:
	$(PYTHON) -m venv .venv-milvus
	.venv-milvus/bin/python -m pip install --disable-pip-version-check --quiet 'milvus==2.3.5' 'setuptools<81'

clean:
	rm -rf .venv .venv-milvus demo.db data/sample.csv
