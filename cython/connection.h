/* The connection room: the one connection to the announcer of snapshots, be it the manager or systemd-logind. The watcher
   holds it in a table of its own (isolate.h), where the program cannot see, close or reuse its number, nor read from it. So
   Python makes the bytes that are sent beforehand, and takes what was received when it is told. Nothing here touches a Python
   object or needs the GIL. */
#ifndef SNAPSAFE_CONNECTION_H
#define SNAPSAFE_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ss_connection_state {
    SS_CONNECTION_NONE = 0,  /* none is wanted, or the watcher has not tried yet */
    SS_CONNECTION_ABSENT,    /* nobody listens there; the watcher watches the path for somebody to come */
    SS_CONNECTION_UNTRUSTED, /* the listener is a user that this process does not trust */
    SS_CONNECTION_FAILED,    /* an errno; tried again each SS_WATCH_TICK_MS */
    SS_CONNECTION_ENDED,     /* the other side ended it; tried again each SS_WATCH_TICK_MS */
    SS_CONNECTION_ASKED,     /* the greeting is sent; there is no answer yet */
    SS_CONNECTION_HELD,      /* the first answer is no error: the lock is ours */
    SS_CONNECTION_HEARD      /* something was received that Python has to see */
};

extern uint32_t ss_connection_now; /* atomic; enum ss_connection_state; the status page has its address */

/* How many received bytes wait for Python at most; a peer that sends more loses the connection. */
#define SS_CONNECTION_KEPT 65536

/* malloc'ed; owned by the room once set. `path` NULL: no connection; one that begins with @ is abstract. `varlink`: messages
   end in a NUL, and the answer to the first is of interest only if it is an error; else every byte is. */
typedef struct {
    char *path;
    unsigned char *greeting;
    size_t greeting_size;
    bool varlink;
} ss_connection_plan;

/* Takes over the plan and its memory. With the watcher's control lock held, while no watcher runs. */
void ss_connection_set(const ss_connection_plan *plan);

/* Has the next ss_connection_close() send these bytes first, and wait a second at most for an answer. NULL: it sends none. With
   the watcher's control lock held; a watcher may run. `bytes` stay the caller's, who sets NULL before they go. */
void ss_connection_set_farewell(const unsigned char *bytes, size_t size);

bool ss_connection_wanted(void);

/* Is there a connection as this plan wants it, or is the watcher about to open one? If so the plan's memory is freed, for
   nobody needs it. With the watcher's control lock held. */
bool ss_connection_stands(const ss_connection_plan *given);

/* Is another attempt to be made after a while? */
bool ss_connection_again(void);

/* Connects and sends the greeting. Returns the descriptor, or -1 and the state tells why. The watcher alone, in a table of its
   own. */
int ss_connection_open(void);

/* Notes that there is no connection: `error` is an errno that says why, or 0 if none is wanted. Called by the watcher, or while
   there is none. */
void ss_connection_fail(int error);

/* Reads what is there. Returns whether Python has to see it. *ret_ended: the connection is over, and the caller closes it. The
   watcher alone. */
bool ss_connection_read(int fd, bool *ret_ended);

/* Closes the connection and the descriptors that were passed on it: those are logind's locks, which it gives up so. The watcher
   alone. */
void ss_connection_close(int fd);

/* Any thread; no lock but this room's. `ret_error`: for SS_CONNECTION_FAILED; may be NULL. */
enum ss_connection_state ss_connection_inspect(int *ret_error);

/* Moves up to `size` received bytes to `out`; returns how many. Any thread. If the connection ended meanwhile, the state
   becomes SS_CONNECTION_ENDED when the last byte was taken, not before: what was received last is seen first. */
size_t ss_connection_take(unsigned char *out, size_t size);

/* The fork handlers of watcher.c. A child has no connection, and knows that nothing was heard. */
void ss_connection_before_fork(void);
void ss_connection_after_fork_in_parent(void);
void ss_connection_after_fork_in_child(void);

#endif
