# Raycommend on one machine. `make` alone lists the commands.

.DEFAULT_GOAL := help
.PHONY: help up down status logs clean retrain prometheus compact demo bench test-faults soak screenshots lint format \
	test test-all fuzz audit lock clients environment chart chart-goldens chart-schema deploy-tools deploy-lock

# The first Python that fits. Another one: make up PYTHON=/path/to/python3.12
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
STACK := $(BIN)/python -m deployments.local

# Variables given on the command line reach every command: DATA=, ITEMS=, USERS=, MAP=, PRESET=, DATASET=, PROFILE=, and
# all of RAYCOMMEND_...
TRIALS ?=
LINES ?= 30
TESTS ?= tests
# More than cores: many tests wait.
WORKERS ?= 3
TRIALS_OPTION := $(if $(TRIALS),--trials $(TRIALS))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: environment ## start everything; trains a first model when there is none (DATA=, ITEMS=, USERS=, MAP=, PRESET=, DATASET=, TRIALS=; PROFILE=production for pairs)
	@$(STACK) up $(TRIALS_OPTION)

down: ## stop what `make up` started
	@test -x $(BIN)/python || { echo "nothing is running"; exit 0; }; $(STACK) down

status: environment ## what runs, and how it is
	@$(STACK) status

logs: environment ## the ends of the logs (LINES=30)
	@$(STACK) logs --lines $(LINES)

clean: environment ## remove events, models, experiments and logs; asks first (CLEAN=yes does not)
	@$(STACK) clean $(if $(filter yes,$(CLEAN)),--yes)

retrain: environment ## train again as a Ray job and follow it (TRIALS=; FORCE=yes passes over the gate)
	@$(STACK) run -- python -m jobs.submit --wait -- python -m jobs.retrain $(TRIALS_OPTION) $(if $(filter yes,$(FORCE)),--force)

prometheus: environment ## Prometheus beside the stack, with our scrapes and alerts (needs `prometheus` on PATH)
	@$(STACK) prometheus

compact: environment ## move acknowledged events from the store to the log, as a Ray job
	@$(STACK) run -- python -m jobs.submit --wait -- python -m jobs.compact

demo: environment ## two experiments on simulated users whose truth is known; `make up` first
	@$(STACK) run -- python -m jobs.demo

bench: environment ## measure; `make up` first
	@$(STACK) run -- python -m benchmarks.serving

test-faults: environment ## the tests that kill parts of a stack; then break one part by part under load, and say what held (PROFILE=production)
	@$(BIN)/python -m pytest -n $(WORKERS) -m faults $(TESTS)
	@$(BIN)/python -m benchmarks.faults $(if $(PROFILE),--profile $(PROFILE)) $(if $(PAGE),--page $(PAGE))

soak: environment ## everything at once for MINUTES=10: memory flat, budgets kept, no request failed
	@$(BIN)/python -m benchmarks.faults.soak --minutes $(or $(MINUTES),10)

screenshots: environment ## pictures of the console into docs/pictures; `make up` first
	@$(STACK) run -- python -m docs.screenshots

lint: environment ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file clients/python/pyproject.toml

format: environment ## let ruff put the code in form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: environment ## the tests, on real parts, without those of `test-faults` (TESTS=tests/models for some)
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not matrix and not faults" $(TESTS)

test-all: environment ## all tests: those of faults too, every backend of the store, and properties on inputs drawn anew
	@$(BIN)/python -m pytest -n $(WORKERS) --hypothesis-profile=free $(TESTS)

fuzz: environment ## 10,000 requests and more made up from the OpenAPI document (EXAMPLES=200 of each kind to each endpoint)
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest -n 0 -s tests/deployments/fuzz

# Its own environment: what it needs is no part of the project. A package that nothing is known of is a failure.
audit: ## known holes in the packages of requirements.lock; needs the internet
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m venv "$$work/tools" && \
	"$$work/tools/bin/pip" install --quiet --disable-pip-version-check 'pip-audit==2.*' && \
	"$$work/tools/bin/pip-audit" --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock

