# Everything a user or contributor runs. `make PYTHON=python3.12 ...` chooses the Python that .venv is made from.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

MEASURABLE := .venv/.installed-bench
WRITE ?=

.PHONY: help demo test check bench bench-quality bench-space bench-families format clean

help:
	@echo "make demo     install, train on handwritten digits, draw a sheet of them, score it (a few minutes)"
	@echo "make test     install, run the tests"
	@echo "make check    formatting, lint, types, import directions"
	@echo "make bench    measure speed against other tools (a quarter of an hour; WRITE=--write updates benchmarks/*.md)"
	@echo "make bench-quality   repeat the trainings of a few minutes and score them (half an hour)"
	@echo "make bench-space     train the diffusion design space's arms and compare all samplers (two hours)"
	@echo "make bench-families  train GANs, VAEs and diffusion models for the same time, and a GAN until it collapses (three hours)"
	@echo "make format   put every file into the house format"
	@echo "make clean    remove caches, .venv, and the demo's run and samples"

# Reinstalled only when pyproject.toml changes: the package itself is installed as a link to src/.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mezzotint needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "Installing into .venv: some minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/mezzotint train digits-edm --name demo
	$(BIN)/mezzotint sample runs/demo -n 100 -o samples/demo
	$(BIN)/mezzotint evaluate runs/demo --against digits
	@echo
	@echo "The run:    runs/demo      recipe.yaml (every choice), log.jsonl, checkpoints, sheets drawn while it learned"
	@echo "Its digits: samples/demo   sheet.png: 100 digits nobody wrote, one per seed; look at it"
	@echo "Its score:  runs/demo/scores.jsonl   lower is closer to real digits; the floor is what real digits score"
	@echo "Next:       $(BIN)/mezzotint list    $(BIN)/mezzotint train --help    README.md"

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports

# The peers that benchmarks compare with, and what plots them.
$(MEASURABLE): $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev,bench]'
	@touch $@

bench: $(MEASURABLE)
	$(BIN)/python benchmarks/training_speed.py --rounds 3 $(WRITE)
	$(BIN)/python benchmarks/sampling_speed.py --rounds 3 $(WRITE)
	$(BIN)/python benchmarks/startup.py --rounds 5 $(WRITE)
	$(BIN)/python benchmarks/scaling.py --rounds 3 $(WRITE)
	$(BIN)/python benchmarks/inception_speed.py $(WRITE)
	$(BIN)/python benchmarks/metrics_speed.py $(WRITE)

bench-quality: $(MEASURABLE)
	$(BIN)/python benchmarks/quality.py $(WRITE)

bench-space: $(MEASURABLE)
	$(BIN)/python benchmarks/design_space.py $(WRITE)
	$(BIN)/python benchmarks/samplers.py runs/mnist-fast-edm --features classifier-500 \
		--against $${MEZZOTINT_TEST_DATA:-../shared}/data/mnist_test.parquet $(WRITE)
	$(BIN)/python benchmarks/samplers.py runs/cifar10-fast-edm --samplers dpmpp-sde,ddpm,dpmpp-2m,unipc $(WRITE)

bench-families: $(MEASURABLE)
	$(BIN)/python benchmarks/families.py $(WRITE)
	$(BIN)/python benchmarks/collapse.py $(WRITE)

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache build dist runs/demo samples/demo
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
