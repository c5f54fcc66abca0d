/* The UUID node: who a time-based UUID says it is from, after a restore.

   RFC 9562 section 6.10: a random node with the multicast bit set stands in for a MAC address, which all clones of a
   machine share. It is drawn, with a clock sequence, for each epoch of each process; the timestamps that go with them
   only ever step forward. Nothing here touches a Python object; any thread, with or without the GIL. */
#ifndef SNAPSAFE_UUID_NODE_H
#define SNAPSAFE_UUID_NODE_H

#include <stdint.h>

/* 100 ns steps from the Gregorian calendar's beginning, 1582-10-15, to 1970 (RFC 9562 section 5.1). */
#define SS_UUID_NODE_UNIX_EPOCH UINT64_C(0x01b21dd213814000)

enum ss_uuid_node_lane { SS_UUID_NODE_V1 = 0, SS_UUID_NODE_V6, SS_UUID_NODE_LANES };

typedef struct {
    uint64_t epoch, token;
    uint64_t node;                /* 48 bits */
    uint32_t clock_seq;           /* 14 bits */
    uint64_t last[SS_UUID_NODE_LANES]; /* atomic; the last timestamp given out, for each version */
} ss_uuid_node;

/* This process's node under `epoch`, or of a newer epoch that another thread saw. It stays valid for good. NULL with errno
   set without memory or entropy. */
ss_uuid_node *ss_uuid_node_of(uint64_t epoch);

/* The timestamp for `unix_ns`, later than every one that this node gave out in this lane. */
uint64_t ss_uuid_node_timestamp(ss_uuid_node *node, enum ss_uuid_node_lane lane, uint64_t unix_ns);

#endif
