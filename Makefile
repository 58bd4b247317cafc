# A new user needs only `make demo` and `make test`. Both build the environment first.

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
# Keep bytecode: without it, each test worker and each program that a test starts would compile every module again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help attack audit demo check test test-slow constraints bench evaluate card bench-files bench-serve bench-lite bench-browse bench-page fuzz bench-scale bench-vectors forecast image torture \
	bench-peers clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*##  *(.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/installed  ## index the sample images and open the search page
	$(BIN)/python data/build_sample.py
	$(BIN)/image-search insert data/sample.csv --uri demo.db --model builtin
	$(BIN)/image-search serve --uri demo.db

# mypy runs at the same time as the tests: it uses only one core, and half a minute without a cache. Two test workers
# are enough, because each imports everything that the tests need, and these tests rarely leave a core idle. Python 3.10
# is left out of the types: the last NumPy and rawpy for it have annotations that are not strict.
TYPES := $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))' || $(BIN)/mypy
check: .venv/installed-dev  ## style, types, import layers and the fast tests: under 90 s on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	{ $(BIN)/lint-imports --no-logo && { $(TYPES); }; } & types=$$!; $(PYTEST) --numprocesses 2 --dist worksteal -m "not (server or browser or program or long or slow)"; \
	tests=$$?; wait $$types && exit $$tests

# Six workers, even on two cores, because many of these tests wait for servers and processes. Each takes 1 to 2 GB.
test: .venv/installed-dev  ## all tests but the slow ones: under 7 minutes on two cores
	$(PYTEST) --numprocesses 6 --dist worksteal -m "not slow"

test-slow: .venv/installed-dev  ## the slow tests; the last one takes SOAK_SECONDS (1200)
	$(PYTEST) --numprocesses 3 --dist worksteal -m "slow and not soak"
	$(PYTEST) -m soak

attack: .venv/installed  ## known attacks on a page on loopback: which it withstood, and how long searches took meanwhile; ONLY=…
	$(BIN)/python -W ignore -m benchmarks.attack $(if $(ONLY),--only $(ONLY))

audit: .venv-audit/bin/pip-audit  ## known vulnerabilities in constraints.txt, if an advisory database can be reached
	@.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off >.venv-audit/log 2>&1; \
	status=$$?; \
	if grep -qE '^numpy .*could not be audited|Error' .venv-audit/log; then \
	    echo 'no advisory database answers from here: nothing was checked'; exit 3; \
	fi; cat .venv-audit/log; exit $$status

.venv-audit/bin/pip-audit:
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python -m pip install --disable-pip-version-check --quiet pip-audit

constraints: .venv/created  ## rewrite constraints.txt; UPGRADE=1 takes the newest releases
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate $(if $(UPGRADE),--upgrade) \
	    --custom-compile-command "make constraints" --output-file constraints.txt requirements.txt requirements-dev.txt

# Debian removes ensurepip from its Python. There the system's pip, if it is installed, sets up the environment.
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
	$(PIP) --no-deps cn_clip==1.6.0
	@touch $@

# `info` fails for a Docker client without a server. The default format of buildah and podman lacks the health check.
IMAGE_TOOL ?= docker podman buildah
image: export BUILDAH_FORMAT := docker
image:  ## build the container image with docker, podman or buildah; TORCH_INDEX=… for a mirror of PyTorch's builds without CUDA
	@for tool in $(IMAGE_TOOL); do \
	    $$tool info >/dev/null 2>&1 && exec $$tool build --tag image-search \
	        $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) $(IMAGE_BUILD_OPTIONS) .; \
	done; \
	echo 'error: nothing here builds an image: $(IMAGE_TOOL)'; exit 3

bench: .venv/installed  ## the main benchmarks of benchmarks/README.md; CSV=… for your own photographs, DEVICE=cuda for a GPU
	$(BIN)/python -W ignore -m benchmarks.throughput $(if $(CSV),--csv $(CSV)) $(if $(DEVICE),--device $(DEVICE))
	$(BIN)/python -W ignore -m benchmarks.latency $(if $(DEVICE),--device $(DEVICE))
	$(BIN)/python -W ignore -m benchmarks.preprocess $(if $(CSV),--csv $(CSV))
	$(BIN)/python -W ignore -m benchmarks.sample
	$(BIN)/python -W ignore -m benchmarks.memory
	$(BIN)/python -W ignore -m benchmarks.precision $(if $(CSV),--csv $(CSV))

evaluate: .venv/installed  ## evaluate the images and labels of CSV=…; also CAPTIONS=…, MODEL=…, PUBLISHED=…, COMPARE=…, REPORT=….html
	rm -rf evaluate.db
	$(BIN)/image-search insert $(CSV) --uri evaluate.db --model $(or $(MODEL),builtin) --rejects evaluate-rejected.csv; [ $$? -le 1 ]
	$(BIN)/image-search evaluate --uri evaluate.db --compare $(or $(COMPARE),here) \
	    $(if $(CAPTIONS),--captions $(CAPTIONS)) $(if $(PUBLISHED),--published $(PUBLISHED)) $(if $(REPORT),--report $(REPORT))

