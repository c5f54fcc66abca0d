# What makes and enters Debian trees; for sourcing, by a script that sets cache, log and, for its messages, me.
# shellcheck shell=bash
# shellcheck disable=SC2154

say() { printf '%s: %s\n' "$me" "$*" >&2; }

# step TEXT COMMAND...: runs it with its output in a log, says every 10 seconds how far the log is, shows its end on failure.
step() {
  local text=$1 begin=$SECONDS ticker code=0; shift
  say "$text ..."
  (while sleep 10 && kill -0 $$; do say "  $((SECONDS - begin)) s: $(tail -n 1 "$log" | cut -c 1-100)"; done) 9>&- & ticker=$!
  "$@" >"$log" 2>&1 </dev/null 9>&- || code=$?
  kill "$ticker" 2>/dev/null; wait "$ticker" 2>/dev/null || true
  if [ "$code" = 0 ]; then say "  done in $((SECONDS - begin)) s"; else say "  FAILED ($code) after $((SECONDS - begin)) s:"; tail -n 15 "$log" >&2; fi
  return "$code"
}

need() { # need COMMAND PACKAGE: installs PACKAGE on the machine itself unless COMMAND is there
  command -v "$1" >/dev/null && return
  step "apt-get install $2" sh -c "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $2"
}

mirror() { # the archive this machine's own apt takes its release from
  . /etc/os-release
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$VERSION_CODENAME" '$1 == release && $2 ~ /debian\/?$/ && !found++ { print $2 }'
}

# The machine's way to its registries (proxies, credentials, certificates, name service) holds in the tree too.
borrow_network() {
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/apt/auth.conf; do
    if [ -e "$file" ] && ! cmp -s "$file" "$1$file"; then mkdir -p "$1$(dirname "$file")"; cp -L --remove-destination "$file" "$1$file"; fi
  done
  for file in /etc/apt/apt.conf.d /etc/apt/auth.conf.d; do
    if [ -d "$file" ]; then mkdir -p "$1$file"; cp -Ln "$file"/* "$1$file"/ 2>/dev/null || true; fi
  done
}

# inside TREE DIR COMMAND...: chroot with /proc, /dev, /sys, a /tmp and a /run of its own, and DIR (may be empty) and the folder
# of .ci/wheel at their own paths, in a private mount namespace, so that nothing stays mounted whatever happens to us. Never DIR=/: it would lie over
# the tree, and COMMAND would run on the machine itself. alone=1: see the usage; CRIU takes no chroot for a root.
alone=
inside() {
  [ "$2" != / ] && [ -x "$1/bin/sh" ] || { say "will not show ${2:-nothing} in $1"; return 1; }
  [ -z "${SNAPSAFE_WHEELS-}" ] || mkdir -p "$SNAPSAFE_WHEELS"
  SNAPSAFE_TREE=$1 SNAPSAFE_DIR=$2 SNAPSAFE_OPENSSL=${old_openssl-} SNAPSAFE_ALONE=$alone \
    unshare ${alone:+--pid --fork --kill-child --ipc} --mount --propagation private bash -euc '
    root=$SNAPSAFE_TREE dir=$SNAPSAFE_DIR openssl=$SNAPSAFE_OPENSSL alone=$SNAPSAFE_ALONE
    if [ -n "$alone" ]; then
      mount --bind "$root" "$root"
      mount -t devtmpfs dev "$root/dev"; mkdir -p "$root/dev/pts" "$root/dev/shm"
      mount -t devpts -o newinstance,ptmxmode=666 pts "$root/dev/pts"; mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
      mount -t sysfs sys "$root/sys"
      mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || true # crun takes no mixture of versions
    else
      mount --rbind /dev "$root/dev"; mount --rbind /sys "$root/sys"
    fi
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"; mount -t tmpfs -o mode=755 run "$root/run"
    for shown in "$dir" "$openssl" "${SNAPSAFE_WHEELS-}"; do
      if [ -n "$shown" ] && [ -d "$shown" ]; then mkdir -p "$root$shown"; mount --rbind "$shown" "$root$shown"; fi
    done
    unset SNAPSAFE_TREE SNAPSAFE_DIR SNAPSAFE_OPENSSL SNAPSAFE_ALONE SNAPSAFE_CACHE PYENV_VERSION LD_LIBRARY_PATH PIP_FIND_LINKS
    [ ! -e "$openssl/libcrypto.so.1.1" ] || export SNAPSAFE_LIBCRYPTO_111=$openssl/libcrypto.so.1.1
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp
    if [ -n "$alone" ]; then
      cd "$root"; pivot_root . .; umount -l .; cd /; root=/
      ulimit -S -n 1024 # CRIU keeps as many free for itself
    fi
    exec chroot "$root" sh -c '\''cd "${1:-/}" && shift && exec "$@"'\'' sh "$dir" "$@"' inside "${@:3}"
}

available() { inside "$1" "" apt-cache show --no-all-versions "$2" >/dev/null 2>&1; }

# bootstrap SUITE DIR [OPTION...]: a minimal Debian at DIR, without its documentation.
bootstrap() {
  local suite=$1 dir=$2 archive; shift 2
  archive=$(mirror)
  [ -n "$archive" ] || { say "apt names no Debian archive on this machine"; return 1; }
  rm -rf "$dir"; mkdir -p "$dir/etc/dpkg/dpkg.cfg.d"
  printf 'path-exclude=%s/*\n' /usr/share/doc /usr/share/man /usr/share/locale /usr/lib/debug >"$dir/etc/dpkg/dpkg.cfg.d/small"
  http_proxy=${http_proxy:-$(apt-config dump --format '%v' Acquire::http::Proxy)} \
    step "debootstrap $suite" debootstrap --variant=minbase --merged-usr "$@" "$suite" "$dir" "$archive" sid # sid: the script, which knows no newer name
}

# new_tree SUITE HALF: the same, with the machine's way to the registries.
new_tree() { bootstrap "$1" "$2" || return 1; borrow_network "$2"; }

# only_one TEXT: waits until no other run of the same is at work; holds descriptor 9 until the script ends or closes it.
only_one() {
  [ "$(id -u)" = 0 ] || { say "needs root (debootstrap, chroot)"; exit 1; }
  mkdir -p "$cache" "$(dirname "$log")"
  exec 9>"$cache/$1.lock"
  flock -n 9 || { say "another $1 is at work: waiting for it"; flock 9; }
  need debootstrap debootstrap
}
