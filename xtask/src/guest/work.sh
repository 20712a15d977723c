# Pid 1 of the guest after the first step: makes a host of it, runs the plan, powers off.
# @NAME@ are replaced: TARGET is cargo's build directory, CACHE where images are kept, PLAN the calls of `as_root`
# and `as_user`, and PATH the host's own.
#
# What is written here goes to the second serial port, which xtask reads.
exec >/dev/ttyS1 2>&1
export PATH=@PATH@ XDG_CACHE_HOME=@CACHE@ RECKON_SKIP_LOG=/run/skips LANG=C.UTF-8
unset TMPDIR

finish() {
  sync
  echo o >/proc/sysrq-trigger
  # Pid 1 must not end before the power does.
  while :; do sleep 1; done
}
trap finish EXIT

# What lies below a directory that is about to be covered, or that only root may pass, is kept at hand first.
mkdir -p /run/kept/target /run/kept/cache
mount --bind @TARGET@ /run/kept/target
mount --bind @CACHE@ /run/kept/cache

# A file system on which mounts can be idmapped, for everything that is written.
mkdir /run/disk
mount -t ext4 /dev/vda /run/disk
mkdir -m 1777 /run/disk/tmp
mount --bind /run/disk/tmp /tmp
mkdir -m 755 /tmp/scratch

# Only root may pass some directories of the host; as the user of a laptop, everybody can.
bare() { # DIRECTORY: whether others may not pass it
  [ $(( 0$(stat -c %a "$1") & 1 )) -eq 0 ]
}
uncover() { # DIRECTORY: covers the first part of its path that others may not pass
  local path= part
  IFS=/ read -ra parts <<<"${1#/}"
  for part in "${parts[@]}"; do
    path="$path/$part"
    [ -d "$path" ] || return 0
    if bare "$path"; then
      mount -t tmpfs -o mode=755 cover "$path"
      return
    fi
  done
}
place() { # KEPT DIRECTORY: puts what was kept where it was
  mkdir -p "$2" && mount --bind "$1" "$2"
}
uncover @TARGET@
place /run/kept/target @TARGET@
uncover @CACHE@
place /run/kept/cache @CACHE@

mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
python3 - <<'PYTHON'
# There may be no program `ip`: this is what it does for `link set lo up`.
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
PYTHON
export HOME=/tmp/scratch/root
mkdir "$HOME"
: >/run/skips
chmod 666 /run/skips

# A subtree that belongs to an ordinary user, as systemd delegates one.
own=/sys/fs/cgroup/user
mkdir -p $own/session
echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
echo '+memory +pids +cpu' >$own/cgroup.subtree_control
for group in $own $own/session; do
  chown 1000:1000 $group $group/cgroup.procs $group/cgroup.threads $group/cgroup.subtree_control
done
mkdir /tmp/scratch/user
chown 1000:1000 /tmp/scratch/user

seconds() { cut -d' ' -f1 /proc/uptime; }
as_root() {
  echo "guest: root: ${*##*/} (at $(seconds) s)"
  (cd "$HOME" && exec timeout --kill-after=10 @PATIENCE@ "$@")
  echo "guest: exit code $?"
}
as_user() {
  echo "guest: user: ${*##*/} (at $(seconds) s)"
  (
    echo 0 >$own/session/cgroup.procs
    export HOME=/tmp/scratch/user
    cd "$HOME" && exec setpriv --reuid 1000 --regid 1000 --clear-groups timeout --kill-after=10 @PATIENCE@ "$@"
  )
  echo "guest: exit code $?"
}

echo "guest: kernel $(uname -r)"
@PLAN@
sed 's/^/guest: skip: /' /run/skips
echo "guest: done at $(seconds) s"
