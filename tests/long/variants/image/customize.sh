#!/usr/bin/env bash
# Nothing beyond the packages: files are laid over the tree ($1) by the tests.
set -euo pipefail
test -x "$1/usr/sbin/charon-systemd"
