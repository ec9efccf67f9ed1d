# Two commands: `make repro` rebuilds and checks every result, `make test` checks the code.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: repro repro-force test bench check-results setup report repair help

help:
	@echo "make repro          bring every result up to date, check it on fresh seeds, build the report"
	@echo "make repro-force    regenerate every result from raw seeds, then as above"
	@echo "make test           lint, types, import contracts, the whole test suite"
	@echo "make bench          speed and memory as ratios; fails below the stated floors"
	@echo "make check-results  are the committed results what the code makes?"

# A new entry point or pin is visible only after reinstalling, hence the two dependencies.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch $@

setup: $(STAMP)

# What a killed `dvc repro` can leave behind: a lock that names a dead process, a truncated lock file; and DVC wants a
# repository even in a source archive.
repair: setup
	@$(BIN)/python -m common.training.repair

repro: repair
	$(BIN)/dvc repro --keep-going
	$(BIN)/python -m common.reporting spotcheck
	$(BIN)/dvc repro --quiet report
	@echo "the report: $(CURDIR)/reports/index.html"

repro-force: repair
	$(BIN)/dvc repro --force --keep-going
	$(MAKE) repro

report: repair
	$(BIN)/dvc repro report

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

check-results: repair
	$(BIN)/python -m common.reporting check
