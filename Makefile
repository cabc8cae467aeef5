# Two commands matter: `make demo` and `make test`. Both make their own .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile
OWN := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .

.PHONY: help demo test test-all test-costs install install-dev lint lock clean

help:
	@echo "make demo     train PETS on the cart-pole, with a report and a video (about 3 minutes)"
	@echo "make test     run the test suite, but for tests that train (programs are cached for the next time)"
	@echo "make test-all run the whole test suite"
	@echo "make test-costs  run the test suite, and show where its time goes"
	@echo "make install  make .venv with Forethought in it"
	@echo "make lint     check style, layering and types"
	@echo "make lock     solve the dependencies again (names, versions and hashes only)"
	@echo "make clean    remove .venv"

demo: install
	@$(BIN)/forethought demo

test: install-dev
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow"

test-all: test
	$(PYTEST) -m slow

test-costs: install-dev
	$(PYTEST) --costs costs.json

install: $(VENV)/.run
install-dev: $(VENV)/.dev

$(VENV)/.uv: requirements/installer.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v[:2] < (3, 14); sys.exit(0 if ok else f"Forethought needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; use make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make virtual environments here; on Debian: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/run.txt pyproject.toml
	@echo "installing Forethought into $(VENV) ..."
	@$(UV) -r requirements/run.txt
	@$(OWN)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "installing what the tests need into $(VENV) ..."
	@$(UV) --compile-bytecode -r requirements/dev.txt
	@touch $@

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks reproductions
	$(BIN)/lint-imports
	$(BIN)/pyright

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --upgrade
lock: $(VENV)/.uv
	$(COMPILE) --extra build -o requirements/run.txt
	$(COMPILE) --extra build --extra envs --extra jaxenvs --extra offline --extra search --extra dev -o requirements/dev.txt

clean:
	rm -rf $(VENV)
