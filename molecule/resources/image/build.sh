#!/usr/bin/env bash
# Builds a root file system of Debian 13: the packages of RECIPE/base-packages.txt, then RECIPE/customize.sh.
# Usage: build.sh RECIPE TARBALL. The mirror is the one that this machine's own apt uses.
set -euo pipefail
recipe=$(cd "$1" && pwd)
tarball=$2
suite=trixie

packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$recipe/base-packages.txt"; }

find_mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && !found { print $3; found = 1 }'
}
mirror=$(find_mirror)
# Apt knows an archive's origin only after it has once read its index.
[ -n "$mirror" ] || { apt-get update && mirror=$(find_mirror); }
if [ -z "$mirror" ]; then
  echo "build.sh: apt on this machine lists no Debian archive to take $suite from: add one to its sources, then 'apt-get update'" >&2
  exit 1
fi
options=()
while IFS= read -r line; do options+=(--aptopt="$line"); done < <(apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https 2>/dev/null |
  grep -Ei '^Acquire::https?::(proxy|timeout|ca[a-z]*)' || true)

# The package lists stay: a host that has none can say nothing in check mode.
mmdebstrap --variant=minbase --mode=root --skip=cleanup/apt/lists --components=main --include="$(packages | paste -sd,)" \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --aptopt='Acquire::Languages "none"' "${options[@]}" \
  --customize-hook="bash '$recipe/customize.sh' \"\$1\"" \
  "$suite" "$tarball" "$mirror"
