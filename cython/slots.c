#define _GNU_SOURCE 1
#include "slots.h"

#include "process.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

static bool store(void **slot, void *value, bool read_only)
{
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)slot & -size);
    if (read_only && mprotect(page, size, PROT_READ | PROT_WRITE) != 0)
        return false;
    __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    if (read_only)
        (void)mprotect(page, size, PROT_READ);
    return true;
}

/* Visits take no argument, so whoever visits has this; one at a time, by `visiting`. */
static ss_slots *current;
static uint64_t visiting;

static void exchange(void **slot, bool read_only, void *context)
{
    ss_slots *slots = context;
    void *was = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    int place = 0;
    while (place < slots->count && slots->places[place].at != slot)
        place++;
    if (was == slots->to)
        return;
    if (place == SS_SLOTS_MOST || !store(slot, slots->to, read_only)) {
        slots->refused++;
        return;
    }
    slots->places[place].at = slot;
    slots->places[place].was = was;
    slots->places[place].read_only = read_only;
    if (place == slots->count)
        __atomic_store_n(&slots->count, place + 1, __ATOMIC_RELEASE);
}

static void exchange_in(const char *path, void *handle)
{
    const int before = current->count;
    void *found = dlsym(handle, current->symbol); /* in what it is linked with */
    (void)path;
    found = found ? found : dlsym(RTLD_DEFAULT, current->symbol);
    if (found != current->from) {
        current->refused += found != NULL;
        (void)dlclose(handle);
        return;
    }
    ss_libraries_slots(handle, current->symbol, exchange, current);
    if (current->count > before)
        current->places[before].handle = handle; /* which keeps it loaded */
    else
        (void)dlclose(handle);
}

bool ss_slots_exchange(ss_slots *slots)
{
    if (!ss_process_trylock(&visiting))
        return false;
    current = slots;
    ss_libraries_visit_users(slots->symbol, &slots->mark, exchange_in);
    ss_process_unlock(&visiting);
    return true;
}

bool ss_slots_restore(ss_slots *slots)
{
    if (!ss_process_trylock(&visiting))
        return false;
    for (int i = 0; i < slots->count; i++) {
        if (__atomic_load_n(slots->places[i].at, __ATOMIC_ACQUIRE) == slots->to)
            (void)store(slots->places[i].at, slots->places[i].was, slots->places[i].read_only);
        if (slots->places[i].handle)
            (void)dlclose(slots->places[i].handle);
    }
    *slots = (ss_slots){.symbol = slots->symbol, .from = slots->from, .to = slots->to};
    ss_process_unlock(&visiting);
    return true;
}
