#!/bin/sh
# snapsafe manager --print snapsafe-criu >/usr/libexec/snapsafe-criu && chmod 755 /usr/libexec/snapsafe-criu
# CRIU action script: moves the generation of a file source while the restored tasks are still held, and asks programs
# before they are dumped (docs/criu.md).
#
#   criu restore --action-script /usr/libexec/snapsafe-criu ...
#   criu dump --action-script /usr/libexec/snapsafe-criu ...
#
# It runs where CRIU does, with what every host has, and nothing of the container's. Of CRIU's actions it takes
#   post-restore  memory and mounts are back, no task has run, and a script that fails ends the restore (criu/cr-restore.c;
#                 pre-resume comes later still, but there a failure is only logged)
#   pre-dump      no task is stopped yet, and a script that fails ends the dump (criu/cr-dump.c); network-lock, pre-stream
#                 and all others of a dump come when tasks stand still and can be asked nothing
#   post-dump     the dump has succeeded. One that fails runs no script: programs go on when `snapsafe unquiesce` is
#                 called, or after the manager's --quiesced-max
# SNAPSAFE_FILE: the file, as the tasks see it; the manager's socket lies beside it. Without them there is nothing to do.
# SNAPSAFE_COMMAND: snapsafe, if PATH does not lead to it.
set -eu
export LC_ALL=C
file=${SNAPSAFE_FILE:-/run/snapsafe/vmclock0}
command=${SNAPSAFE_COMMAND:-snapsafe}

fail() { printf 'snapsafe: %s: %s, so nothing is %s\n' "$file" "$1" "$outcome" >&2; exit 1; }

# there PATH: where we reach what the tasks have at that path; false if they have nothing there. In the mount namespace
# and below the root of the tasks. Links in there would lead to files of this host.
there() {
  at=/proc/${CRTOOLS_INIT_PID:?}/root rest=${1#/}
  [ -e "$at/$rest" ] || [ -L "$at/$rest" ] || return 1
  while [ -n "$rest" ]; do
    at=$at/${rest%%/*}
    [ ! -L "$at" ] || fail "a symbolic link leads there (${at#/proc/*/root})"
    case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
  done
}

field() { od -An -v -t"$1" -j"$2" -N"$3" /dev/fd/3 2>/dev/null | tr -d ' \n'; } # TYPE OFFSET LENGTH

put() { # VALUE OFFSET LENGTH: one write(2), for inotify reports no stores to a mapping
  value=$1 bytes='' left=$3
  while [ "$left" -gt 0 ]; do
    bytes=$bytes\\$(printf %03o $((value & 255)))
    value=$((value >> 8)) left=$((left - 1))
  done
  # shellcheck disable=SC2059 # these are the bytes
  printf "$bytes" | dd of=/dev/fd/3 bs="$3" seek=$(($2 / $3)) count=1 conv=notrunc 2>/dev/null || fail "cannot be written"
}

ask() { # quiesce|unquiesce [OPTION]: of the manager that the tasks reach; a container may have one that hangs
  file=${file%/*}/org.snapsafe.Manager
  there "$file" && [ -S "$at" ] || exit 0
  command -v "$command" >/dev/null || { echo "snapsafe: no $command to ask $file with (SNAPSAFE_COMMAND)" >&2; exit 0; }
  code=0
  timeout 60 "$command" "$@" --socket "$at" >/dev/null || code=$?
}

case ${CRTOOLS_SCRIPT_ACTION-} in
  pre-dump)
    outcome=dumped
    ask quiesce --dump # CRIU dumps no program that maps a device
    # 69: nobody listens there any more; 75: somebody was late. Not 76: a manager is there, and too busy to hear us.
    case $code in 0 | 69 | 75) exit 0 ;; esac
    fail "quiesce has failed ($code)"
    ;;
  post-dump)
    outcome=kept
    ask unquiesce
    exit 0
    ;;
  post-restore) outcome=restored ;;
  *) exit 0 ;;
esac

there "$file" || exit 0
[ -f "$at" ] || fail "is not a regular file"
# The tasks may have it mounted read-only from here; then it is written by its name here.
here=$(find "${file%/*}" -xdev -samefile "$at" 2>/dev/null | head -n 1)
at=${here:-$at}
[ -w "$at" ] || fail "may not be written"
exec 3<>"$at"
[ "$(field x4 0 4)$(field u2 8 2)" = 4b4c43561 ] || fail "is not in VMClock's layout, version 1"
[ $(($(field u1 25 1) & 1)) = 1 ] || fail "has no generation (flag bit 8 is clear)"

# Writers are kept apart, but whoever may read the file could hold the lock for ever.
if command -v flock >/dev/null; then flock -w 1 3 || :; fi
# As the package's writer: not old + 1, for an image that was dumped elsewhere under that number must see a change as well.
# The shell counts in 64 bits with a sign, the file without one: a negative number is ahead of the clock.
old=$(field d8 104 8) now=$(date +%s%N)
case $old$now in '' | *[!0-9-]*) fail "no generation (od: $old, date: $now)" ;; esac
new=$((old + 1))
if [ "$old" = -1 ] || { [ "$new" -ge 0 ] && [ "$new" -lt "$now" ]; }; then new=$now; fi
odd=$((($(field u4 12 4) + 1) | 1))
put $odd 12 4
put "$new" 104 8
put $((odd + 1)) 12 4
[ "$(field d8 104 8)" = "$new" ] || fail "does not hold what was written"
