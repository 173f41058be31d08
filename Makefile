# Thin on purpose: set-up is tools/setup.sh, the test runs are tools/test.sh.
# ARGS is handed on: make test ARGS='-k fork', make demo ARGS='--help'.

PY := .venv/bin/python
ARGS ?=
# The part of the suite that also runs on SQLAlchemy 2.0.
CORE ?= tests/server tests/drivers tests/pool tests/urls tests/plugin tests/promises tests/reporting \
	--ignore=tests/pool/first_statement --ignore=tests/pool/waiting
LINTED := src tests hatch_build.py $(wildcard bench examples docs)

export CORE ARGS
# Which server the lab starts (a private copy when this machine has none of its own).
LAB := . tools/lab-env.sh &&

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-core lint chaos ledger attack bench docs peers dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: .venv/.ready-demo ## break connections in front of you, without and with holdfast
	@$(LAB) $(PY) -m sqlalchemy_holdfast demo $(ARGS)

test: .venv/.ready-test .venv-sa20/.ready ## everything: SQLAlchemy 2.1, the core on 2.0, MySQL when HOLDFAST_LAB_MYSQLD is set
	@$(LAB) tools/test.sh

test-core: .venv/.ready-test ## the quick part, on one server and one SQLAlchemy
	@$(LAB) $(PY) -m pytest $(CORE) -m 'not slow and not mysql and not chaos' $(ARGS)

lint: .venv/.ready-test ## ruff and mypy; what the pre-commit hook runs
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict $(LINTED)

chaos: .venv/.ready-test ## random faults, interruptions, forks and full servers, the long version
	@$(LAB) HOLDFAST_CHAOS=1 $(PY) -m pytest -o faulthandler_timeout=2000 tests/chaos tests/budget tests/fork tests/pool tests/transactions $(ARGS)

# 13 minutes for each driver: ten with holdfast, one each for what it is compared with.
ledger: .venv/.ready-test ## transfers under faults, without and with holdfast: nothing lost, nothing doubled
	@$(LAB) $(PY) -m tests.transactions.ledger --seconds 600 $(ARGS)

# An hour: twenty minutes for each driver. tests/attack/README.md says what it does.
attack: .venv/.ready-test ## random sequences beside stock SQLAlchemy, with a ledger: nothing wrong, lost or doubled
	@$(LAB) $(PY) -m tests.attack --seconds 1200 $(ARGS)

bench: .venv/.ready-test ## measure holdfast against stock SQLAlchemy
	@$(LAB) $(PY) -m bench $(ARGS)

docs: .venv-docs/.ready ## the documentation, in docs/_build/index.html
	@.venv-docs/bin/python -m sphinx -b html -E -W -n --keep-going -q docs docs/_build $(ARGS)

peers: .venv/.ready-test ## other projects' own test suites with holdfast in place
	@$(LAB) $(PY) tests/peers/run.py $(ARGS)

dist: .venv/.ready-test ## the wheel and the sdist, in dist/, checked; nothing is uploaded
	@rm -rf dist
	@$(PY) -m build --no-isolation --outdir dist
	@$(PY) -m twine check --strict dist/*

clean: ## remove environments, private servers, caches and scratch
	rm -rf .venv .venv-sa20 .venv-docs .lab .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist bench/scratch
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up runs again only when what it reads has changed.
.venv/.ready-demo: pyproject.toml tools/setup.sh
	@tools/setup.sh demo

.venv/.ready-test: pyproject.toml tools/setup.sh
	@tools/setup.sh test

.venv-sa20/.ready: pyproject.toml tools/setup.sh
	@tools/setup.sh sa20

.venv-docs/.ready: pyproject.toml tools/setup.sh
	@tools/setup.sh docs
