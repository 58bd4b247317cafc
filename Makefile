# `make demo` and `make test` are all a new user needs; both build the environment first.

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest

.PHONY: help audit demo check test test-slow constraints bench evaluate card bench-files bench-serve bench-lite fuzz bench-scale torture \
	bench-peers clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*##  *(.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/installed  ## index the sample images and open the search page
	$(BIN)/python data/build_sample.py
	$(BIN)/image-search insert data/sample.csv --uri demo.db --model builtin
	$(BIN)/image-search serve --uri demo.db

# mypy runs beside the tests: it uses one core only, and half a minute where it has no cache.
check: .venv/installed-dev  ## style, types, layers and the fast tests: under 90 s on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy & types=$$!; $(PYTEST) --numprocesses 2 --dist worksteal -m "not (server or browser or program or slow)"; \
	tests=$$?; wait $$types && exit $$tests

# Three at once, also on two cores: a good part of these tests waits for servers and processes.
test: .venv/installed-dev  ## all tests except the slow ones: under 7 minutes on two cores
	$(PYTEST) --numprocesses 3 --dist worksteal -m "not slow"

test-slow: .venv/installed-dev  ## the slow tests
	$(PYTEST) --numprocesses 3 --dist worksteal -m slow

audit: .venv-audit/bin/pip-audit  ## known holes in constraints.txt, where an advisory database can be reached
	@.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off >.venv-audit/log 2>&1; \
	status=$$?; \
	if grep -qE '^numpy .*could not be audited|Error' .venv-audit/log; then \
	    echo 'no advisory database answers from here: nothing was checked'; exit 3; \
	fi; cat .venv-audit/log; exit $$status

.venv-audit/bin/pip-audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --disable-pip-version-check --quiet pip-audit

constraints: .venv/created  ## write constraints.txt again; UPGRADE=1 takes the newest releases
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate $(if $(UPGRADE),--upgrade) \
	    --custom-compile-command "make constraints" --output-file constraints.txt requirements.txt requirements-dev.txt

# Debian takes ensurepip out of its Python: there the system's own pip, if it is installed, fills the environment.
.venv/created:
	@$(PYTHON) -m venv .venv >/dev/null \
	|| { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } 2>/dev/null \
	|| { rm -rf .venv; echo 'error: this Python cannot make environments with pip; on Debian: apt install python3-venv'; exit 3; }
	@touch $@

.venv/installed: .venv/created pyproject.toml requirements.txt constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(PIP) --editable '.[dev]'
	@touch $@

bench: .venv/installed  ## what benchmarks/README.md shows; CSV=… on your own photographs and labels, DEVICE=cuda on a GPU
	$(BIN)/python -W ignore -m benchmarks.throughput $(if $(CSV),--csv $(CSV)) $(if $(DEVICE),--device $(DEVICE))
	$(BIN)/python -W ignore -m benchmarks.latency $(if $(DEVICE),--device $(DEVICE))
	$(BIN)/python -W ignore -m benchmarks.preprocess $(if $(CSV),--csv $(CSV))
	$(BIN)/python -W ignore -m benchmarks.sample
	$(BIN)/python -W ignore -m benchmarks.memory

evaluate: .venv/installed  ## figures for CSV=… with labels; also CAPTIONS=…, MODEL=…, PUBLISHED=…, COMPARE=…, REPORT=….html
	rm -rf evaluate.db
	$(BIN)/image-search insert $(CSV) --uri evaluate.db --model $(or $(MODEL),builtin) --rejects evaluate-rejected.csv; [ $$? -le 1 ]
	$(BIN)/image-search evaluate --uri evaluate.db --compare $(or $(COMPARE),here) \
	    $(if $(CAPTIONS),--captions $(CAPTIONS)) $(if $(PUBLISHED),--published $(PUBLISHED)) $(if $(REPORT),--report $(REPORT))

card: .venv/installed  ## writes what builtin reaches into its model card; DATA=… is the folder of the evaluation sets
	$(BIN)/python -W ignore -m benchmarks.card --data $(DATA)
	$(BIN)/python -W ignore -m benchmarks.languages --data $(DATA)

bench-files: .venv/installed  ## 200 hostile and odd files among 2,000 good ones; IMAGES=folder compares with Pillow instead
ifdef IMAGES
	$(BIN)/python -W ignore -m benchmarks.compare_files $(IMAGES)
else
	$(BIN)/python -W ignore -m benchmarks.hostile
	$(BIN)/python -W ignore -m benchmarks.long_csv
endif

bench-serve: .venv/installed  ## searches a second over HTTP, 1, 8 and 50 users on 100,000 rows, 30 s each
	$(BIN)/python -W ignore -m benchmarks.serve

fuzz: .venv/installed-dev  ## ten thousand requests, right and wrong, made from the API's own description
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/app/api/test_document.py --timeout 3000

bench-lite: .venv/installed  ## Milvus Lite as installed and with pipelines/milvus/lite_fast_path; ROWS=… (100,000)
	$(BIN)/python -W ignore -m benchmarks.lite $(if $(ROWS),--rows $(ROWS))

bench-scale: .venv/installed  ## 100,000 generated images: rate, memory, second run; a million rows of CSV
	$(BIN)/python -W ignore -m benchmarks.scale

torture: .venv/installed .venv-milvus/bin/milvus-server  ## kill -9, server restarts, a full disk: nothing lost or doubled
	$(BIN)/python -W ignore -m benchmarks.torture

bench-peers: .venv/installed .venv-peers/installed .venv-clip-retrieval/tried  ## the same work by peers' code paths; CSV=…
	$(BIN)/python -W ignore -m benchmarks.peers $(if $(CSV),--csv $(CSV)) $(if $(IMAGES),--images $(IMAGES)) $(if $(FEW),--few $(FEW))

.venv-peers/bin/python .venv-clip-retrieval/bin/python:
	$(PYTHON) -m venv $(@D)/..

.venv-peers/installed: .venv-peers/bin/python benchmarks/peers/requirements.txt
	.venv-peers/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers/requirements.txt
	@touch $@

# Old requirements, so it may fail on a new Python: the benchmark then lists it with pip's reason, and tries again next time.
.PHONY: .venv-clip-retrieval/tried
.venv-clip-retrieval/tried: .venv-clip-retrieval/bin/python
	@rm -f .venv-clip-retrieval/failed; \
	test .venv-clip-retrieval/installed -nt benchmarks/peers/requirements-clip-retrieval.txt \
	|| { .venv-clip-retrieval/bin/python -m pip install --disable-pip-version-check --quiet \
	       -r benchmarks/peers/requirements-clip-retrieval.txt 2>.venv-clip-retrieval/pip.log \
	     && touch .venv-clip-retrieval/installed; } \
	|| { grep -m1 ^ERROR .venv-clip-retrieval/pip.log || echo 'pip failed'; } | tee .venv-clip-retrieval/failed

# A real Milvus server for the tests that need one, in an environment of its own (its requirements are old).
.venv-milvus/bin/milvus-server:
	$(PYTHON) -m venv .venv-milvus
	.venv-milvus/bin/python -m pip install --disable-pip-version-check --quiet 'milvus==2.3.5' 'setuptools<81'

clean:
	rm -rf .venv .venv-audit .venv-milvus .venv-peers .venv-clip-retrieval demo.db data/sample.csv
