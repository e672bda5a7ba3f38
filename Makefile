# Every target sets itself up. Everything lives in .venv; uv works as well:
# uv venv && uv pip install -c constraints.txt -e '.[ml,plots,dev]' && touch .venv/ready

PYTHON ?= python3
SEED ?= 1
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check model mutants fuzz audit bench bench-engine chaos faults paper docs up constraints

help: ## Show this.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/ready ## Teach a real model 24 invented facts, and show what it learned and what it lost.
	$(BIN)/mixsd demo

up: .venv/ready ## Serve the API and run jobs on this machine, until Ctrl-C.
	$(BIN)/mixsd up

test: .venv/ready ## Pass the tests, on SQLite and on Postgres and Redis. SEED=random draws an order and examples anew.
	$(if $(filter random,$(SEED)),,HYPOTHESIS_PROFILE=same) $(BIN)/python -m pytest \
	  --numprocesses 2 --dist loadscope --no-loadscope-reorder $(if $(filter random,$(SEED)),,--randomly-seed=$(SEED))

check: .venv/ready ## Look at format, lint, types and imports.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

model: .venv/ready ## Search the protocol of a job, and hold the statements against it: 500 examples of 50 steps on each database.
	$(BIN)/python -m tests.model
	MIXSD_MODEL_EXAMPLES=500 MIXSD_MODEL_STEPS=50 $(BIN)/python -m pytest tests/model/test_against_sql.py

mutants: .venv/ready ## Take each guard of the service out once, and see that tests notice; some minutes.
	$(BIN)/python -m tests.mutations

fuzz: .venv/ready ## Feed the readers of what strangers send with broken bytes, a minute each.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in jsonl json csv yaml json_body cursor weights weights_header; do \
	  $(BIN)/python -m tests.fuzz $$target -max_total_time=60 || exit 1; done

audit: ## Ask for known holes in the pinned versions; needs the network.
	test -x .audit/bin/pip-audit || $(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet pip-audit
	.audit/bin/pip-audit --strict --progress-spinner off --requirement constraints.txt --no-deps --disable-pip || \
	  { echo 'audit: holes are known, or nothing is known of a package, so it was not audited: see above' >&2; exit 1; }

bench: .venv/ready ## Compare SFT with MixSD on the sample facts: a table and a plot in out/compare.
	$(BIN)/mixsd compare examples/facts.jsonl --methods sft mixsd --out out/compare

bench-engine: .venv/ready ## Measure the engine against plain decoding, an hour on two cores; prints JSON.
	$(BIN)/python -m benchmarks.engine --json

chaos: .venv/ready ## Kill, freeze and restart parts of a service of its own for 90 s each, on one machine and as a team.
	$(BIN)/python -m benchmarks.chaos --profile embedded --seconds 90
	$(BIN)/python -m benchmarks.chaos --profile team --seconds 90

faults: .venv/ready ## Pass the tests of faults, the long ones too.
	MIXSD_LONG_FAULTS=1 $(BIN)/python -m pytest tests/faults tests/worker/test_faults.py

paper: .venv/ready ## Make the paper's table with a small model in out/paper; by its parts some 90 minutes on two cores.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ml,plots,benchmarks]'
	$(BIN)/python -m benchmarks.paper --out out/paper

docs: .venv/ready ## Build the site of the documents in site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

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
