#!/bin/busybox sh
# The first process of a guest: mounts, modules, cgroups as the kernel's command line says, then the
# program that was asked for. Its last line is the verdict.
/bin/busybox --install -s /bin
# What was brought along comes before what busybox has of the same name.
export PATH=/sbin:/bin HOME=/ RUST_BACKTRACE=0 PODVITALS_TESTBED_LOAD=/bin/load

end() {
    echo "podvitals-guest: exit $1"
    # The last words must be through the serial line.
    sleep 1
    reboot -f
}

must() {
    "$@" || {
        echo "podvitals-guest: $* failed"
        end 99
    }
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp /run /mnt
must mount -t tmpfs shm /dev/shm
must mount -t tmpfs tmp /tmp
for module in $(cat /modules/order); do
    must insmod "/modules/$module"
done
must ip link set lo up

word() {
    sed -n "s/.*podvitals\.$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

cgroups=$(word cgroups)
if [ "$cgroups" = v2 ]; then
    must mount -t cgroup2 cgroup /sys/fs/cgroup
else
    must mount -t tmpfs cgroup /sys/fs/cgroup
    for controllers in cpu,cpuacct cpuset memory blkio pids; do
        mkdir "/sys/fs/cgroup/$controllers"
        must mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers"
    done
    ln -s cpu,cpuacct /sys/fs/cgroup/cpu
    ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
fi

cd /
export PODVITALS_GUEST="$(word guest)"
# shellcheck disable=SC2046 # no word, no argument
/program $(word only)
end $?
