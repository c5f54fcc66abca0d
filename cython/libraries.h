/* Which shared objects are loaded, for the rooms that guard libraries (openssl, sqlite). */
#ifndef SNAPSAFE_LIBRARIES_H
#define SNAPSAFE_LIBRARIES_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How often a shared object was loaded or unloaded since the process began. Takes the loader's lock for a moment. */
uint64_t ss_libraries_count(void);

/* True where that moved since the last call, at the first one, and after ss_libraries_look_again(). */
bool ss_libraries_changed(void);
void ss_libraries_look_again(void);

/* Which objects a room has looked at. {0}: none. The loader appends what comes, so that these are the first ones until an object
   goes. */
typedef struct {
    uint64_t subs;
    int objects;
} ss_libraries_mark;

/* Calls visit(path, handle) for every loaded object beyond `mark`, which it moves, that defines `symbol` for others, whatever the
   name of its file; the visitor closes `handle`, of dlopen(3). They are found by the objects' own hash tables, in memory. The
   caller has `mark` to itself. Any thread; without the loader's lock while it visits. What was loaded into another namespace
   (dlmopen(3)) is not seen. */
void ss_libraries_visit(const char *symbol, ss_libraries_mark *mark, void (*visit)(const char *path, void *handle));

/* The same for every object that defines the symbol or asks for it. By then each has been relocated: its handle is had under the
   loader's lock. */
void ss_libraries_visit_users(const char *symbol, ss_libraries_mark *mark, void (*visit)(const char *path, void *handle));

/* Calls visit(slot, read_only, context) for every word of this object that the loader fills with the symbol's address;
   `read_only`: the loader has write-protected its page (PT_GNU_RELRO). Any thread; under the loader's lock. */
void ss_libraries_slots(void *handle, const char *symbol, void (*visit)(void **slot, bool read_only, void *context), void *context);

/* Where a room keeps what it knows of each library, for the status page. `state`, `failing`, `path`: offsets in an entry. */
typedef struct {
    uint64_t address;
    uint32_t entry, count;       /* bytes of an entry; how many there are */
    uint32_t state, failing;     /* ints; UINT32_MAX where the room has no such thing */
    uint32_t path;               /* char[PATH_MAX] */
    uint32_t seam;               /* uint64_t[2]: a word in the library, or 0, and what it holds while the guard is in place;
                                    UINT32_MAX where the room has no such thing */
} ss_library_table;

/* The part of this type that has the address, of an object that dl_iterate_phdr(3) shows; NULL where it has none. */
static inline const ElfW(Phdr) *ss_libraries_part(const struct dl_phdr_info *info, uint32_t type, uintptr_t address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == type && address - (info->dlpi_addr + part->p_vaddr) < part->p_memsz)
            return part;
    }
    return NULL;
}

/* The address of the one word, in what the library of `symbol` may write to, that holds `value`; 0 where there is none, or
   more than one. Any thread, without the loader's lock. */
uint64_t ss_libraries_find_word(const void *symbol, uint64_t value);

/* The size of what the library that has this code calls `symbol`; 0 where it defines none. Any thread, as above. */
size_t ss_libraries_symbol_size(const void *code, const char *symbol);

/* Writes to `out`, of PATH_MAX bytes, the path of the library whose `symbol` a loaded shared object calls: its own, or one that
   it is linked with. `object` is its path; NULL: the program itself. Returns a handle of `object` (dlopen(3)) by which the
   library's symbols are found; NULL where neither has the symbol. Any thread, without the loader's lock. */
void *ss_libraries_open(const char *object, const char *symbol, char *out);

/* The same for the path alone. */
bool ss_libraries_provider(const char *object, const char *symbol, char *out);

#endif
