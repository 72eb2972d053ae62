# The commands of this repository; `make help` lists them.
# `make demo` and `make test` work on a fresh machine: each first runs `setup`.

PYTHON ?= python3.11
CACHE  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/retrograde
BUF_VERSION := 1.75.0
BIN    := .venv/bin
STAMP  := .venv/.installed
FUZZ   := $(CACHE)/fuzz
BUF    := $(CACHE)/buf-$(BUF_VERSION)/node_modules/.bin/buf
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RETROGRADE_BUF := $(BUF)
# Kept wherever the environment forbids it: a run starts tens of processes, and each would compile torch and vLLM anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup servers interop tools control-plane cluster-tools cluster-up cluster-down services-up services-down demo demo-smollm2 test test-fast bench chaos fuzz base-model protos fmt lint types layers size verifier-accuracy images images-archive requirements clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) $(if $(shell command -v npm),$(BUF)) servers interop tools $(if $(filter true,$(CI)),control-plane) $(if $(RETROGRADE_NODE),cluster-tools) ## everything the other targets need, in .venv/ and $(CACHE)

$(STAMP): requirements/local.txt requirements/overrides.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3.11, or name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setup: installing the local profile into .venv (about 6 GB, a minute or two on a fast line)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/local.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(BUF):
	@echo "setup: installing buf $(BUF_VERSION) into $(CACHE)"
	npm install --silent --no-fund --no-audit --prefix $(CACHE)/buf-$(BUF_VERSION) @bufbuild/buf@$(BUF_VERSION)
	@touch $@

servers: $(STAMP)
	@$(BIN)/python -m retrograde.cli.servers obtain

interop: $(STAMP)
	@$(BIN)/python tools/interop.py >/dev/null

tools: $(STAMP)
	@$(BIN)/python -m tools.chart_tools
	@$(BIN)/python -m tools.kubernetes_schemas

services-up: setup ## a real Kafka and a real MinIO in the background; where they are is in build/services.json
	$(BIN)/python -m retrograde.cli.servers up --folder build

services-down: $(STAMP) ## ends them
	$(BIN)/python -m retrograde.cli.servers down --folder build

control-plane: $(STAMP) ## builds Kubernetes' servers for tests into $(CACHE), once (Go, Debian; 5 to 10 minutes on two cores)
	@$(BIN)/python -m tools.cluster obtain debian control kwok kinds

cluster-tools: control-plane
	@$(BIN)/python -m tools.cluster obtain node

cluster-up: cluster-tools ## a real Kubernetes with one node, as root, no container engine; IMAGES="a.tar b.tar"
	$(BIN)/python -m tools.cluster up --node $(addprefix --image ,$(IMAGES))
	@echo '`$(BIN)/python -m tools.cluster run COMMAND` runs kubectl, helm and others against it'

cluster-down: $(STAMP) ## ends it, with its pods
	$(BIN)/python -m tools.cluster down

demo: $(STAMP) ## the whole loop on countdown, at most 20 minutes; the report is build/demo/report.html
	retrograde run recipes/countdown.yaml --out build/demo

demo-smollm2: $(STAMP) ## the loop on word problems with a real language model; the report is build/demo-smollm2/report.html
	$(BIN)/python tools/smollm2.py
	retrograde run recipes/smollm2.yaml --out build/demo-smollm2

test: setup ## all tests; a tier whose tools are missing is skipped with one line, or fails if CI=true
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: setup ## the tests that need Python only
	$(BIN)/python -m pytest -m "not engine and not chaos" $(PYTEST_ARGS)

bench: setup ## figures against others and against bounds, into build/bench.json; ONLY=name,... for some
	$(BIN)/python -m benchmarks $(ONLY)

chaos: setup ## simulated schedules, planted bugs, services killed at named points, into build/chaos.json; SCHEDULES=1000; SEED=n: no kills
	$(BIN)/python tools/chaos.py --schedules $(or $(SCHEDULES),1000) --seed $(or $(SEED),0) $(if $(SEED),,--kills)

fuzz: $(FUZZ)/.installed ## the grader against a fuzzer that watches coverage (Linux); SECONDS=600
	$(FUZZ)/bin/python tools/fuzz_grader.py $(or $(SECONDS),600)

$(FUZZ)/.installed: requirements/fuzz.txt $(STAMP)
	@echo "setup: installing the fuzzer into $(FUZZ)"
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FUZZ)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(FUZZ)/bin/python requirements/fuzz.txt
	@touch $@

base-model: $(STAMP) ## trains the shipped base model of the countdown recipe again, from nothing
	$(BIN)/python tools/base_model/train.py

protos: setup ## generates libs/retrograde/v1 from protos/
	$(BUF) lint protos
	$(BIN)/python tools/protos.py libs

fmt: $(STAMP) ## formats the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lint: setup ## ruff, and buf over the protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BUF) lint protos
	$(BUF) breaking protos --against protos/released.binpb

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy libs services examples

layers: $(STAMP) ## which package may import which
	$(BIN)/lint-imports

size: $(STAMP) ## sizes of functions and files against the budget, into build/size.json
	$(BIN)/python tools/size.py

verifier-accuracy: $(STAMP) ## our grader and Math-Verify on labelled pairs, into build/verifier.json; ACCURACY_ARGS=--misses lists ours
	$(BIN)/python tools/verifier_accuracy.py $(ACCURACY_ARGS)

ENGINE ?= $(firstword $(foreach each,docker podman buildah,$(shell $(each) info >/dev/null 2>&1 && echo $(each))))

images: ## the container images, by docker, podman or buildah; TAG=dev; GPU=1 adds inference-gpu
	@engine="$(ENGINE)"; test -n "$$engine" || { echo "make: neither docker nor podman nor buildah answers; start one, or do without: make images-archive"; exit 2; }; \
	for each in search verifier rewriter rollouts trainer inference trainer/job; do \
		$$engine build --file services/$$each/Dockerfile --tag retrograde/$${each#trainer/}:$(or $(TAG),dev) . || exit; done; \
	test -z "$(GPU)" || $$engine build --file services/inference/Dockerfile --build-arg REQUIREMENTS=inference-gpu --tag retrograde/inference-gpu:$(or $(TAG),dev) .

images-archive: $(STAMP) ## the same without any of them, as build/images/images.tar (Debian 12; TAG=dev)
	$(BIN)/python -m tools.images --out build/images --tag $(or $(TAG),dev)

COMPILE := $(BIN)/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
FROZEN := --overrides requirements/overrides.txt --constraints requirements/local.txt
PROFILES := services verifier inference job

requirements: $(STAMP) ## compiles requirements/*.txt again, with hashes; the images get the versions of local.txt
	$(COMPILE) requirements/local.in --overrides requirements/overrides.txt --output-file requirements/local.txt
	$(COMPILE) requirements/interop.in --no-deps --output-file requirements/interop.txt
	for each in $(PROFILES); do $(COMPILE) requirements/$$each.in $(FROZEN) --output-file requirements/$$each.txt || exit; done
	$(COMPILE) requirements/trainer.in $(FROZEN) --overrides requirements/trainer-overrides.txt --output-file requirements/trainer.txt
	$(COMPILE) requirements/inference-gpu.in --output-file requirements/inference-gpu.txt

clean: ## removes what the other targets left in the repository, the environment excepted
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
