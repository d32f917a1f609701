#!/usr/bin/env bash
# Installs what this machine lacks for lab, demonstration and tests. Asks nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
log=${1:?usage: install.sh LOG}
mkdir -p "$(dirname "$log")"

missing=()
while IFS= read -r package; do
  state=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [ "$state" = "ii " ] || missing+=("$package")
done < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/packages.txt")
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "deps: not installed: ${missing[*]}. Run as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "deps: installing ${missing[*]} (log in $log)"
# Tests run these daemons in namespaces of their own; on this machine none is to route. `systemctl unmask` takes it back.
for service in bird frr; do
  if [[ " ${missing[*]} " == *" ${service/#bird/bird2} "* ]] && [ ! -e "/etc/systemd/system/$service.service" ]; then
    mkdir -p /etc/systemd/system
    ln -s /dev/null "/etc/systemd/system/$service.service"
  fi
done
# Without systemd, it is the installation that would start them.
policy=/usr/sbin/policy-rc.d
if [ ! -d /run/systemd/system ] && [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
if ! {
  # Capturing is for root here; the question would be asked of nobody.
  echo "wireshark-common wireshark-common/install-setuid boolean false" | debconf-set-selections
  apt-get update
  apt-get install --yes --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 </dev/null; then
  tail -n 15 "$log" >&2
  exit 1
fi