# No index address and no path of this machine gets into the lock. redis wants async-timeout on Python 3.11.0 to
# 3.11.2 (Debian 12 has 3.11.2), which resolving on a later 3.11 would leave out.
lock: environment ## resolve requirements.lock and requirements-sequence.lock again from pyproject.toml
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m venv "$$work/tools" && \
	"$$work/tools/bin/pip" install --quiet --disable-pip-version-check 'pip-tools==7.5.*' && \
	cp pyproject.toml LICENSE requirements.lock requirements-sequence.lock "$$work/" && touch "$$work/README.md" && \
	echo async-timeout > "$$work/other-pythons.in" && \
	(cd "$$work" && CUSTOM_COMPILE_COMMAND='make lock' tools/bin/pip-compile --quiet --generate-hashes \
		--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--extra dev --output-file requirements.lock pyproject.toml other-pythons.in && \
		{ echo '-c requirements.lock' && tools/bin/python -c "import tomllib; \
			extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
			print('\n'.join(extras['sequence']))"; } > sequence.in && \
		CUSTOM_COMPILE_COMMAND='make lock' tools/bin/pip-compile --quiet --generate-hashes \
		--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements-sequence.lock sequence.in) && \
	cp "$$work/requirements.lock" "$$work/requirements-sequence.lock" .

DEPLOY_TOOLS := .venv/deploy-tools/bin
ENVIRONMENTS := dev staging production
CHART := deploy/helm/raycommend

chart: deploy-tools ## lint, render and validate the Helm chart and the container's files, without a cluster
	@$(BIN)/python deploy/tools/settings_schema.py --check
	@for name in $(ENVIRONMENTS); do \
		$(DEPLOY_TOOLS)/python deploy/tools/chart.py lint --values $(CHART)/values-$$name.yaml && \
		$(DEPLOY_TOOLS)/python deploy/tools/chart.py render --values $(CHART)/values-$$name.yaml | \
		$(DEPLOY_TOOLS)/python deploy/tools/chart.py validate /dev/stdin || exit 1; done
	@$(DEPLOY_TOOLS)/hadolint deploy/container/Dockerfile
	@$(DEPLOY_TOOLS)/check-jsonschema --builtin-schema vendor.compose-spec deploy/container/compose.yaml
	@$(DEPLOY_TOOLS)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml

chart-goldens: deploy-tools ## render the chart into tests/deploy/goldens; look at the difference before committing it
	@for name in $(ENVIRONMENTS); do $(DEPLOY_TOOLS)/python deploy/tools/chart.py render \
		--values $(CHART)/values-$$name.yaml > tests/deploy/goldens/$$name.yaml || exit 1; done

chart-schema: environment ## bring the settings in the chart's values.schema.json to what they are now
	@$(BIN)/python deploy/tools/settings_schema.py

# An environment of their own: Helm's engine and Kubernetes' schemas are 300 MB, and only the chart's checks need them.
deploy-tools: environment
	@cmp -s deploy/tools/requirements.lock .venv/deploy-tools/installed.lock || { \
		$(BIN)/python -m venv --clear .venv/deploy-tools && \
		$(DEPLOY_TOOLS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/tools/requirements.lock && \
		cp deploy/tools/requirements.lock .venv/deploy-tools/installed.lock; }

deploy-lock: environment
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m venv "$$work/tools" && \
	"$$work/tools/bin/pip" install --quiet --disable-pip-version-check 'pip-tools==7.5.*' && \
	cd deploy/tools && CUSTOM_COMPILE_COMMAND='make deploy-lock' "$$work/tools/bin/pip-compile" --quiet --generate-hashes \
		--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock requirements.in

# The generators have an environment of their own, and none of them is needed to use or to test the clients.
clients: environment ## make the clients' models, types and modules again from the OpenAPI document; needs npm and the internet
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	$(BIN)/python -m venv "$$work/tools" && \
	"$$work/tools/bin/pip" install --quiet --disable-pip-version-check 'datamodel-code-generator==0.89.0' && \
	(cd clients/typescript && npm ci --silent --no-audit --no-fund) && \
	$(BIN)/python -m clients.generate --codegen "$$work/tools/bin/datamodel-codegen"

# Installs only when the lock is another than the one installed last.
environment:
	@$(BIN)/python -c '' 2>/dev/null || { \
		$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
			echo "Raycommend needs Python 3.11, 3.12 or 3.13, and $(or $(PYTHON),what is on PATH) is not one of these:" \
				"install one, or name it: make up PYTHON=/path/to/python3.12" >&2; exit 2; }; \
		echo "making .venv with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear .venv || { echo "$(PYTHON) cannot make a virtual environment:" \
			"install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }; }
	@cmp -s requirements.lock .venv/installed.lock || { \
		echo "installing the packages of requirements.lock (about a minute the first time)"; \
		rm -f .venv/installed.lock; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		cp requirements.lock .venv/installed.lock; }
