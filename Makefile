# Each target sets up what it needs in .venv; the stamps in there make a second run instant.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test check fmt prove bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

run: .venv/.run ## Serve on http://127.0.0.1:8000 (options: ARGS="anthropic --port 9000")
	$(BIN)/agent-ws serve $(ARGS)

test: .venv/.dev ## Run the tests (a part of them: ARGS="-k resume")
	@.ci/browser
	@.ci/node
	$(BIN)/pytest $(ARGS)

check: .venv/.dev ## Lint, format and types, changing nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	@.ci/node check

fmt: .venv/.dev ## Format, and mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	@.ci/node fmt

prove: .venv/.dev ## Prove what README.md claims, at length (one proof: ARGS="schedules")
	PYTHONPATH=tests $(BIN)/python -m proofs --long $(ARGS)

bench: bench/.venv/.done ## Measure speed beside other servers (a minute of it: ARGS="--quick")
	bench/.venv/bin/python -m bench $(ARGS)

clean: ## Remove all that was built, the environments too
	rm -rf .venv .environments bench/.venv bench/node_modules bench/results web/node_modules web/client/dist web/client/build web/chat/build .hypothesis .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

# The environment is made anew, so that it never holds a package that the files no longer name. The development one can
# run the server too, hence its second stamp.
.venv/.run: STAMPS := .venv/.run
.venv/.dev: EXTRA := [dev]
.venv/.dev: STAMPS := .venv/.run .venv/.dev
.venv/.run .venv/.dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Needs Python 3.11 or later: make PYTHON=/path/to/it")'
	@echo "Setting up .venv (once)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".$(EXTRA)"
	@touch $(STAMPS)

# An environment of its own: the frameworks to compare with have no place in the one that the tests run in.
bench/.venv/.done: pyproject.toml constraints.txt bench/constraints.txt
	@echo "Setting up bench/.venv (once)"
	@$(PYTHON) -m venv --clear bench/.venv
	@bench/.venv/bin/pip install -qq --disable-pip-version-check -c constraints.txt -c bench/constraints.txt -e ".[bench]"
	@touch $@
