SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo reset redrive build deploy test lint types unit integration browser contracts fuzz load copies catalogues letters screenshots chromium

PYTHON ?= python3
# Every language of `optout.languages` but English, which the sentences are written in.
TRANSLATED := de pl fr es ar
BIN := .venv/bin
# Every list of requirements is closed and pinned by hash, so pip resolves nothing.
PIP := -m pip --disable-pip-version-check --quiet --no-input install --no-deps

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: .venv/run.stamp ## start the whole service on this machine and print its addresses
	@$(BIN)/python -m local run

demo: .venv/run.stamp ## play the whole story on real photographs and say what each step proved
	@$(BIN)/python -m local.demo

reset: .venv/run.stamp ## forget all requests, photos, letters and keys of `make run`
	@$(BIN)/python -m local reset

redrive: .venv/run.stamp ## send again the letters that could not be sent
	@$(BIN)/python -m local redrive

build: .venv/run.stamp .venv-sam/stamp ## make what is deployed, for Lambda's machine, and print what it unpacks to
	@$(BIN)/python -m infra.build

deploy: .venv/run.stamp .venv-sam/stamp ## build, show what would change in the AWS account, and change it after a yes
	@$(BIN)/python -m infra.deploy

# Style and types are the work of one processor each; what follows has both.
test: ## everything below, as .ci/run does
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=line lint types
	@$(MAKE) --no-print-directory unit integration browser

lint: .venv/test.stamp .venv-sam/stamp .venv-checkov/stamp ## style of the sources, rules for the template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cfn-lint infra/template.yaml
	SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam validate --lint --template infra/template.yaml --region us-east-1
	BC_SKIP_MAPPING=TRUE .venv-checkov/bin/checkov --config-file infra/checkov.yaml --file infra/template.yaml

types: .venv/test.stamp ## mypy, strict
	$(BIN)/mypy
	for handler in functions/*/handler.py; do $(BIN)/mypy "$$handler"; done

# xdist would begin with the files of many tests. Those of few are the long ones, and one processor would wait for them.
unit: .venv/test.stamp .venv-sam/stamp ## the library, the template, the build and the local tools; sockets closed
	$(BIN)/pytest tests/unit tests/infra --numprocesses 2 --dist loadfile --no-loadscope-reorder

integration: .venv/test.stamp ## the real template and handlers on the embedded AWS
	$(BIN)/pytest tests/integration --numprocesses 2 --dist loadfile

browser: .venv/test.stamp chromium ## the whole story in Chromium, with JavaScript and without
	$(BIN)/pytest tests/browser

catalogues: .venv/test.stamp ## find all sentences of pages and letters, bring the catalogues up to date and compile them
	mkdir -p .local
	$(BIN)/pybabel --quiet extract --mapping-file=pyproject.toml --add-location=file --sort-by-file --no-wrap \
		--project=image-optout --output-file=.local/optout.pot optout
	for language in $(TRANSLATED); do $(BIN)/pybabel --quiet update --input-file=.local/optout.pot \
		--output-dir=optout/web/locales --domain=optout --locale=$$language --init-missing --no-wrap \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date; done
	$(BIN)/pybabel --quiet compile --directory=optout/web/locales --domain=optout

# ---------------------------------------------------------------- longer runs, not part of `make test`

contracts: .venv/test.stamp ## ask every operation of the API 300 times what its description allows and what not
	CONTRACT_EXAMPLES=300 $(BIN)/pytest tests/integration/test_contracts.py

fuzz: .venv/test.stamp ## 100,000 mutated pictures, and as many bodies through every public POST (hours)
	$(BIN)/python -m bench.fuzz pictures
	$(BIN)/python -m bench.fuzz bodies

load: .venv/test.stamp ## 200 visitors through the whole form and 50 crawler batches at the same time
	$(BIN)/python -m bench.load

history: .venv/test.stamp ## hundreds of histories of the exclusion list under faults, each checked
	$(BIN)/python -m bench.history

coldlist: .venv/test.stamp ## how long a new instance takes until it can answer, and its memory, by its list
	$(BIN)/python -m bench.coldlist

copies: .venv/test.stamp ## recall of edited copies, beside three peers: make copies FOLDER=... (a quarter of an hour)
	$(BIN)/python -m bench.copies "$(FOLDER)"

letters: .venv/test.stamp ## every letter in every language, into a folder and the local inbox: make letters FOLDER=... (build/letters)
	$(BIN)/python -m tests.unit.mail.preview "$(or $(FOLDER),build/letters)"

screenshots: .venv/test.stamp chromium ## a picture of every page in two widths: make screenshots FOLDER=... (build/screenshots)
	$(BIN)/python -m tests.browser.screenshots "$(or $(FOLDER),build/screenshots)"

# ---------------------------------------------------------------- set-up, done once and again when a list changes

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=... names another)." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt-get install python3-venv puts it in place." >&2; exit 2; }
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv

.venv/run.stamp: .venv/bin/python requirements/local.txt requirements/carriers.txt pyproject.toml optout/exclusions/_kernel.c
	@echo "Installing pinned packages ..."
	@$(BIN)/python $(PIP) --require-hashes --requirement requirements/local.txt
	@$(BIN)/python $(PIP) --editable .
	@$(BIN)/python -m local.carriers
	@touch $@

.venv/test.stamp: .venv/run.stamp requirements/dev.txt
	@echo "Installing pinned packages for tests ..."
	@$(BIN)/python $(PIP) --require-hashes --requirement requirements/dev.txt
	@touch $@

.venv-sam/stamp: .venv/bin/python requirements/sam.txt
	@echo "Making .venv-sam for the SAM command line ..."
	@$(BIN)/python -m venv .venv-sam
	@.venv-sam/bin/python $(PIP) --require-hashes --requirement requirements/sam.txt
	@touch $@

# `uv` installs its 99 packages in a quarter of the time that pip needs.
.venv-checkov/stamp: .venv/bin/python .venv-sam/stamp requirements/checkov.txt
	@echo "Making .venv-checkov for checkov ..."
	@$(BIN)/python -m venv --without-pip .venv-checkov
	@.venv-sam/bin/uv pip install --quiet --no-deps --require-hashes --python .venv-checkov/bin/python \
		--requirements requirements/checkov.txt
	@touch $@

chromium:
	@command -v chromium >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			|| { echo "Chromium is missing: apt-get install chromium puts it in place." >&2; exit 2; }; \
		echo "Installing Chromium ..."; \
		apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
