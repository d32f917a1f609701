#!/bin/busybox sh
# Loads what reading the machine's root file system takes (/modules, in order), and goes there. A guest's first process.
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || exit 1
exec /bin/busybox chroot /host /bin/bash "$GUEST_INIT"
