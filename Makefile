# Every target sets up what it needs. `make help` lists them; PYTHON=/path/to/python3.11 chooses the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-all check audit stack-check up down reference lock clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { command -v "$$p"; break; }; done)
INSTALLED := .venv/installed

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

run: $(INSTALLED)  ## the whole pipeline on the quickstart's data, from crawl to chat model
	@.venv/bin/gristmill run --config quickstart

test: $(INSTALLED)  ## the fast tests
	@.venv/bin/pytest

test-all: $(INSTALLED)  ## all tests: servers, end to end, browser
	@.venv/bin/pytest -m ""

check: $(INSTALLED)  ## ruff, pyright, bandit, architecture
	@.venv/bin/ruff check --no-cache
	@.venv/bin/ruff format --check
	@.venv/bin/pyright
	@.venv/bin/bandit -q -c pyproject.toml -r gristmill tasks flows
	@.venv/bin/pytest tests/architecture

audit: $(INSTALLED)  ## known faults of the locked packages; needs a network
	@.venv/bin/pip-audit --strict --no-deps --disable-pip -r requirements.lock

stack-check:  ## docker-compose.yml, by docker-compose itself (Debian: apt install docker-compose) and npm's dclint
	@filled=$$(mktemp) && trap 'rm -f "$$filled"' EXIT \
		&& sed -E 's/^([A-Z0-9_]+)=$$/\1=a:b/' .env.example > "$$filled" \
		&& docker-compose --env-file "$$filled" --profile gpu --profile review config --quiet
	@if docker-compose --env-file .env.example config --quiet 2>/dev/null; then \
		echo "docker-compose.yml would start without secrets" >&2; exit 1; fi
	@# an image that is built here needs a name, too, and services stand in the order in which they need each other
	@npx --yes dclint@3.1.0 docker-compose.yml --quiet --disable-rule no-build-and-image
	@echo "docker-compose.yml holds"

up: $(INSTALLED)  ## start the Prefect and MLflow servers that `make run` uses
	@.venv/bin/gristmill up

down: $(INSTALLED)  ## stop what `make run` or `make up` started, and nothing else
	@.venv/bin/gristmill down

reference: $(INSTALLED)  ## write pipeline_configs/base.yaml and schema.json from the configuration classes
	@.venv/bin/python -m gristmill.reference

lock: $(INSTALLED)  ## write requirements.lock from what .venv holds
	@# torch without its +cpu or +cu suffix: the index of each machine chooses the build, and that build its nvidia packages
	@.venv/bin/pip -q freeze --exclude-editable 2>/dev/null | sed -E 's/\+[a-z0-9.]+$$//' \
		| grep -vE '^(nvidia-|triton=|pip=|setuptools=|wheel=|gristmill)|@ ' | LC_ALL=C sort -f > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@touch $(INSTALLED)
	@echo "requirements.lock: $$(wc -l < requirements.lock) packages"

clean:  ## remove .venv and caches; artifacts/ stays
	@if [ -x .venv/bin/gristmill ]; then .venv/bin/gristmill down || echo "could not stop the servers" >&2; fi
	@rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "gristmill needs Python 3.11 or 3.12 and found neither python3.11, python3.12 nor a fitting python3;" \
			"install one (Debian: apt install python3.11-venv), or: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "PYTHON=$(PYTHON) is not Python 3.11 or 3.12" >&2; exit 1; }
	@echo "setting up .venv with $$("$(PYTHON)" --version), $$(wc -l < requirements.lock) packages; about 2 minutes, 2.5 GB"
	@[ -x .venv/bin/python ] || "$(PYTHON)" -m venv .venv \
		|| { rm -rf .venv; echo "could not create .venv; on Debian: apt install python3.11-venv" >&2; exit 1; }
	@{ .venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock \
		&& .venv/bin/python -m pip install --disable-pip-version-check --no-deps -e .; } 2>&1 \
		| tee .venv/install.log | awk '/^(Collecting|Processing|Requirement already)/ && ++n % 50 == 0 {print "  " n " packages found"; fflush()} \
		/^Installing collected/ {print "  installing"; fflush()}' \
		|| { grep '^ERROR' .venv/install.log >&2 || tail -5 .venv/install.log >&2; \
			echo "installing failed; all of pip's output is in .venv/install.log" >&2; exit 1; }
	@touch $@
