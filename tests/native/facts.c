/* What the core's headers say, and Python repeats for the case that there is no core. */
#include "shown.h"

#define NUMBERS(X) \
    X(WATCH_ITEMS) X(FENCE_SECONDS) X(FENCE_STEP_SECONDS) X(STATUS_PAGE_VERSION) X(STATUS_PAGE_TEXT) X(VMCLOCK_MAGIC) \
    X(VMCLOCK_SIZE) \
    X(VMCLOCK_OFF_SEQ) X(VMCLOCK_OFF_FLAGS) X(VMCLOCK_OFF_GENERATION) X(VMCLOCK_FLAG_GENERATION) X(FILE_OFF_RESEEDED) \
    X(FILE_OFF_FROZEN) X(FILE_OFF_MANAGED) X(FILE_OFF_SIGNALLER) X(FILE_OFF_SEEN)

/* Of what the status page leads to (status_page.h): where each field lies that is read from outside. */
#define OFFSETS(X) \
    X(ss_hot_state, word) X(ss_hot_state, mask) X(ss_hot_state, remembered) X(ss_hot_state, epoch) \
    X(ss_epoch_cold, sequence) X(ss_epoch_cold, watched) X(ss_epoch_cold, outlived) X(ss_epoch_cold, restores) \
    X(ss_epoch_cold, last_ns) X(ss_epoch_cold, last_certain) X(ss_epoch_cold, last_cause) X(ss_epoch_cold, attestor) \
    X(ss_fence_state, started_ns) X(ss_fence_state, failures) X(ss_fence_state, host_epoch) \
    X(ss_fence_state, host_size) X(ss_fence_state, host_used) X(ss_fence_state, kernel_reseeded) \
    X(ss_fence_state, cpu) X(ss_fence_state, hash) X(ss_fence_state, held) X(ss_fence_state, looked_ns) \
    X(ss_source, page) X(ss_source, length) \
    X(ss_source, kind) X(ss_source, word) X(ss_source, device) X(ss_source, detached) X(ss_source, dev) \
    X(ss_source, ino) X(ss_source, lost) X(ss_source, stuck) X(ss_source, rdev) \
    X(ss_library_table, address) X(ss_library_table, entry) X(ss_library_table, count) X(ss_library_table, state) \
    X(ss_library_table, failing) X(ss_library_table, path)

#define KINDS(X) X(cause) X(fence) X(how) X(connection) X(openssl) X(sqlite) X(kind) X(word) X(source)

/* Each function tells what stands at a place of its list, and nothing beyond its end. */
const char *number(long long *ret_number, int at)
{
    static const struct {
        const char *name;
        long long number;
    } each[] = {
#define NUMBER(name) {#name, SS_##name},
        NUMBERS(NUMBER)
#define OFFSET(type, field) {#type "." #field, offsetof(type, field)},
        OFFSETS(OFFSET)
    };
    if (at >= (int)(sizeof each / sizeof *each))
        return NULL;
    *ret_number = each[at].number;
    return each[at].name;
}

const char *word(const char *kind, int at)
{
#define KIND(name) \
    if (strcmp(kind, #name) == 0) \
        return word_of_##name(at);
    KINDS(KIND)
    return NULL;
}
