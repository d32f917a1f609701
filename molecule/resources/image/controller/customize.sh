#!/usr/bin/env bash
# Runs inside the build, on the tree of the new root file system ($1): Ansible in /opt/ansible, as requirements.txt pins it.
# This machine's pip fetches the wheels, because it knows the package index; the image itself needs no network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$1
wheels=/tmp/wheels

python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
platforms=()
for tag in manylinux_2_17 manylinux2014 manylinux_2_28 manylinux_2_34; do platforms+=(--platform "${tag}_$(uname -m)"); done
"${LAB_PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --implementation cp --python-version "$python" "${platforms[@]}" --dest "$root$wheels" --requirement "$here/requirements.txt"

chroot "$root" python3 -m venv /opt/ansible
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$root" /opt/ansible/bin/pip install --quiet --no-index \
  --find-links "$wheels" --no-deps --requirement /dev/stdin <"$here/requirements.txt"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /opt/ansible/bin/pip check
rm -rf "${root:?}$wheels" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
