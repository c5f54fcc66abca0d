/* The contact room: the one connection to who announces snapshots. The watcher holds it in its table (watcher.h), where no
   program sees, closes or reuses its number; so what is said on it are bytes that Python made beforehand, and what is heard
   is kept until Python takes it. Nothing here touches a Python object or needs the GIL. */
#ifndef SNAPSAFE_CONTACT_H
#define SNAPSAFE_CONTACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ss_contact_state {
    SS_CONTACT_NONE = 0,  /* none is wanted, or the watcher did not come to it yet */
    SS_CONTACT_ABSENT,    /* nobody listens there: whoever watches the path will know when */
    SS_CONTACT_UNTRUSTED, /* who listens is neither root nor our own user */
    SS_CONTACT_FAILED,    /* an errno; tried again each SS_WATCH_TICK_MS */
    SS_CONTACT_ENDED,     /* the other side ended it; tried again as well */
    SS_CONTACT_ASKED,     /* greeted; no answer yet */
    SS_CONTACT_HELD,      /* the first answer is no error */
    SS_CONTACT_HEARD      /* there is something that Python has to see */
};

extern uint32_t ss_contact_now; /* atomic; enum ss_contact_state; the status page has its address */

/* What was received and not taken: a peer that sends more is let go of. */
#define SS_CONTACT_KEPT 65536

/* malloc'ed; owned by the room once set. `path` NULL: no connection; one that begins with @ is abstract. `varlink`: messages
   end in a NUL, and the answer to the first is of interest only if it is an error; else every byte is. */
typedef struct {
    char *path;
    unsigned char *greeting;
    size_t greeting_size;
    bool varlink;
} ss_contact_plan;

/* Takes over the plan. With the watcher's control lock held, while no watcher runs. */
void ss_contact_set(const ss_contact_plan *plan);

/* The next ss_contact_close() says these bytes first, and waits for a second at the most for an answer; NULL: it does not. As
   ss_contact_set(), but while a watcher may run; `bytes` stay the caller's, until it unsets them. */
void ss_contact_set_farewell(const unsigned char *bytes, size_t size);

bool ss_contact_wanted(void);

/* Is there a connection as this plan wants it? If so the plan is taken over, or rather freed. With the watcher's control
   lock held. */
bool ss_contact_stands(const ss_contact_plan *given);

/* Has the last attempt to be made again after a while? */
bool ss_contact_again(void);

/* Connects and greets. The watcher alone, in a table of its own. Returns the descriptor or -1; the state tells which. */
int ss_contact_open(void);

/* There is none: `error`, an errno, says why; 0: none is wanted now. The watcher alone, or where there is none. */
void ss_contact_fail(int error);

/* Reads what is there. Returns whether Python has to see it. *ret_ended: it is over; close it. The watcher alone. */
bool ss_contact_read(int fd, bool *ret_ended);

/* Closes it, and the descriptors that were passed on it: with them a lock of logind's is let go. The watcher alone. */
void ss_contact_close(int fd);

/* Any thread; no lock but this room's. `ret_error`: for SS_CONTACT_FAILED; may be NULL. */
enum ss_contact_state ss_contact_inspect(int *ret_error);

/* Moves up to `size` received bytes to `out`. Returns how many. Any thread. With the last of them it shows whether the
   connection ended since. */
size_t ss_contact_take(unsigned char *out, size_t size);

/* The fork handlers of watcher.c. A child has no connection, and knows that nothing was heard. */
void ss_contact_before_fork(void);
void ss_contact_after_fork_in_parent(void);
void ss_contact_after_fork_in_child(void);

#endif
