# `make` alone prints this help. Everything runs in .venv, which the first target that needs it builds.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# A private environment: nothing of the caller's Python leaks in, nor its wish to compile everything at every start.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
# Trust the system's certificates, as a machine behind a company's proxy needs (older uv knows the second name).
export UV_SYSTEM_CERTS ?= 1
export UV_NATIVE_TLS ?= 1
# `platform/` must never hide the standard library's module of that name.
export PYTHONSAFEPATH := 1

UV := $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.whetstone/tools/uv/bin/uv)
PYTHON := .venv/bin/python
MANAGE := $(PYTHON) manage.py
SETUP := .venv/.setup
VERSION := $(shell cat .python-version)

# Options of demo and benches travel in the environment; those not given stay unset.
export SERVE ?= 1

# What `check --deploy` looks at: a production environment, made up on the spot. The servers are the embedded ones.
PRODUCTION := env $$($(MANAGE) embedded start) WHETSTONE_ENV=production ALLOWED_HOSTS=whetstone.example.org \
  SECRET_KEY=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(64))')

.PHONY: help
help: ## Print this help
	@printf 'Whetstone: make TARGET\n\n'
	@grep -hE '^[a-zA-Z%_-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(SETUP) ## Build .venv from requirements.lock (runs by itself when needed)

$(SETUP): requirements.lock pyproject.toml .python-version
	@[ -x "$(UV)" ] || bin/get-uv .whetstone/tools/uv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
	  || bin/make-venv "$(UV)" "$(VERSION)"
	"$(UV)" pip sync -q --python $(PYTHON) --compile-bytecode --require-hashes requirements.lock
	"$(UV)" pip install -q --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: serve
serve: setup ## Serve the platform at http://127.0.0.1:8000 (PORT=)
	$(MANAGE) serve

.PHONY: demo
demo: setup ## Show the whole loop (SERVE=0 to end afterwards, SEED=, SCENARIO=DIR)
	$(MANAGE) demo

.PHONY: demo-verify
demo-verify: setup ## Recompute the demo's report from stored rows
	$(MANAGE) demo_verify

.PHONY: worker
worker: setup ## Run one more worker over all queues
	$(MANAGE) rqworker default runs embedding clock --worker-class rq.SimpleWorker \
	  --serializer rq.serializers.JSONSerializer

.PHONY: shell
shell: setup ## Open a Python shell with the models
	$(MANAGE) shell

.PHONY: stop
stop: setup ## Stop the embedded servers
	$(MANAGE) embedded stop

.PHONY: test
test: setup ## Run the tests in parallel and in random order, with coverage unless T= names some
	$(PYTHON) $(if $(T),,-m slipcover --dont-wrap-pytest) -m pytest -n 2 --dist worksteal $(T)

.PHONY: lint
lint: setup ## Check style and formatting
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.PHONY: fmt
fmt: setup ## Format the code and mend what can be mended
	.venv/bin/ruff check --fix-only -q .
	.venv/bin/ruff format .

.PHONY: types
types: setup ## Check types
	.venv/bin/mypy .

.PHONY: imports
imports: setup ## Check the import contracts
	.venv/bin/lint-imports

.PHONY: migrations
migrations: setup ## Check that no migration is missing
	$(MANAGE) makemigrations --check --dry-run

.PHONY: deploy-check
deploy-check: setup ## Check the production settings
	$(PRODUCTION) $(MANAGE) check --deploy --database default --fail-level WARNING

.PHONY: check
check: lint types imports migrations deploy-check ## Everything CI runs, the tests last
	@$(MAKE) test

.PHONY: schema
schema: setup ## Write the OpenAPI document to docs/openapi.yaml
	@mkdir -p docs
	$(MANAGE) spectacular --validate --fail-on-warn --file docs/openapi.yaml

bench-%: setup ## Run one measurement, e.g. bench-loop (SCENARIO=DIR ABLATE=)
	$(PYTHON) -m tests.bench.$(subst -,_,$*)

.PHONY: deps
deps: $(SETUP) ## Rewrite requirements.lock from pyproject.toml (UPGRADE=1 for the newest)
	"$(UV)" pip compile -q --no-config --universal --python-version 3.12 --group dev --generate-hashes --no-header \
	  $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml

.PHONY: clean
clean: ## Stop the servers and remove all that was built or stored here
	@if [ -x $(PYTHON) ]; then $(MANAGE) embedded stop; fi
	rm -rf .venv .whetstone .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis staticfiles
