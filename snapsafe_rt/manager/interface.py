"""What the manager answers over Varlink, as introspection shows it."""

INTERFACE = """\
# Tells programs of this machine or container that it was restored from a snapshot.
interface org.snapsafe.Manager

# Somebody who is to be asked before a snapshot (mode delay), or does not let it be taken (block). uid, pid: of the
# process that holds the lock.
type Inhibitor (what: string, who: string, why: string, mode: string, uid: int, pid: int)

# One that was announced. at: seconds since 1970; the other times in seconds, null while it is not so far. late: who was
# waited for in vain. restored: a restore was published before the machine ran again. ended: unquiesced, restored (a
# restore was noticed), overdue (nobody called Unquiesce), failed (a callback did), abandoned (who called Quiesce went),
# not frozen (the programs of --freeze did not stand still), not told (programs would have gone on too early).
type Snapshot (
  number: int,
  at: float,
  quiesceSeconds: ?float,
  quiescedSeconds: ?float,
  unquiesceSeconds: ?float,
  late: []string,
  restored: bool,
  ended: ?string
)

type Failure (who: string, pid: int, errors: []string)

# What is watched, and what became of it. source: what tells of a restore, null if only the kernel's log or gVisor does;
# how: poll, inotify, timer, kmsg, gvisor, off. generation: of the file that is written, null while there is none.
# published: restores since the manager started; reseeded: the kernel's generator was, after the last one; lastRestore:
# seconds since 1970. state: of the machine, running, quiescing, quiesced or unquiescing; snapshot: number of the last
# one that was announced; inhibitors: how many there are; inhibitDelayMax: seconds.
method Describe() -> (
  version: string,
  pid: int,
  source: ?string,
  how: string,
  vmgenid: bool,
  file: string,
  generation: ?int,
  published: int,
  reseeded: bool,
  lastRestore: ?float,
  clients: int,
  problems: []string,
  state: string,
  snapshot: int,
  inhibitors: int,
  inhibitDelayMax: float,
  lastSnapshot: ?Snapshot
)

# The device that is watched, open for reading: the descriptor comes with the answer, at that index. source: only if it
# is this one.
method GetSource(source: ?string) -> (source: string, fileDescriptor: int)

# The machine was restored, says an agent. entropy: 16 to 512 bytes in base64, secret and different in every clone,
# which the kernel is fed with first. Takes root or the manager's own user.
method Bump(entropy: ?string) -> (generation: int, reseeded: bool)

# A snapshot is about to be taken: the programs of the cgroup of --freeze are stopped, and the answer comes when they
# stand still. They go on after a restore was published, by Thaw, or after that many seconds, then as if restored: 60 if
# not given, 3600 at the most. Takes root or the manager's own user, as does Thaw.
method Freeze(seconds: ?int) -> ()

# The snapshot was taken, or will not be. restored: this is a clone, so that it is published first.
method Thaw(restored: bool) -> ()

# To be asked before a snapshot (mode delay), or to let none be taken (block; takes root or the manager's own user).
# what: snapshot, and nothing else. The lock is this connection's: it goes when that ends, or by Ready. Who comes while
# the machine is quiescing is asked, too. uid, pid: for whom it is taken; only root or the manager's user may say.
method Inhibit(what: ?string, who: string, why: string, mode: string, uid: ?int, pid: ?int) -> (state: string)

# Answered when a snapshot is announced: to the holder of a delay lock, who has that many seconds. dump: CRIU takes it,
# and dumps no process that maps a device.
method Prepare() -> (snapshot: int, seconds: float, state: string, dump: bool)

# All is ready for the snapshot, but for these errors, and the lock is let go of.
method Ready(errors: ?[]string) -> ()

method ListInhibitors() -> (inhibitors: []Inhibitor)

# A snapshot is about to be taken. Announced to all, answered when the last delay lock is gone and the programs of
# --freeze stand still, or after that many seconds (the manager's --inhibit-delay-max, which is also the most): then
# late names those who were waited for in vain. hold: nothing but Unquiesce, and the manager's --quiesced-max, ends it,
# even if a restore is noticed. dump: for CRIU, the programs map no device meanwhile; in a snapshot of the machine they
# should, for it is what tells a clone. If the connection ends before the answer, all go on. Takes root or the manager's
# user.
method Quiesce(
  timeout: ?float,
  hold: ?bool,
  dump: ?bool
) -> (snapshot: int, late: []Inhibitor, seconds: float, frozen: bool)

# The snapshot was taken, or will not be. restored: this is a clone, so that it is published first, if no source has
# told of it; the answer says if one was published since Quiesce. Takes root or the manager's own user.
method Unquiesce(restored: ?bool) -> (restored: bool, generation: ?int, snapshot: Snapshot)

# With more: a reply for each change; who reads slowly gets the last.
method Monitor() -> (state: string, snapshot: int, generation: ?int)

# Not in this state.
error OperationInProgress (state: string)

# This lock refuses the snapshot; nobody was told of one.
error BlockedByInhibitor (who: string, why: string, uid: int, pid: int)

# Callbacks before the snapshot failed: the machine runs, and nothing is quiesced.
error CallbackFailed (failed: []Failure)

# One lock a connection.
error AlreadyInhibits ()

# This connection holds no delay lock.
error NotInhibiting ()

# The machine runs. snapshot: the last one, if any, and how it ended.
error NotQuiesced (snapshot: ?Snapshot)

# The programs were not stopped.
error NotFrozen (reason: string)

# No such device is watched here.
error NoSource (reason: string)

# The generation or the state could not be written.
error NotPublished (reason: string)
"""
