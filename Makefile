# Every chore, one command. CI runs the same ones (.ci/run).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PORT ?= 8000
EVENTS ?= 1000000

.PHONY: help demo test chaos bench quality docs lint format setup pins clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

demo: setup ## Run the whole system here with sample logs, until Ctrl-C (PORT=8000)
	@PORT=$(PORT) exec $(BIN)/python -m local.demo

test: setup ## Run the tests against real Postgres, S3 protocol, Airflow (ARGS="-k name")
	@exec $(BIN)/python -m pytest $(ARGS)

chaos: setup ## The long form of the tests that break things: about 13 minutes
	@CHAOS=1 exec $(BIN)/python -m pytest -m chaos $(ARGS)

bench: setup ## Time the night by step, and the client's memory (EVENTS=1000000)
	@exec $(BIN)/python -m bench.night --events $(EVENTS)

quality: setup ## How good the models' lists are, on planted truth: about 4 minutes
	@exec $(BIN)/python -m bench.quality

docs: setup ## Write docs/data-dictionary.md and docs/lineage.md from the database and the SQL
	@exec $(BIN)/python -m local.describe

lint: setup ## Check Python (ruff) and SQL (sqlfluff)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/sqlfluff lint --processes 0 sql api/queries

format: setup ## Mend what the linters can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 0 sql api/queries

setup: $(STAMP) ## Install everything into .venv; does nothing when it is current

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import shutil, sys; shutil.disk_usage(".").free > 3e9 or sys.exit("3 GB of free disk are needed for .venv and the demo")'
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

pins: setup ## Compile requirements/*.txt from pyproject.toml, on the oldest Python supported (Debian 12: 3.11.2)
	$(eval COMPILE := $(BIN)/pip-compile --quiet --upgrade --strip-extras --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe)
	$(COMPILE) --extra api --extra airflow --extra dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --extra airflow -c requirements/dev.txt -o requirements/airflow.txt pyproject.toml
	$(COMPILE) --extra api -c requirements/dev.txt -o requirements/api.txt pyproject.toml

clean: ## Remove what the demo keeps between runs
	rm -rf .local
