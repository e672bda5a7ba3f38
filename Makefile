# Every target sets itself up. Everything lives in .venv; uv works as well:
# uv venv && uv pip install -c constraints.txt -e '.[ml,plots,dev]' && touch .venv/ready

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-engine paper up constraints

help: ## Show this.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/ready ## Teach a real model 24 invented facts, and show what it learned and what it lost.
	$(BIN)/mixsd demo

up: .venv/ready ## Serve the API and run jobs on this machine, until Ctrl-C.
	$(BIN)/mixsd up

test: .venv/ready ## Pass the tests, on SQLite and on Postgres and Redis.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

check: .venv/ready ## Look at format, lint, types and imports.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready ## Compare SFT with MixSD on the sample facts: a table and a plot in out/compare.
	$(BIN)/mixsd compare examples/facts.jsonl --methods sft mixsd --out out/compare

bench-engine: .venv/ready ## Measure the engine against plain decoding, an hour on two cores; prints JSON.
	$(BIN)/python -m benchmarks.engine --json

paper: .venv/ready ## Make the paper's table with a small model in out/paper; by its parts some 90 minutes on two cores.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ml,plots,benchmarks]'
	$(BIN)/python -m benchmarks.paper --out out/paper

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ml,plots,dev]'
	touch $@

constraints: ## Write down the newest versions that work.
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install torch==2.13.0 --editable '.[ml,plots,corpora,benchmarks,dev]'
	$(BIN)/python -m pytest
	(echo '# Versions that are known to work together. Upgrade on purpose: `make constraints`.'; \
	  $(BIN)/pip freeze --exclude-editable | sed 's/+.*//') > constraints.txt
