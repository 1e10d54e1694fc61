# `make demo` and `make test` do all their own set-up.
.PHONY: help demo test test-fast lint format docs bench reference clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo:  ## Install, then compare three plain models on 700 real cells
	@.ci/venv run
	@.ci/demo

test:  ## Run every test, those in real containers included
	@.ci/venv dev
	@.ci/with-engine .venv/bin/python -m pytest --docker

test-fast:  ## Run the tests that need no Docker engine
	@.ci/venv dev
	@.venv/bin/python -m pytest

lint:  ## Check style, types, layers, spelling, and YAML against its schemas
	@.ci/venv dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/codespell
	.venv/bin/python docs/validate.py

format:  ## Put the code into its form
	@.ci/venv dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

reference:  ## Write the generated reference pages anew
	@.ci/venv dev
	.venv/bin/python docs/generate.py

docs:  ## Build the documentation, warnings being errors
	@.ci/venv dev
	.venv/bin/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "docs/_build/index.html"

bench:  ## Measure what benchmarks/ promises; LARGE=--large also scores 100,000 cells, which takes hours
	@.ci/venv dev
	@.venv/bin/python benchmarks/peers/install.py >/dev/null
	@kept=0; .ci/with-engine .venv/bin/python benchmarks/run.py || kept=1; \
	.venv/bin/python benchmarks/scoring.py $(LARGE) || kept=1; exit $$kept

clean:  ## Remove what was built here; results stay
	rm -rf .venv dist docs/_build .mypy_cache .ruff_cache .pytest_cache
	@echo "kept: .cache (image layers) and cellgauge-results"
