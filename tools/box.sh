# Runs a program that sees nothing but some folders, read-only, and has no network.
#
#     unshare --user --map-root-user --mount --net --pid --ipc --uts --fork --kill-child \
#         sh box.sh EMPTY_FOLDER FOLDER... -- PROGRAM...
set -e
root=$1
shift
mount -t tmpfs -o size=64m tmpfs "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount -o bind,ro "$1" "$root$1"
    shift
done
shift
mkdir -p "$root/tmp" "$root/proc" "$root/dev/shm"
mount -t proc proc "$root/proc"
for device in null zero urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
# This shell stays: as the first of its processes a program would not hear all signals.
chroot "$root" setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
exit $?
