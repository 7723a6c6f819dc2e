# Every target sets up what it needs by itself on a fresh machine: .venv, for the JavaScript lint
# .venv/eslint, and for the tests in a browser .venv/browser.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ESLINT := $(VENV)/eslint
BROWSER := $(VENV)/browser

.PHONY: demo test test-full test-browser playwright lint lint-style lint-types lint-web metadata bench train train-edit evaluate evaluate-edit clean

demo: $(STAMP)
	$(BIN)/python -m i2am demo

# the node in a browser takes one short way here, and all others in test-browser
test: $(STAMP) playwright
	$(BIN)/python -m pytest -m "not slow"

test-full: $(STAMP) playwright
	$(BIN)/python -m pytest

# every ComfyUI of this machine in both of its renderers; skipped where there is none, or no Chromium. What failed is tried once
# more: on a busy machine a page can take longer than a script waits
IN_BROWSER := tests/test_explorer_in_browser.py tests/test_explorer_whole.py tests/test_explorer_compare.py
test-browser: $(STAMP) playwright
	$(BIN)/python -m pytest -m slow $(IN_BROWSER) || $(BIN)/python -m pytest -m slow --last-failed --last-failed-no-failures none $(IN_BROWSER)

# what drives the browser of this machine; without it the tests say what they lack
playwright:
	@if ! command -v npm >/dev/null; then echo "playwright: skipped, there is no npm on PATH to bring it"; \
	else $(MAKE) --no-print-directory $(BROWSER)/.installed || echo "playwright: skipped, npm could not bring it"; fi

$(BROWSER)/.installed: tests/browser/package.json tests/browser/package-lock.json
	mkdir -p $(BROWSER)
	cp $^ $(BROWSER)
	npm ci --prefix "$$(cd $(BROWSER) && pwd -P)" --engine-strict --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error
	touch $@

lint: lint-style lint-types lint-web

lint-style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# nodes/ imports ..i2am, since ComfyUI loads the whole pack as one package: mypy gets it as one too, by a link whose name is
# a valid package name, whatever this folder is called
lint-types: $(STAMP)
	$(BIN)/mypy -p i2am
	mkdir -p .mypy_cache
	ln -sfn .. .mypy_cache/i2am_pack
	MYPYPATH=.mypy_cache $(BIN)/mypy -p i2am_pack.nodes

lint-web:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(ESLINT)/.installed && \
		$(ESLINT)/node_modules/.bin/eslint --config $(ESLINT)/eslint.config.mjs --max-warnings 0 web && \
		echo "eslint: no issues found in web/"; \
	else echo "eslint: skipped, there is no npm on PATH to bring it"; fi

# outside web/, where ComfyUI would load every script of node_modules into its page
$(ESLINT)/.installed: web/package.json web/package-lock.json web/eslint.config.mjs
	mkdir -p $(ESLINT)
	cp $^ $(ESLINT)
	npm ci --prefix "$$(cd $(ESLINT) && pwd -P)" --engine-strict --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error
	touch $@

# what the registry, pip and the host read of the pack; also a part of `make test`
metadata: $(STAMP)
	$(BIN)/python -m pytest tests/test_packaging.py

bench: $(STAMP)
	$(BIN)/python -m i2am bench

train: $(STAMP)
	$(BIN)/python -m i2am.demo.train

train-edit: $(STAMP)
	$(BIN)/python -m i2am.demo.train.edit

evaluate: $(STAMP)
	$(BIN)/python -m i2am.demo.evaluate

evaluate-edit: $(STAMP)
	$(BIN)/python -m i2am.demo.evaluate.edit

# torch is pinned here alone, to the build that is smallest to bring on a machine without a GPU; it runs on Python 3.10 to 3.13,
# and so does an older release of each other dependency where the newest has left 3.10
$(STAMP): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf out build .pytest_cache .mypy_cache .ruff_cache
