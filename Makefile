# Every target sets up what it needs; the second time that takes no time.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

python := .venv/bin/python
in_engine := scripts/engine run
export SCRIPTED SCRIPT CASES SYNC_CASES SEED

.PHONY: help demo test quick lint format types bench classify corpus corpus-builds soak constraints setup engine clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; \
		do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: engine ## watch the example service; SCRIPTED=1 (or no terminal): three edits made for you, checked
	@$(in_engine) $(python) scripts/demo.py

test: engine ## run the whole suite, against a real Docker Engine too; ARGS=... goes to pytest
	@scripts/engine base devloop-test-busybox:latest
	@$(in_engine) $(python) -m pytest $(ARGS)

quick: setup ## run the tests that need no Docker Engine
	@$(python) -m pytest -m "not docker" $(ARGS)

lint: setup ## check the code's style and format
	@$(python) -m ruff check
	@$(python) -m ruff format --check

format: setup ## mend what can be mended of the code's style and format
	@$(python) -m ruff check --fix
	@$(python) -m ruff format

types: setup ## check the types
	@$(python) -m mypy

bench: engine ## measure watching, contexts, planning and the way from a save to served; SCRIPT=... for one of them
	@for script in $${SCRIPT:-benchmarks/bench_*.py}; do echo "==> $$script"; $(in_engine) $(python) $$script; done

classify: setup ## hold the classifier of steps against its labelled corpus
	@PYTHONPATH=tests $(python) -m support.classify

corpus: setup ## hold the doctor against small labelled projects: precision and recall; BUILD=1 builds them before and after
	@PYTHONPATH=tests $(python) -m support.doctor_corpus
	@[ -z "$${BUILD:-}" ] || $(MAKE) corpus-builds

corpus-builds: engine
	@scripts/engine base python:3.11-slim node:20-slim golang:1.19-bookworm rust:1.85-bookworm \
		maven:3.8-eclipse-temurin-17 eclipse-temurin:17-jre debian:bookworm-slim devloop-test-busybox:latest
	@PYTHONPATH=tests $(in_engine) $(python) -m support.doctor_builds $(ARGS)

soak: engine ## hold 1000 predictions and 500 syncs against the engine, and the laws for ten minutes; CASES= SYNC_CASES= SEED=
	@scripts/engine base devloop-test-busybox:latest
	@PYTHONPATH=tests $(in_engine) $(python) -m support.differential --cases $${CASES:-1000} --seed $${SEED:-1}
	@PYTHONPATH=tests $(in_engine) $(python) -m support.sync_law --cases $${SYNC_CASES:-500} --seed $${SEED:-1}
	@DEVLOOP_SOAK_SECONDS=600 $(python) -m pytest tests/laws -m "not docker" --timeout 1200

constraints: ## resolve the dependencies anew and write constraints.txt
	@scripts/setup --freeze

setup: ## make .venv with devloop and its development tools
	@scripts/setup

engine: setup ## make sure that a Docker Engine answers and has the example's base image
	@scripts/engine up
	@scripts/engine base

clean: ## stop the private engine, remove what was made here; its files go with: scripts/engine down --purge
	@scripts/engine down
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
