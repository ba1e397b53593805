# Everything runs in .venv, made from the pinned requirements.txt by whatever needs it first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Debian keeps Slurm's daemons in /usr/sbin, which not everybody has in the path.
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin

BENCH := .venv-bench

.PHONY: demo test fuzz test-kill test-load test-cluster test-storage bench bench-gpu bench-growth bench-schedule lint reference lock clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/ready ## run what config/config.yaml says, at first the demo: recordings, features, models, tables
	snakemake --cores 8

test: $(VENV)/ready ## run the tests
	pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/ready ## give every reader CASES=8000 files of each kind with changed bytes (minutes)
	CASES=$(or $(CASES),8000) pytest --numprocesses auto tests/fuzz

test-kill: $(VENV)/ready ## run the tests that kill jobs and Snakemake at many moments (minutes)
	pytest --numprocesses auto --dist loadfile tests/kill

test-load: $(VENV)/ready ## run as many clips and machines as DCASE 2020 has through the workflow (minutes)
	pytest --capture no tests/load

test-cluster: $(VENV)/ready ## run the tests on a Slurm of their own, which is installed for it (as root; minutes)
	if [ -z "$$OFFNOTE_WITHOUT_SLURM" ] && ! command -v slurmctld >/dev/null; then \
		apt-get update --quiet=2 && \
		apt-get install --quiet=2 --yes --no-install-recommends slurmctld slurmd slurm-client munge; \
	fi || echo "Slurm cannot be installed here: as root, on Debian or Ubuntu, it can."
	@# HTCondor's plugin warns at every start of Snakemake: it goes, however the tests end.
	trap 'pip uninstall --quiet --yes snakemake-executor-plugin-htcondor htcondor' EXIT; trap 'exit 130' INT TERM; \
	pip install --quiet --disable-pip-version-check --constraint requirements.txt \
		--editable ".[slurm,lsf,sge,htcondor]" && pytest tests/cluster

bench: $(VENV)/ready $(BENCH)/ready ## time offnote beside the usual recipe (minutes; all of it, hours: make bench OPTIONS=--full)
	python -m benchmarks $(OPTIONS)

bench-gpu: $(VENV)/ready ## time features and training on this computer's GPU, beside what it could do at most (minutes)
	python -m benchmarks.gpu $(OPTIONS)

bench-schedule: $(VENV)/ready ## what the fast schedule costs in AUC (half an hour; see OPTIONS=--help)
	python -m benchmarks.schedules $(OPTIONS)

bench-growth: $(VENV)/ready ## how cost grows with machines and clips (minutes)
	python -m benchmarks.growth $(OPTIONS)

test-storage: $(VENV)/ready ## run the tests with recordings and results on S3, a server on this computer (minutes)
	@# Snakemake would load three of them at every start: they go, however the tests end.
	trap 'pip uninstall --quiet --yes snakemake-executor-plugin-kubernetes snakemake-executor-plugin-aws-batch \
		snakemake-executor-plugin-googlebatch' EXIT; trap 'exit 130' INT TERM; \
	pip install --quiet --disable-pip-version-check --constraint requirements.txt \
		--editable ".[s3,test-storage,kubernetes,aws-batch,google-batch]" && pytest tests/storage

lint: $(VENV)/ready ## check format, style, types, import directions and the workflow
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile workflow
	mypy workflow/scripts/offnote tests benchmarks
	mypy --scripts-are-modules workflow/scripts/*.py
	lint-imports
	snakemake --lint

reference: $(VENV)/ready ## write config.yaml, config/README.md and the schema anew from the classes behind them
	python -m offnote.reference

lock: $(VENV)/ready ## choose the newest versions that fit pyproject.toml and pin them in requirements.txt
	pip install --quiet uv
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra dev \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file requirements.txt pyproject.toml

clean: ## remove the results, not the environment
	rm -rf logs .snakemake
	find results -mindepth 1 ! -name README.md -delete

$(VENV)/ready: requirements.txt pyproject.toml
	@echo "Setting up $(VENV): PyTorch is 2 GB to fetch and 6 GB on disk, so this takes some minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Of the opponent alone: TensorFlow is half a GB to fetch and 2 GB on disk.
$(BENCH)/ready: benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	touch $@
