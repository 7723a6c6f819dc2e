# Every target sets up .venv by itself on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-full lint bench train evaluate clean

demo: $(STAMP)
	$(BIN)/python -m i2am demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

test-full: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p i2am

bench: $(STAMP)
	$(BIN)/python -m i2am bench

train: $(STAMP)
	$(BIN)/python -m i2am.demo.train

evaluate: $(STAMP)
	$(BIN)/python -m i2am.demo.evaluate

# torch is pinned here alone, to the build that is smallest to bring on a machine without a GPU
$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf out build .pytest_cache .mypy_cache .ruff_cache
