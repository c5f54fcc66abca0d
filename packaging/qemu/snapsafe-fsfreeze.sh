#!/bin/sh
# snapsafe manager --print snapsafe-fsfreeze.sh >/etc/qemu/fsfreeze-hook.d/snapsafe.sh
# For the QEMU guest agent, which runs it with "freeze" before file systems are frozen, and with "thaw" after that is over:
# programs are asked before a snapshot, and told after it (docs/orchestrators.md).
#
# Does nothing unless /etc/snapsafe/fsfreeze.conf says so, for backups freeze a machine as well, every night:
#
#   ask=yes        programs are asked; whatever comes of it, the file systems are frozen
#   ask=required   they are frozen only if all programs were ready; takes an agent that runs this file itself, for
#                  the script of Debian's and others' packages does not tell it that a hook has failed
#   timeout=3      seconds; else, and at the most, the manager's --inhibit-delay-max
set -eu
file=${SNAPSAFE_FSFREEZE:-/etc/snapsafe/fsfreeze.conf}
ask=no timeout=''
# shellcheck source=/dev/null
[ ! -r "$file" ] || . "$file"
snapsafe() { @SNAPSAFE@ "$@"; }
say() { echo "snapsafe: $*" >&2; }

case $ask in
  no) exit 0 ;;
  yes | required) ;;
  *) say "$file: ask=$ask is neither no, yes nor required; nobody is asked"; exit 0 ;;
esac

code=0
case ${1-} in
  freeze)
    # --hold: they go on when file systems are written to again, not when the restore is noticed.
    snapsafe quiesce --hold ${timeout:+--timeout "$timeout"} || code=$?
    [ "$code" != 0 ] && [ "$ask" = required ] || exit 0
    if [ "$code" = 75 ]; then snapsafe unquiesce || :; fi # somebody was late
    say "nothing is frozen, since ask=required"
    exit "$code"
    ;;
  thaw) snapsafe unquiesce || say "unquiesce: exit code $?" ;;
  *) say "freeze or thaw, not '${1-}'"; exit 2 ;;
esac
