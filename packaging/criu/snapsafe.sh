#!/bin/sh
# CRIU action script: moves the generation of a file source while the restored tasks are still held (docs/criu.md).
#
#   criu restore --action-script /usr/libexec/snapsafe.sh ...
#
# It runs where CRIU does, with what every host has, and nothing of the container's. Of CRIU's actions it takes
# post-restore: memory and mounts are back, no task has run, and a script that fails ends the restore (criu/cr-restore.c;
# pre-resume comes later still, but there a failure is only logged).
# SNAPSAFE_FILE: the file, as the restored tasks see it. Without one there is nothing to move.
set -eu
[ "${CRTOOLS_SCRIPT_ACTION-}" = post-restore ] || exit 0
export LC_ALL=C
file=${SNAPSAFE_FILE:-/run/snapsafe/vmclock0}

fail() { printf 'snapsafe: %s: %s, so nothing is restored\n' "$file" "$1" >&2; exit 1; }
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

# In the mount namespace and below the root of the tasks. Links in there would lead to files of this host.
at=/proc/${CRTOOLS_INIT_PID:?}/root rest=${file#/}
[ -e "$at/$rest" ] || [ -L "$at/$rest" ] || exit 0
while [ -n "$rest" ]; do
  at=$at/${rest%%/*}
  [ ! -L "$at" ] || fail "a symbolic link leads there (${at#/proc/*/root})"
  case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
done
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