card: .venv/installed  ## evaluate builtin and write the results into its model card; DATA=… is the folder of the evaluation sets
	$(BIN)/python -W ignore -m benchmarks.card --data $(DATA)
	$(BIN)/python -W ignore -m benchmarks.languages --data $(DATA)

bench-files: .venv/installed  ## 200 hostile and odd files among 2,000 good ones, then long CSVs; IMAGES=folder compares with Pillow instead
ifdef IMAGES
	$(BIN)/python -W ignore -m benchmarks.compare_files $(IMAGES)
else
	$(BIN)/python -W ignore -m benchmarks.hostile
	$(BIN)/python -W ignore -m benchmarks.long_csv
endif

bench-serve: .venv/installed  ## searches over HTTP on each index, with 1, 8 and 50 users; ROWS="…" (100000 1000000), INDEX="…", ON=…, KEEP=…
	$(BIN)/python -W ignore -m benchmarks.serve $(if $(ROWS),--rows $(ROWS)) $(if $(INDEX),--index $(INDEX)) \
	    $(if $(ON),--on $(ON)) $(if $(KEEP),--keep $(KEEP))

fuzz: .venv/installed-dev  ## ten thousand valid and invalid requests, generated from the API's OpenAPI document
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/app/api/test_openapi.py --timeout 3000

bench-lite: .venv/installed  ## Milvus Lite as installed and with pipelines/milvus/lite_fast_path; ROWS=… (100,000)
	$(BIN)/python -W ignore -m benchmarks.lite $(if $(ROWS),--rows $(ROWS))

bench-page: .venv/installed  ## the page in Chromium: Enter to images, a scroll through 5,000 results, click to sharp at 10 Mbit/s
	$(BIN)/python -W ignore -m benchmarks.page

bench-browse: .venv/installed  ## lists sorted by a column, and facets, with 100,000 and 1,000,000 rows; ROWS=…
	$(BIN)/python -W ignore -m benchmarks.browse $(if $(ROWS),--rows $(ROWS))

bench-scale: .venv/installed  ## 100,000 generated images: rate, memory, second run; a CSV of a million rows (ONLY=run or csv); then bench-vectors and forecast
	$(BIN)/python -W ignore -m benchmarks.scale $(if $(ONLY),--only $(ONLY))
	$(if $(ONLY),,$(MAKE) bench-vectors forecast ROWS=)

bench-vectors: .venv/installed .venv-milvus/bin/milvus-server  ## vectors on a Milvus server: export, import by upsert and bulk load, searches over HTTP; ROWS=… (1,000,000)
	$(BIN)/python -W ignore -m benchmarks.vectors --figures benchmarks/vectors.json $(if $(ROWS),--rows $(ROWS))

forecast: .venv/installed  ## estimate what ROWS=… (100,000,000) images need, from the figures of bench-vectors
	$(BIN)/python -W ignore -m benchmarks.forecast $(if $(ROWS),--rows $(ROWS))

torture: .venv/installed .venv-milvus/bin/milvus-server  ## kill -9, server restarts, a full disk: nothing may be lost or duplicated
	$(BIN)/python -W ignore -m benchmarks.torture

bench-peers: .venv/installed .venv-peers/installed .venv-clip-retrieval/tried .venv-infinity/tried  ## the same work through other projects' code paths; CSV=…
	$(BIN)/python -W ignore -m benchmarks.peers $(if $(CSV),--csv $(CSV)) $(if $(IMAGES),--images $(IMAGES)) $(if $(FEW),--few $(FEW))

.venv-peers/bin/python .venv-clip-retrieval/bin/python .venv-infinity/bin/python:
	$(PYTHON) -m venv $(@D)/..

.venv-peers/installed: .venv-peers/bin/python benchmarks/peers/requirements.txt
	.venv-peers/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers/requirements.txt
	@touch $@

# These peers need old packages, which a new Python may fail to install. The benchmark then lists pip's error, and the
# next run tries again.
OLD_PEERS := .venv-clip-retrieval/tried .venv-infinity/tried
.PHONY: $(OLD_PEERS)
$(OLD_PEERS): .venv-%/tried: .venv-%/bin/python
	@rm -f .venv-$*/failed; \
	test .venv-$*/installed -nt benchmarks/peers/requirements-$*.txt \
	|| { .venv-$*/bin/python -m pip install --disable-pip-version-check --quiet \
	       -r benchmarks/peers/requirements-$*.txt 2>.venv-$*/pip.log \
	     && touch .venv-$*/installed; } \
	|| { grep -m1 ^ERROR .venv-$*/pip.log || echo 'pip failed'; } | tee .venv-$*/failed

# A real Milvus server for the tests that need one, in its own environment, because it needs old packages.
.venv-milvus/bin/milvus-server:
	$(PYTHON) -m venv .venv-milvus
	.venv-milvus/bin/python -m pip install --disable-pip-version-check --quiet 'milvus==2.3.5' 'setuptools<81'

# A real Triton server for the tests of remote models, with only its Python backend (150 MB).
.venv-triton/server/pytriton/tritonserver/bin/tritonserver:
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --target .venv-triton/server \
	    nvidia-pytriton==0.7.0

clean:
	rm -rf .venv .venv-audit .venv-milvus .venv-triton .venv-peers .venv-clip-retrieval .venv-infinity demo.db data/sample.csv
