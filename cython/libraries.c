#define _GNU_SOURCE 1
#include "libraries.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
    /* Both count since the process began (dl_iterate_phdr(3)); the same in every entry. */
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs)
        *(uint64_t *)data = info->dlpi_adds + info->dlpi_subs;
    return 1;
}

uint64_t ss_libraries_count(void)
{
    uint64_t now = 0;
    (void)dl_iterate_phdr(count, &now);
    return now;
}

static uint64_t seen; /* atomic */

bool ss_libraries_changed(void)
{
    uint64_t now = ss_libraries_count();
    return __atomic_exchange_n(&seen, now, __ATOMIC_ACQ_REL) != now;
}

void ss_libraries_look_again(void) { __atomic_store_n(&seen, 0, __ATOMIC_RELEASE); }

/* ---- who defines a symbol ---- */

/* What the dynamic section of an object leads to. */
typedef struct {
    const ElfW(Sym) *symbols;
    const char *names;
    const uint32_t *gnu, *old; /* DT_GNU_HASH, DT_HASH: one of them at least */
    const ElfW(Rela) *calls, *data;        /* DT_JMPREL, DT_RELA */
    size_t call_size, data_size, relative; /* in bytes; DT_RELACOUNT */
} tables;

static tables tables_of(const struct dl_phdr_info *info)
{
    const ElfW(Dyn) *entry = NULL;
    tables found = {0};
    for (int i = 0; i < info->dlpi_phnum && !entry; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        /* glibc has added the object's base to what its dynamic section holds; musl has not, nor the kernel in the vDSO. */
        ElfW(Addr) base = entry->d_un.d_ptr < info->dlpi_addr ? info->dlpi_addr : 0;
        const void *target = (const void *)(base + entry->d_un.d_ptr);
        if (entry->d_tag == DT_SYMTAB)
            found.symbols = target;
        else if (entry->d_tag == DT_STRTAB)
            found.names = target;
        else if (entry->d_tag == DT_GNU_HASH)
            found.gnu = target;
        else if (entry->d_tag == DT_HASH)
            found.old = target;
        else if (entry->d_tag == DT_JMPREL)
            found.calls = target;
        else if (entry->d_tag == DT_RELA)
            found.data = target;
        else if (entry->d_tag == DT_PLTRELSZ)
            found.call_size = entry->d_un.d_val;
        else if (entry->d_tag == DT_RELASZ)
            found.data_size = entry->d_un.d_val;
        else if (entry->d_tag == DT_RELACOUNT)
            found.relative = entry->d_un.d_val;
    }
    return found;
}

static bool is_it(const tables *in, uint32_t index, const char *name)
{
    const ElfW(Sym) *symbol = &in->symbols[index];
    return symbol->st_shndx != SHN_UNDEF && strcmp(in->names + symbol->st_name, name) == 0;
}

