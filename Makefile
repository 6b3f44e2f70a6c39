# Every chore, one command. CI runs the same ones (.ci/run).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PORT ?= 8000

.PHONY: help demo test test-15 test-citus chaos bench quality docs screenshots assets rehearse lint format setup pins clean
.PHONY: deploy image machine status pause resume teardown

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

demo: setup ## Run the whole system here with sample logs, until Ctrl-C (PORT=8000)
	@PORT=$(PORT) exec $(BIN)/python -m local.demo

test: setup ## Run the tests against real Postgres, S3 protocol, Airflow (ARGS="-k name")
	@exec $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-15: setup ## The tests of the database on PostgreSQL 15, the oldest supported (POSTGRES_BIN: where its programs are)
	@POSTGRES_BIN=$(or $(POSTGRES_BIN),/usr/lib/postgresql/15/bin) exec $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS) $(DATABASE_TESTS)

test-citus: setup ## The same on a Citus cluster: CITUS_URL's (its superuser's URI), or one of POSTGRES_BIN's programs; else skipped
	@CITUS=1 exec $(BIN)/python -m pytest $(ARGS) tests/test_citus.py $(DATABASE_TESTS)

# A process more than there are cores, since tests also wait, at most four, each with servers of its own; the tests of a
# file stay together, in order: the longest (test_contributor) begins early.
SIDE_BY_SIDE = --numprocesses=$(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

DATABASE_TESTS := $(foreach of,warehouse migrating sql load models publish statistics views versions preview,tests/test_$(of).py)

chaos: setup ## The long form of the tests that break things: about 20 minutes
	@CHAOS=1 exec $(BIN)/python -m pytest -m chaos $(ARGS)

bench: $(VENV)/bench ## Time the night and the day, write docs/performance.md: about 10 minutes (QUICK=1: 2, writes nothing)
	@exec $(BIN)/python -m bench $(if $(QUICK),--quick)

$(VENV)/bench: $(STAMP) requirements/bench.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	@touch $@

quality: setup ## How good the models' lists are, on planted truth; writes docs/models.md: 10 minutes (QUICK=1: 2, writes nothing)
	@exec $(BIN)/python -m bench.quality

docs: setup ## Write docs/data-dictionary.md and docs/lineage.md from the database and the SQL
	@exec $(BIN)/python -m local.describe

screenshots: setup ## Take the pictures of the pages in docs/pictures, over sample logs (needs Chromium)
	@exec $(BIN)/python -m local.screenshots

assets: ## Fetch the libraries of the pages again, as pinned here (needs npm)
	@cd api/pages/assets/vendor && rm -f * && for package in uplot@1.6.32 swagger-ui-dist@5.35.0; do \
		echo $$package && npm pack --silent $$package >/dev/null; done
	@cd api/pages/assets/vendor && unpack() { tar -xzOf $$1-[0-9]*.tgz package/$$2; } \
		&& unpack uplot dist/uPlot.iife.min.js >uplot.js && unpack uplot dist/uPlot.min.css >uplot.css \
		&& unpack uplot LICENSE >uplot.LICENSE \
		&& unpack swagger-ui-dist swagger-ui-bundle.js | grep -v sourceMappingURL >swagger-ui.js \
		&& unpack swagger-ui-dist swagger-ui.css | grep -v sourceMappingURL >swagger-ui.css \
		&& unpack swagger-ui-dist LICENSE >swagger-ui.LICENSE \
		&& unpack swagger-ui-dist swagger-ui-bundle.js.LICENSE.txt >>swagger-ui.LICENSE && rm *.tgz

rehearse: setup ## Boot the Airflow machine of AWS here, as root, and run a night in its 2 GiB, the database in 1 (EVENTS=5000000 PRODUCTS=20000)
	@EVENTS=$(or $(EVENTS),5000000) PRODUCTS=$(or $(PRODUCTS),20000) exec $(BIN)/python -m pytest tests/test_deploy_machine.py -s $(ARGS)

lint: setup ## Check Python (ruff, its types: mypy), SQL (sqlfluff) and the AWS template (cfn-lint)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --processes 0 sql api/queries deploy
	$(BIN)/cfn-lint --regions $$($(BIN)/python -c 'import boto3; print(*boto3.Session().get_available_regions("cloudformation"))') \
		-- deploy/template.yaml

format: setup ## Mend what the linters can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 0 sql api/queries deploy

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
	$(COMPILE) --generate-hashes --extra airflow -c requirements/dev.txt -o requirements/airflow.txt pyproject.toml
	$(COMPILE) --generate-hashes --extra api -c requirements/dev.txt -o requirements/api.txt pyproject.toml
	$(COMPILE) --extra bench -c requirements/dev.txt -o requirements/bench.txt pyproject.toml

# On AWS (docs/deploy.md). Needs credentials and a region; for images Docker. STACK names the stack: STACK=ads-prod
STACK_COMMAND = $(if $(STACK),,$(error which stack? make $@ STACK=ads-prod))exec $(BIN)/python -m deploy.stack $@ $(STACK)

deploy: setup ## Make or upgrade all of it on AWS: 45 to 80 $/month (PARAMETERS="NoticeEmail=..", REVISION=.. rolls back)
	@$(STACK_COMMAND) $(PARAMETERS) $(if $(REVISION),--revision $(REVISION))

image: setup ## Build the API's image and push it to the stack's ECR: cents a month (STACK=..)
	@$(STACK_COMMAND)

machine: setup ## Replace the Airflow machine, or make it anew when it is lost; the API goes on (STACK=..)
	@$(STACK_COMMAND)

status: setup ## What runs on AWS, what is published, which alarms ring; free (STACK=..)
	@$(STACK_COMMAND)

pause: setup ## Stop what bills by the hour: about 9 $/month remain (STACK=..)
	@$(STACK_COMMAND)

resume: setup ## Start it again (STACK=..)
	@$(STACK_COMMAND)

teardown: setup ## Delete the stack, after asking; the bucket and a database snapshot stay (STACK=..)
	@$(STACK_COMMAND)

clean: ## Remove what the demo keeps between runs, for root also in /var/lib/recommendations
	rm -rf .local "/var/lib/recommendations$(CURDIR)"
