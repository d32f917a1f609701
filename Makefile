# `make help` lists what one can do. Everything below build/, .venv/ and .ansible/ can be thrown away.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := $(CURDIR)/.venv
VENV_STAMP := $(VENV)/.stamp

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv: $(VENV_STAMP) ## the virtual environment, from pinned requirements

$(VENV_STAMP): requirements-dev.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@mkdir -p .ansible/collections/ansible_collections/mobileip
	@ln -sfn ../../../.. .ansible/collections/ansible_collections/mobileip/vpn
	@touch $@
