# make run    everything a user needs, then the page at http://127.0.0.1:7860   (PORT=… HOST=… STUDIO_PASSWORD=…)
# make test   everything a contributor needs, then every check and test
# make bench  what the studio measures of itself
PYTHON ?= python3
PORT ?= 7860
HOST ?= 127.0.0.1
VENV_PYTHON := .venv/bin/python

.PHONY: run setup test check unit bench format clean help

help:
	@sed -n '1,3s/^# //p' Makefile

run: setup
	@$(VENV_PYTHON) -m studio serve --host $(HOST) --port $(PORT) --open

setup:
	@$(PYTHON) scripts/bootstrap.py

test: check unit

check: setup-dev
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check --quiet . || (echo "Run: make format" && exit 1)
	@$(VENV_PYTHON) -m mypy
	@$(VENV_PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

unit: setup-dev
	@$(PYTHON) scripts/bootstrap.py --dev --browser
	@$(VENV_PYTHON) -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

.PHONY: setup-dev
setup-dev:
	@$(PYTHON) scripts/bootstrap.py --dev

bench: setup-dev
	@$(VENV_PYTHON) -m benchmarks $(ARGS)

format: setup-dev
	@$(VENV_PYTHON) -m ruff check --fix --quiet . ; $(VENV_PYTHON) -m ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
