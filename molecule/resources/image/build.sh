#!/usr/bin/env bash
# Builds the root file system of the lab's hosts: Debian 13 with systemd, and beside it a repository of the packages
# that roles install, so that hosts need no network. Usage: build.sh TARBALL
# The mirror is the one that this machine's own apt uses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tarball=$1
suite=trixie
repository=/usr/share/lab-packages

list() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/$1"; }

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
mmdebstrap --variant=minbase --mode=root --skip=cleanup/apt/lists --components=main --include="$(list base-packages.txt | paste -sd,)" \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --aptopt='Acquire::Languages "none"' "${options[@]}" \
  --customize-hook="REPOSITORY=$repository PACKAGES='$(list repository-packages.txt | paste -sd' ')' bash '$here/customize.sh' \"\$1\"" \
  "$suite" "$tarball" "$mirror"
