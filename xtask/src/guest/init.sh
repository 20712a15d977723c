#!/bin/busybox sh
# The first program of the guest: it finds the host's files and hands over to work.sh.
# @MODULES@ is replaced by the kernel's modules, each after those that it needs.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in @MODULES@; do
  $b insmod "/modules/$module.ko" || echo "insmod $module failed"
done
# Everything the tests need is the host's own, read-only, through virtio-9p.
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any,ro host /top
$b mount -t devtmpfs dev /top/dev
$b mount -t proc proc /top/proc
$b mount -t sysfs sys /top/sys
$b mount -t tmpfs -o mode=755 run /top/run
$b cp /work.sh /top/run/work.sh
exec $b switch_root /top /bin/bash /run/work.sh