/* The symbol that the object defines, NULL for none. `hash`: gnu_hash() of the name. */
static const ElfW(Sym) *defined(const struct dl_phdr_info *info, const char *name, uint32_t hash)
{
    const unsigned bits = 8 * sizeof(ElfW(Addr));
    tables in = tables_of(info);
    if (!in.symbols || !in.names)
        return NULL;
    if (in.gnu) {
        uint32_t buckets = in.gnu[0], first = in.gnu[1], words = in.gnu[2], shift = in.gnu[3];
        const ElfW(Addr) *bloom = (const ElfW(Addr) *)(in.gnu + 4);
        const uint32_t *bucket = (const uint32_t *)(bloom + words), *chain = bucket + buckets;
        if (!buckets || !words)
            return NULL;
        ElfW(Addr) word = bloom[hash / bits % words];
        if (!(word >> hash % bits & word >> (hash >> shift) % bits & 1))
            return NULL;
        uint32_t index = bucket[hash % buckets];
        for (; index >= first; index++) {
            uint32_t one = chain[index - first];
            if ((one | 1) == (hash | 1) && is_it(&in, index, name))
                return &in.symbols[index];
            if (one & 1)
                return NULL;
        }
        return NULL;
    }
    for (uint32_t index = 1; in.old && index < in.old[1]; index++)
        if (is_it(&in, index, name))
            return &in.symbols[index];
    return NULL;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* The index of the symbol in an object that defines it or asks for it; 0 where it does neither. */
static uint32_t named(const struct dl_phdr_info *info, const char *name, uint32_t hash)
{
    const ElfW(Sym) *symbol = defined(info, name, hash);
    tables in = tables_of(info);
    if (symbol)
        return (uint32_t)(symbol - in.symbols);
    /* What it only asks for is in no bucket of DT_GNU_HASH: it stands before all that is. */
    const uint32_t end = !in.symbols || !in.names ? 0 : in.gnu ? in.gnu[1] : in.old ? in.old[1] : 0;
    for (uint32_t index = 1; index < end; index++)
        if (strcmp(in.names + in.symbols[index].st_name, name) == 0)
            return index;
    return 0;
}

static bool defines(const struct dl_phdr_info *info, const char *name, uint32_t hash) { return defined(info, name, hash) != NULL; }
static bool names(const struct dl_phdr_info *info, const char *name, uint32_t hash) { return named(info, name, hash) != 0; }

#define MATCHES_MAX 32

struct matches {
    const char *symbol;
    uint32_t hash;
    bool (*is)(const struct dl_phdr_info *info, const char *symbol, uint32_t hash);
    ss_libraries_mark mark;
    int index, count, kept;
    char (*paths)[PATH_MAX]; /* NULL while they are counted */
};

static int match(struct dl_phdr_info *info, size_t size, void *data)
{
    struct matches *matches = data;
    (void)size;
    if (info->dlpi_subs != matches->mark.subs)
        matches->mark = (ss_libraries_mark){.subs = info->dlpi_subs};
    if (matches->index++ < matches->mark.objects || !matches->is(info, matches->symbol, matches->hash))
        return 0;
    matches->count++;
    if (matches->paths && matches->kept < MATCHES_MAX && strlen(info->dlpi_name) < PATH_MAX)
        strcpy(matches->paths[matches->kept++], info->dlpi_name);
    return 0;
}

static void visit_all(struct matches matches, ss_libraries_mark *mark, void (*visit)(const char *path, void *handle))
{
    /* Collected first: the loader's lock is held inside dl_iterate_phdr, and what visits calls into the library. Not on the
       stack: this runs in threads with small ones. */
    matches.hash = gnu_hash(matches.symbol);
    matches.mark = *mark;
    (void)dl_iterate_phdr(match, &matches);
    if (matches.count) {
        matches.paths = malloc(MATCHES_MAX * sizeof *matches.paths);
        if (!matches.paths)
            return; /* looked at again next time */
        matches.index = 0;
        (void)dl_iterate_phdr(match, &matches);
    }
    *mark = (ss_libraries_mark){.subs = matches.mark.subs, .objects = matches.index};
    for (int i = 0; i < matches.kept; i++) {
        char *path = matches.paths[i];
        /* The program itself has no name there. */
        void *handle = dlopen(*path ? path : NULL, RTLD_LAZY | RTLD_NOLOAD);
        ssize_t length = *path ? 0 : readlink("/proc/self/exe", path, PATH_MAX - 1);
        if (length > 0)
            path[length] = '\0';
        if (handle)
            visit(path, handle);
    }
    free(matches.paths);
}

void ss_libraries_visit(const char *symbol, ss_libraries_mark *mark, void (*visit)(const char *path, void *handle))
{
    visit_all((struct matches){.symbol = symbol, .is = defines}, mark, visit);
}

void ss_libraries_visit_users(const char *symbol, ss_libraries_mark *mark, void (*visit)(const char *path, void *handle))
{
    visit_all((struct matches){.symbol = symbol, .is = names}, mark, visit);
}

/* ---- by which words an object reaches a symbol ---- */

#ifdef __x86_64__
enum { JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT, ABSOLUTE = R_X86_64_64 };
#else
enum { JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT, ABSOLUTE = R_AARCH64_ABS64 };
#endif

struct reached {
    const ElfW(Dyn) *dynamic;
    const char *symbol;
    void (*visit)(void **slot, bool read_only, void *context);
    void *context;
};

/* As the loader protects it: whole pages, after it has relocated the object. */
static bool is_protected(const struct dl_phdr_info *info, uintptr_t address)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_GNU_RELRO && address >= (begin & -page) && address < ((begin + part->p_memsz) & -page))
            return true;
    }
    return false;
}

static void reach(const struct reached *reached, const struct dl_phdr_info *info, const ElfW(Rela) *entry, size_t count,
                  uint32_t index)
{
    for (size_t i = 0; entry && i < count; i++, entry++) {
        const unsigned type = ELF64_R_TYPE(entry->r_info);
        if (ELF64_R_SYM(entry->r_info) != index || entry->r_addend ||
            (type != JUMP_SLOT && type != GLOB_DAT && type != ABSOLUTE))
            continue;
        const uintptr_t at = info->dlpi_addr + entry->r_offset;
        reached->visit((void **)at, is_protected(info, at), reached->context);
    }
}

static int reach_object(struct dl_phdr_info *info, size_t size, void *data)
{
    const struct reached *reached = data;
    (void)size;
    if (!ss_libraries_part(info, PT_DYNAMIC, (uintptr_t)reached->dynamic))
        return 0;
    const tables in = tables_of(info);
    const uint32_t index = named(info, reached->symbol, gnu_hash(reached->symbol));
    if (index) {
        const size_t data_count = in.data_size / sizeof *in.data, skipped = in.relative < data_count ? in.relative : data_count;
        reach(reached, info, in.calls, in.call_size / sizeof *in.calls, index);
        reach(reached, info, in.data ? in.data + skipped : NULL, data_count - skipped, index);
    }
    return 1;
}

void ss_libraries_slots(void *handle, const char *symbol, void (*visit)(void **slot, bool read_only, void *context), void *context)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map->l_ld)
        return;
    struct reached reached = {map->l_ld, symbol, visit, context};
    (void)dl_iterate_phdr(reach_object, &reached);
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

static int search_words(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    (void)size;
    if (!ss_libraries_part(info, PT_LOAD, (uintptr_t)search->symbol))
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

struct sized {
    const void *code;
    const char *symbol;
    size_t size;
};

static int measure(struct dl_phdr_info *info, size_t size, void *data)
{
    struct sized *sized = data;
    (void)size;
    if (!ss_libraries_part(info, PT_LOAD, (uintptr_t)sized->code))
        return 0;
    const ElfW(Sym) *symbol = defined(info, sized->symbol, gnu_hash(sized->symbol));
    sized->size = symbol ? symbol->st_size : 0;
    return 1;
}

size_t ss_libraries_symbol_size(const void *code, const char *symbol)
{
    struct sized sized = {code, symbol, 0};
    (void)dl_iterate_phdr(measure, &sized);
    return sized.size;
}
