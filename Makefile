# make report   certify the shipped model; prints where the HTML report is
# make test     the whole gate: lint, format, types, import boundaries, tests
# make slow     the tests that take minutes
# make clean    remove the environment, caches and reports
#
# PYTHON    the interpreter the environment is made with
# PIP_ARGS  passed to every pip install. For a CPU-only torch (much smaller than the default one on Linux):
#               make report PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt
REPORT := reports/bkw2d

.PHONY: report test slow clean
.DEFAULT_GOAL := report

# A stamp is newer than what it was made from; so a second call installs nothing.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	@touch $@

report: $(VENV)/.installed
	$(BIN)/certify report models/bkw2d.pt --problem bkw2d -o $(REPORT) --overwrite
	@for page in $(REPORT)/*.html; do echo "Report: $(CURDIR)/$$page"; done

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) reports build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
