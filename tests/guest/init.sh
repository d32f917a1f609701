#!/bin/bash
# The first process of a guest; its root is the machine's, read-only. From the kernel's command line: GUEST_RUN, the
# directory of this run (the 9p share `run`), and GUEST_MODULES, the folder of the kernel's modules. The share `packages`
# lies over the root. Leaves `output` and `status` in GUEST_RUN and powers off.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
share=trans=virtio,version=9p2000.L,msize=512000

power_off() {
  [ $# = 0 ] || echo "guest: $*"
  sync
  echo 1 >/proc/sys/kernel/sysrq
  echo o >/proc/sysrq-trigger
  sleep 60
}

# The machine's own /proc and /sys show through its root: they are covered before anything looks. What is needed on the way
# lies on the latter, where no checkout can be.
make_root() {
  local root=/sys/root
  mount -t proc proc /proc || power_off "no /proc"
  mount -t tmpfs tmpfs /sys || power_off "no /sys"
  mkdir -p /sys/upper /sys/work /sys/packages $root /sys/kernel/lib/modules
  ln -s "$GUEST_MODULES" "/sys/kernel/lib/modules/$(uname -r)"
  modprobe -q -d /sys/kernel overlay || grep -qw overlay /proc/filesystems || power_off "no overlayfs"
  mount -t 9p -o $share,cache=loose,ro packages /sys/packages || power_off "no packages"
  mount -t overlay -o lowerdir=/sys/packages:/,upperdir=/sys/upper,workdir=/sys/work root $root || power_off "no root"
  # Not as a child: the kernel looks for modprobe below the root of its first process.
  exec chroot $root /bin/bash "$0" run
}

run() {
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t bpf bpf /sys/fs/bpf
  mount -t devtmpfs dev /dev
  mkdir -p /dev/pts /dev/shm /dev/net /lib/modules
  mount -t devpts devpts /dev/pts
  [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
  for directory in /dev/shm /run; do mount -t tmpfs -o mode=1777 tmpfs $directory; done
  case $GUEST_RUN in
    # A checkout in /tmp would be covered.
    /tmp/*) mkdir /run/tmp && export TMPDIR=/run/tmp ;;
    *) mount -t tmpfs -o mode=1777 tmpfs /tmp ;;
  esac
  ln -sfn "$GUEST_MODULES" "/lib/modules/$(uname -r)"
  mkdir -p "$GUEST_RUN"
  mount -t 9p -o $share run "$GUEST_RUN" || power_off "no directory for the results"
  echo guest >/proc/sys/kernel/hostname
  # As on any host; not built into every kernel.
  modprobe -q ipv6
  ip link set lo up
  bash "$GUEST_RUN/command" >"$GUEST_RUN/output" 2>&1 </dev/null
  echo $? >"$GUEST_RUN/status"
  power_off
}

${1:-make_root}
