# Everything from a fresh clone, with git, make and Python >= 3.11 alone. `make` lists the targets.
# Another Python: make test PYTHON=python3.12. More test processes: make test JOBS=8.

PYTHON ?= python3
JOBS ?= 2
VENV = .venv

BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES = $(wildcard src tests benchmarks examples)

.DEFAULT_GOAL = help
.PHONY: help demo test slow docs lint format clean
.NOTPARALLEL:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s%s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## show the trained model, then train one from nothing: ten minutes, two pages
	$(BIN)/xmcgan demo

# Tests start many processes; without bytecode, each would compile the package anew.
test slow: export PYTHONDONTWRITEBYTECODE =

test: lint docs ## lint, build the docs, then run the tests: five minutes on two cores
	$(PYTEST) -m "not slow"

slow: $(VENV)/.installed-dev ## run the slow tests, which cover hardly a line more
	$(PYTEST) -m slow

docs: $(VENV)/.installed-dev ## build the pages and the API reference into site/; a broken link fails
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/.installed-dev ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ty check --python $(VENV) src

format: $(VENV)/.installed-dev ## mend style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove caches; runs/, data/ and the virtual environment stay
	rm -rf .hypothesis .pytest_cache .ruff_cache site
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp is written after its install has succeeded, and is out of date when pyproject.toml has changed.

define announce
@echo 'Installing xmcgan and what it needs into $(VENV). PyTorch with torchvision is by far the largest part:'
@echo 'about 5.4 GB on disk on Linux, one to two minutes on a fast line. Quiet until it is done, or fails.'
endef

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(announce)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(announce)
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'xmcgan needs Python 3.11 or newer, and $(PYTHON) is none. Name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo '$(PYTHON) has no venv module to make $(VENV) with. On Debian and Ubuntu: apt install python3-venv' >&2; \
	  exit 1; }
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)
