#define _GNU_SOURCE
#include "libraries.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int count_adds(struct dl_phdr_info *info, size_t size, void *data)
{
    /* dlpi_adds counts loads since the process began (dl_iterate_phdr(3)); the same in every entry. */
    *(unsigned long long *)data = size > offsetof(struct dl_phdr_info, dlpi_adds) ? info->dlpi_adds : 0;
    return 1;
}

bool ss_libraries_changed(void)
{
    static unsigned long long seen;
    unsigned long long now = 0;
    (void)dl_iterate_phdr(count_adds, &now);
    return __atomic_exchange_n(&seen, now, __ATOMIC_ACQ_REL) != now;
}

#define MATCHES_MAX 32

struct matches {
    const char *prefix;
    int count;
    char paths[MATCHES_MAX][PATH_MAX];
};

static int collect(struct dl_phdr_info *info, size_t size, void *data)
{
    struct matches *matches = data;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash ? slash + 1 : info->dlpi_name;
    if (strncmp(name, matches->prefix, strlen(matches->prefix)) == 0 && strlen(info->dlpi_name) < PATH_MAX &&
        matches->count < MATCHES_MAX)
        strcpy(matches->paths[matches->count++], info->dlpi_name);
    return 0;
}

void ss_libraries_visit(const char *prefix, void (*visit)(const char *path, void *handle))
{
    /* Collected first: the loader's lock is held inside dl_iterate_phdr, and a visitor calls dlopen. Not on the stack:
       this runs in threads with small ones. */
    struct matches *matches = malloc(sizeof *matches);
    if (!matches)
        return;
    matches->prefix = prefix;
    matches->count = 0;
    (void)dl_iterate_phdr(collect, matches);
    for (int i = 0; i < matches->count; i++) {
        void *handle = dlopen(matches->paths[i], RTLD_LAZY | RTLD_NOLOAD);
        if (handle)
            visit(matches->paths[i], handle);
    }
    free(matches);
}

void *ss_libraries_open(const char *object, const char *symbol, char *out)
{
    Dl_info info;
    void *handle = dlopen(object, RTLD_LAZY | RTLD_NOLOAD);
    void *address = handle ? dlsym(handle, symbol) : NULL;
    if (address && dladdr(address, &info) && info.dli_fname && strlen(info.dli_fname) < PATH_MAX) {
        strcpy(out, info.dli_fname);
        return handle;
    }
    if (handle)
        (void)dlclose(handle);
    return NULL;
}

bool ss_libraries_provider(const char *object, const char *symbol, char *out)
{
    void *handle = ss_libraries_open(object, symbol, out);
    return handle && dlclose(handle) == 0;
}

struct search {
    const void *symbol;
    uint64_t value, found;
    int count;
};

static bool holds(const struct dl_phdr_info *info, uintptr_t address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const uintptr_t start = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= start && address - start < part->p_memsz)
            return true;
    }
    return false;
}

static int search_words(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    (void)size;
    if (!holds(info, (uintptr_t)search->symbol))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        uintptr_t at = (info->dlpi_addr + part->p_vaddr + 7) & ~(uintptr_t)7;
        const uintptr_t end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        for (; at + 8 <= end; at += 8)
            if (__atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED) == search->value) {
                search->found = at;
                search->count++;
            }
    }
    return 1;
}

uint64_t ss_libraries_find_word(const void *symbol, uint64_t value)
{
    struct search search = {symbol, value, 0, 0};
    (void)dl_iterate_phdr(search_words, &search);
    return search.count == 1 ? search.found : 0;
}
