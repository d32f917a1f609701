#!/usr/bin/env bash
# Runs inside the build, on the tree of the new root file system ($1): a repository of the packages that roles install, so
# that hosts need no network, and what makes it a lab host.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$1
repository=/usr/share/lab-packages

# The repository: what is not yet in the image. Served as a flat, trusted one.
sed -e 's/#.*//' "$here/repository-packages.txt" |
  xargs chroot "$root" apt-get install --yes --no-install-recommends --download-only
mkdir -p "$root$repository"
mv "$root"/var/cache/apt/archives/*.deb "$root$repository/"
(cd "$root$repository" && dpkg-scanpackages --multiversion . >Packages)
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo "deb [trusted=yes] file:$repository ./" >"$root/etc/apt/sources.list.d/lab.list"
chroot "$root" apt-get update

# What mmdebstrap set for speed must not reach the hosts: there, packages install as they do for a user.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/apt/apt.conf.d/99mmdebstrap

# SSH by the lab's key only (mounted at start), on loopback only: the lab's connections come through the namespace.
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
ListenAddress 127.0.0.1
PermitRootLogin prohibit-password
PasswordAuthentication no
AuthorizedKeysFile /etc/ssh/lab_authorized_keys
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
CONF

# A container has neither consoles nor devices of its own, and its addresses belong to the lab.
for unit in systemd-modules-load.service getty@tty1.service console-getty.service systemd-udevd.service systemd-networkd.service systemd-resolved.service \
  systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# Outside of containers systemd makes all mounts shared; without that no service sees its credentials (LoadCredential=).
cat >"$root/etc/systemd/system/lab-shared-mounts.service" <<'UNIT'
[Unit]
Description=Share mounts as on a machine of its own
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=mount --make-rshared /
[Install]
WantedBy=sysinit.target
UNIT
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -sf ../lab-shared-mounts.service "$root/etc/systemd/system/sysinit.target.wants/"
# The lab enables it on the hosts that have a routing neighbour.
chroot "$root" systemctl disable frr.service
sed -i 's/^ospfd=no/ospfd=yes/' "$root/etc/frr/daemons"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/lab.conf"
rm -f "$root/etc/machine-id"
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
