# Mailboat: every task of its life. `make` alone lists them.
# Needs Python >= 3.11 with venv, and make; no root, no cluster.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command "make lock"
# More arguments for pytest or the bench, such as: make test ARGS="-k verdict"
ARGS ?=
# Processes of `make test`: most tests wait, for a relay or a time-out. 0: this one alone, for a debugger.
JOBS ?= 4
ROUNDS ?= 200
# The Helm that the charts are tested with: 3, 4 or both.
HELM ?= 4
# The fault proxy's TLS connections to the API server end with its event loop, which Python says is too early.
IN_CLUSTER = $(BIN)/python -m pytest -W ignore::pytest.PytestUnraisableExceptionWarning
# ARGS may choose no test of one half (pytest's status 5).
NONE_CHOSEN = $(if $(ARGS),|| [ $$? -eq 5 ])

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-pythons crash interop cluster e2e lint format lock docs charts bench bench-hooks bench-operator clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.relay ## Run a relay and a sink here, with the queue under var/; Ctrl-C ends both
	@scripts/run-local

install: $(VENV)/.dev ## Make .venv with everything that tests and checks need

test: $(VENV)/.dev ## Run every test that needs neither root nor a cluster
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not interop and not apiserver and not e2e and not helm" $(ARGS)

test-pythons: $(VENV)/.dev ## Run the tests on each Python from 3.11 to 3.14 that is found, and list the others
	scripts/test-pythons $(ARGS)

crash: $(VENV)/.dev ## Kill the relay at random instants, ROUNDS times (200), and check that no mail is lost
	MAILBOAT_CRASH_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -m crash -s $(ARGS)

interop: $(VENV)/.dev ## Run the tests with other people's software; as root, it is installed where missing
	@tests/interop/setup
	$(BIN)/python -m pytest -m interop $(ARGS)

cluster e2e: export HELM := $(HELM)
cluster: $(VENV)/.dev ## Build what `make e2e` needs, without running it
	@tools/cluster/setup
	$(BIN)/python -m tools.cluster build

e2e: cluster ## Run the tests in a real cluster, which they make themselves, as root and with Go; HELM=both for Helm 3 and 4
	$(IN_CLUSTER) -n 2 --dist loadfile -m "(apiserver or helm) and not e2e" $(ARGS) $(NONE_CHOSEN)
	$(IN_CLUSTER) -m e2e $(ARGS) $(NONE_CHOSEN)

lint: $(VENV)/.dev ## Check style, types and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.long_files

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/.dev ## Renew requirements/; UPGRADE=1 takes the newest versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --output-file requirements/relay.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group build --output-file requirements/build.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra operator \
		--constraint requirements/relay.txt --output-file requirements/operator.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra operator --group dev --constraint requirements/build.txt \
		--constraint requirements/operator.txt --output-file requirements/dev.txt

charts: $(VENV)/.dev ## Write the charts' copy of the resource type and their tables of values
	$(BIN)/python -m scripts.charts

docs: $(VENV)/.dev ## Write the reference pages and the dashboard from the code
	$(BIN)/python -m scripts.docs

bench: $(VENV)/.dev ## Measure against other relays; prints a table
	bench/run $(ARGS)

bench-hooks: $(VENV)/.dev ## Measure what plugins cost: ten that do nothing, against none
	$(BIN)/python -m bench hooks $(ARGS)

bench-operator: $(VENV)/.dev ## Measure the operator over 1,000 OutboundConfigs, then 1,000 SendingDomains; prints tables with the limits
	$(BIN)/python -m bench operator $(ARGS)
	$(BIN)/python -m bench domains $(ARGS)

clean: ## Remove what was made here, except the queue in var/
	rm -rf $(VENV) .venv-3.* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf tests/interop/nodemailer/node_modules tests/interop/mailauth/node_modules tests/interop/msgauth/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Mailboat needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Mailboat needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# Each stamp says that .venv holds what the files before it ask for.
$(VENV)/.relay: requirements/relay.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/relay.txt -r requirements/build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.relay
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
