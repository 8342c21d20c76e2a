# `make` alone says what there is. Every target builds the environment (.venv) first, where it is missing or stale.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
ENVIRONMENT := $(VENV)/.built
DEVELOPMENT := $(VENV)/.built-dev

# Stages are processes of their own: without bytecode each of them would compile the libraries again.
unexport PYTHONDONTWRITEBYTECODE
export VENV

.PHONY: help environment development demo up down doctor test quick platform lint types format check sbom clean

help: ## this list
	@echo "clickflow: from a shop's click log to a promoted model"
	@echo
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22
	@echo
	@echo "First time here: make demo. By hand: source $(BIN)/activate, then dvc repro, clickflow --help."
	@echo "Your own data: params.yaml, source. What each folder holds: README.md."

environment: $(ENVIRONMENT) ## build .venv: the versions of constraints.txt (demo and the others do it too)

$(ENVIRONMENT): constraints.txt pyproject.toml scripts/environment.sh
	@scripts/environment.sh

development: $(DEVELOPMENT) ## add what tests and clusters need: pytest, mypy, Celery, Kubernetes, S3, a browser's driver …

$(DEVELOPMENT): $(ENVIRONMENT)
	@scripts/environment.sh dev

demo: $(ENVIRONMENT) ## simulated data → the retrain DAG under Airflow → a promoted champion and what it predicts
	@$(BIN)/clickflow retrain

up: $(ENVIRONMENT) ## the local platform: Airflow with its UI, a worker for training, MLflow; all on loopback
	@$(BIN)/clickflow up

down: $(ENVIRONMENT) ## end the platform, and all that it has started
	@$(BIN)/clickflow down

doctor: $(ENVIRONMENT) ## what is missing or wrong on this machine, and how to repair it
	@$(BIN)/clickflow doctor

test: $(DEVELOPMENT) ## all tests that need no server
	@OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -m "not platform" --in-memory -n auto --dist worksteal

quick: $(DEVELOPMENT) ## the tests that take seconds
	@$(BIN)/pytest -m "not platform and not slow" --in-memory

platform: $(DEVELOPMENT) ## the tests that start real servers or build from a bare clone
	@$(BIN)/pytest -m platform

lint: $(DEVELOPMENT) ## ruff: faults and format; the order of rooms, and the deps of dvc.yaml
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pytest tests/pipeline/test_rooms.py

types: $(DEVELOPMENT) ## mypy, strict
	@$(BIN)/mypy

format: $(DEVELOPMENT) ## put the code in the one format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

check: lint types quick ## what to run before a commit

sbom: $(ENVIRONMENT) ## what .venv is made of, as CycloneDX: build/sbom.json
	@mkdir -p build
	@$(BIN)/uv tool run --quiet --constraint constraints.txt --from cyclonedx-bom cyclonedx-py environment $(BIN)/python \
	  --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json
	@echo "build/sbom.json: $$(grep -c '"bom-ref"' build/sbom.json) components"

clean: ## remove .venv and caches; data, models, reports and .clickflow stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find src tests dags benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
