# Every target works on a fresh machine with Python 3.11+ and make: the environment is made when it is missing or stale.
PYTHON ?= python3
ENVIRONMENT := .venv
READY := $(ENVIRONMENT)/.ready
RIVALS := $(ENVIRONMENT)/.rivals
SITE := $(ENVIRONMENT)/.site
RUN := $(ENVIRONMENT)/bin
# Where this is set, each of the hundreds of processes that tests start compiles all of this project anew: a second of CPU.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick soak check bench rivals reference docs lock format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "HatchFarm Harness needs Python 3.11 or newer: set PYTHON=python3.x")'
	@echo "Making the environment in $(ENVIRONMENT) ..."
	@$(PYTHON) -m venv $(ENVIRONMENT)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(RIVALS): $(READY) requirements-rivals.lock
	@echo "Adding the servers to compare with to $(ENVIRONMENT) ..."
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-rivals.lock
	@touch $@

$(SITE): $(READY) requirements-site.lock
	@echo "Adding what writes the site of the docs to $(ENVIRONMENT) ..."
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-site.lock
	@touch $@

demo: $(READY) ## run the quickstart scenario: 500 machines and six attacks against the reference server
	@$(RUN)/hatchfarm run scenarios/quickstart.toml

test: $(READY) ## run the tests
	@$(RUN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-quick: $(READY) ## run the tests that need no process, socket or waiting: about a minute
	@HATCHFARM_TESTS_QUICK=1 $(RUN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(READY) ## in full what the tests sample: false alarms, broken targets, kills, damaged files, growth and more
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/false_alarms
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/attacks
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/broken_targets
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/cases
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/ci
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/comparing
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/contract
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/core
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/description
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/docs
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/durability
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/fuzzing
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/growth
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/http
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/payouts
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/people
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/planted_bugs
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/published
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/redis
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/report
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/shared_state
	@HATCHFARM_TESTS_SOAK=1 $(RUN)/python -m pytest tests/virtual

check: $(READY) ## lint, formatting, types, import directions, dependencies, regular expressions that backtrack
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/deptry .
	@$(RUN)/python -m pip check --disable-pip-version-check
	@$(RUN)/python -m tests.growth.backtracking

bench: $(READY) ## measure the benchmarks against their bars, but for those that take minutes each
	@$(RUN)/hatchfarm bench all

rivals: $(RIVALS) ## measure the server and the shard against what others would use, and draw the picture of the docs
	@code=0; $(RUN)/hatchfarm bench rivals --json results/bench-rivals.json || code=$$?; \
	test $$code -eq 2 || $(RUN)/python -m benchmarks.rivals.picture results/bench-rivals.json docs/rivals.svg; exit $$code

reference: $(READY) ## write the reference pages of docs/ anew, from the code
	@$(RUN)/python -m simulator.commands.reference docs/reference

docs: $(SITE) reference ## write the site of docs/ to build/site; it needs no network, and no server
	@NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet --strict
	@echo "The docs: build/site/index.html"

lock: ## pin the dependencies anew, with hashes
	@test -d $(ENVIRONMENT) || $(PYTHON) -m venv $(ENVIRONMENT)
	@$(RUN)/python -m pip install --quiet uv
	@$(RUN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade --quiet --output-file requirements.lock
	@$(RUN)/uv pip compile --group rivals --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade --quiet --output-file requirements-rivals.lock
	@$(RUN)/uv pip compile --group site --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --upgrade --quiet --output-file requirements-site.lock

format: $(READY) ## format the code and mend what the linter can
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

clean: ## remove the environment and every result
	@find . -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf $(ENVIRONMENT) .venv-other results build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
