#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
#
# kernels-init.sh - process 1 of a machine that kernels.sh boots: run the tests, say so on the second serial port, power off.
# Whatever fails before ends process 1, which the kernel answers with a panic on its console.
set -e

export PATH=/bin HOME=/tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mkdir /dev/shm
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/1 /dev/stdout # the kernel's runner opens it

# What the kernel's runner calls has an option that busybox's does not.
cat > /usr/bin/timeout <<'END'
#!/bin/sh
[ "$1" != --foreground ] || shift
exec /bin/timeout "$@"
END
chmod +x /usr/bin/timeout

stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
export STM_RUNS=1 # of the random histories: one can take 600,000 page faults, of half a millisecond here
/run/run_kselftest.sh -o 900 # seconds for a program, which is five to ten times slower than elsewhere
echo "# all programs ran"
poweroff -f
