# `make run` and `make test` need Python 3.11+ and nothing else: they make .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/miniature

.PHONY: run test test-ray test-vllm check format example organism clean

$(VENV)/ready: pyproject.toml constraints.txt $(wildcard tasks/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch==$$(sed -n 's/^torch==//p' constraints.txt)" || $(BIN)/pip install --quiet torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(VENV)/ready
	$(BIN)/harness run --out $(OUT)
	@$(PYTHON) -m webbrowser "file://$$(pwd)/$(OUT)/report.html" >/dev/null 2>&1 || true

test: $(VENV)/ready
	$(BIN)/python -m pytest

# The tests that are skipped where Ray is missing.
test-ray: $(VENV)/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[ray]"
	$(BIN)/python -m pytest tests/test_ray_engine.py

# The environment at hand where it can import vLLM (a GPU machine), else one of its own with vLLM for CPUs.
test-vllm:
	@if $(PYTHON) -c 'import harness, pytest, vllm' 2>/dev/null; then $(PYTHON) -m pytest -m vllm; \
	else $(MAKE) .venv-vllm/ready && .venv-vllm/bin/python -m pytest -m vllm; fi

.venv-vllm/ready: pyproject.toml constraints.txt tests/vllm_environment.py
	$(PYTHON) tests/vllm_environment.py .venv-vllm
	@touch $@

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Only after a change of the miniature's own code: grows the shipped one anew.
organism: $(VENV)/ready
	$(BIN)/python -c "from harness.organism.store import bundle; bundle()"

# reports/examples/ and the README's picture, from a run directory (OUT=...) or, where there is none, a fresh run.
example: $(VENV)/ready
	test -f $(OUT)/results.json || $(BIN)/harness run --out $(OUT)
	$(BIN)/harness report $(OUT) --out reports/examples/miniature.html
	$(BIN)/python benchmarks/report_open.py reports/examples/miniature.html --screenshot docs/report.png

clean:
	rm -rf $(VENV) .venv-vllm runs build dist
