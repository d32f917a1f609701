# `make help` lists what one can do. Everything below build/, .venv/ and .ansible/ can be thrown away.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := $(CURDIR)/.venv
LAB := $(VENV)/bin/python molecule/resources/lab
LOGS := build/logs
# What is rolled out: make demo DEPLOYMENT=one_box.
DEPLOYMENTS := two_box one_box
DEPLOYMENT = $(firstword $(DEPLOYMENTS))
ifneq ($(words $(filter $(DEPLOYMENT),$(DEPLOYMENTS))),1)
$(error DEPLOYMENT is "$(DEPLOYMENT)"; expected one of: $(DEPLOYMENTS))
endif
INVENTORY := -i inventories/$(DEPLOYMENT) -i molecule/resources/lab.yml

export PATH := $(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
export ANSIBLE_NOCOWS := 1

##@ Start here

demo rollout lab-up: export LAB_DEPLOYMENT = $(DEPLOYMENT)

.PHONY: demo
demo: rollout ## a mobile node roams under a TCP session: hosts, roll-out, table of what happened; DEPLOYMENT=one_box: with one box
	@cd molecule/resources && $(VENV)/bin/python -m roaming --output $(CURDIR)/build/demo

.PHONY: test
test: deps venv image secrets ## everything that CI runs: at most 30 minutes on two cores
	@python -m tests.checks short

.PHONY: demo-down
demo-down: lab-down ## remove hosts, wires, pins and namespaces

##@ Parts

.PHONY: lint
lint: venv ## style and types
	@python -m tests.checks lint

.PHONY: unit
unit: venv ## unit and property tests, without root
	@python -m tests.checks unit

.PHONY: conformance
conformance: deps venv image secrets ## judge every rule: build/conformance/report.json and docs/conformance.md
	@python -m tests.checks conformance

.PHONY: reference
reference: venv ## write docs/reference/configuration.md and variables.md anew from the daemon's schema and the roles
	@PYTHONPATH=roles/agent/files/mobileip/src python -m tests.checks.reference

.PHONY: docs
docs: venv ## write the pages of all plugins and roles below build/docs/html
	@python -m tests.checks.galaxy.documentation

.PHONY: fuzz
fuzz: venv ## fuzz for FUZZ_SECONDS (900), keep what reaches new code in tests/fuzz/corpus
	@python -m tests.checks fuzz

.PHONY: test-long
test-long: deps venv image secrets ## what takes longer, in parts: make test-long PART=NAME; leaves build/test-long/report.json
	@python -m tests.checks long $(PART)

.PHONY: bench
bench: deps venv ## measure; make bench ROWS=a,b refreshes those rows of build/bench/report.json
	@PYTHONPATH=molecule/resources:roles/agent/files/mobileip/src python -m tests.bench $(if $(ROWS),--rows $(ROWS))

.PHONY: rollout
rollout: lab-up secrets ## start the hosts and roll out playbooks/site.yml on them
	@echo "$$(date +%T)  rolling out with playbooks/site.yml (log in $(LOGS)/site.log)"
	@mkdir -p $(LOGS)
	@ansible-playbook $(INVENTORY) playbooks/site.yml 2>&1 </dev/null | tee $(LOGS)/site.log | \
	  awk '/^(PLAY|TASK) \[/ { line = $$0; gsub(/ \*+$$/, "", line); printf "%s  %s\n", strftime("%T"), line; fflush() } /^fatal|^failed|^ERROR/ { print; fflush() } /^PLAY RECAP/ { recap = 1 } recap { print }'

.PHONY: lab-up
lab-up: deps venv ## start the hosts and wire them; what is up stays as it is
	@$(LAB) up

.PHONY: lab-down
lab-down: venv
	@$(LAB) down

.PHONY: image
image: deps venv ## the image of the hosts, where it is missing
	@$(LAB) image

.PHONY: deps
deps: ## install the distribution's packages that are missing
	@bash molecule/resources/machine/install.sh $(LOGS)/deps.log

.PHONY: venv
venv: $(VENV)/.stamp .ansible/vault-password ## the virtual environment, from pinned requirements

$(VENV)/.stamp: requirements-dev.txt | deps
	@echo "venv: installing the pinned requirements into .venv (log in $(LOGS)/venv.log)"
	@mkdir -p $(LOGS) .ansible/collections/ansible_collections/mobileip
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off -r requirements-dev.txt \
	  >$(LOGS)/venv.log 2>&1 || { tail -n 15 $(LOGS)/venv.log; exit 1; }
	@ln -sfnT ../../../.. .ansible/collections/ansible_collections/mobileip/vpn
	@touch $@

# Opens the examples' generated secrets, on this machine only.
.ansible/vault-password:
	@mkdir -p .ansible
	@umask 077; head -c 32 /dev/urandom | base64 >$@

# The keys of the examples: made once, encrypted, never committed; a new node gets its keys at the next run.
.PHONY: secrets
secrets: venv
	@echo "secrets: making the keys of the example inventories that are missing (log in $(LOGS)/secrets.log)"
	@mkdir -p $(LOGS)
	@for inventory in inventories/*/; do \
	  ansible-playbook -i "$${inventory%/}" playbooks/generate_secrets.yml >$(LOGS)/secrets.log 2>&1 </dev/null || \
	    { tail -n 20 $(LOGS)/secrets.log; exit 1; }; \
	done

.PHONY: requirements
requirements: ## write requirements-dev.txt anew from requirements-dev.in, and the pins of Galaxy's tools
	@for pinned in requirements-dev tests/checks/galaxy/requirements; do \
	  rm -rf build/requirements && $(PYTHON) -m venv build/requirements; \
	  build/requirements/bin/pip install --quiet -r $$pinned.in; \
	  { head -n 1 $$pinned.txt; build/requirements/bin/pip list --format freeze | grep -v '^pip=='; } >build/requirements.txt; \
	  mv build/requirements.txt $$pinned.txt; \
	done

.PHONY: clean-all
clean-all: ## also remove the image, .venv, caches and products
	@if [ -x $(VENV)/bin/python ]; then $(LAB) down; $(LAB) remove-image; fi
	@rm -f inventories/*/group_vars/all/secrets.yml
	@rm -rf .venv build .ansible .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sed 's/:.*## //'
