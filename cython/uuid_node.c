#include "uuid_node.h"

#include "entropy.h"
#include "process.h"

#include <stdlib.h>

#define MULTICAST (UINT64_C(1) << 40)
#define NODE_MASK ((UINT64_C(1) << 48) - 1)

static ss_uuid_node *current; /* atomic */

/* A node that was replaced is never freed, for a thread may be stepping its timestamp. That leaks some 48 bytes with each
   restore of a process that makes such UUIDs. */
ss_uuid_node *ss_uuid_node_of(uint64_t epoch)
{
    ss_uuid_node *seen = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    uint64_t token = ss_process_token();
    while (!seen || seen->token != token || seen->epoch < epoch) {
        struct {
            uint64_t node;
            uint32_t clock_seq;
        } drawn;
        ss_uuid_node *made = calloc(1, sizeof *made);
        if (!made || ss_entropy_fill(&drawn, sizeof drawn) != 0) {
            free(made);
            return NULL;
        }
        made->epoch = epoch;
        made->token = token;
        made->node = (drawn.node & NODE_MASK) | MULTICAST;
        made->clock_seq = drawn.clock_seq & 0x3fff;
        if (__atomic_compare_exchange_n(&current, &seen, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return made;
        free(made);
    }
    return seen;
}

uint64_t ss_uuid_node_timestamp(ss_uuid_node *node, enum ss_uuid_node_lane lane, uint64_t unix_ns)
{
    uint64_t now = unix_ns / 100 + SS_UUID_NODE_UNIX_EPOCH;
    uint64_t last = __atomic_load_n(&node->last[lane], __ATOMIC_RELAXED);
    uint64_t next;
    do
        next = now > last ? now : last + 1;
    while (!__atomic_compare_exchange_n(&node->last[lane], &last, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return next;
}
