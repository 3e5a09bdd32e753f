# The two commands of the README are `make run` and `make test`; everything else is for development.
# uv is used where it is found, else the standard venv and pip; both install the versions of .ci/constraints.txt.

PYTHON ?= python3
VENV ?= .venv
OUT ?= results/convergence
ARGS ?=

BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
INSTALL := uv pip install --quiet --python $(BIN)/python -c $(CONSTRAINTS)
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
endif

.PHONY: install run test slow lint check bench clean

install: $(VENV)/.installed-dev

$(BIN)/python:
ifdef UV
	uv venv --quiet --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
endif

# a stamp is made only after a whole install, and made anew when the dependencies change
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(INSTALL) -e '.[lm,judges]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --group dev
	touch $@

run: $(VENV)/.installed
	$(BIN)/nlhf reproduce convergence --out $(OUT) $(ARGS)

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

slow: install
	$(BIN)/python -m pytest -m slow -n auto --dist loadfile $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/nlhf bench tabular $(ARGS)

clean:
	rm -rf $(VENV) results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
