# The start room: what every start of an interpreter pays, in one call: the sources, the guards of C, the finder, the
# status page. It does the ordinary start alone. Where a variable asks for more, or somebody else has to open a device,
# start() changes nothing and says so; then Python activates (snapsafe_rt/activation.py).
#
# All of it needs the GIL, or to be attached, and runs in the main interpreter: start() before there are other threads;
# what activates and deactivates later with the activation's lock (snapsafe_rt/state.py). The text of the status page
# has a lock of its own.

cdef extern from *:
    """
    #include <fcntl.h>
    #include <time.h>
    #include <unistd.h>
    extern char **environ;
    /* build_facts.py takes them from settings.py and guards/table.py, which own them. */
    #if !defined(SS_VERSION) || !defined(SS_DEFAULT_SOURCES) || !defined(SS_MANAGER)
    #error "build_facts.py defines these"
    #endif
    #define SS_START_MAX 8

    typedef struct {
        int kind, slot, status, error;
        char *path;
    } ss_start_candidate;

    /* What start() found, so that Python can go on from there; a count of -1: Python activated this process, or nobody
       did. With the GIL, by the main interpreter alone. */
    static ss_start_candidate ss_started[SS_START_MAX];
    static int ss_started_count = -1;

    /* Asks a variable that the plain start does not know for anything? SNAPSAFE=1 is the default. */
    static int ss_start_is_asked_for_more(void)
    {
        for (char **entry = environ; entry && *entry; entry++) {
            const char *name = *entry;
            if (!strncmp(name, "LISTEN_FDNAMES=", 15))
                return 1;
            if (strncmp(name, "SNAPSAFE", 8))
                continue;
            const char *value = strchr(name, '=');
            if (!value || !value[1] || !strncmp(name, "SNAPSAFE_SOURCES=", 17) || !strcmp(name, "SNAPSAFE=1"))
                continue;
            return 1;
        }
        return 0;
    }

    static int ss_start_blank(char c) { return c == ' ' || (c >= '\\t' && c <= '\\r'); }

    /* Splits a list of sources. Returns how many there are, or -1 for what only snapsafe_rt.source.selection judges. */
    static int ss_start_parse(const char *text, ss_start_candidate *found)
    {
        static const char *const kinds[] = {"vmclock:", "sysgenid:"};
        int count = 0;
        while (*text) {
            const char *end = strchrnul(text, ','), *last = end;
            while (text < last && ss_start_blank(*text))
                text++;
            while (last > text && ss_start_blank(last[-1]))
                last--;
            if (text < last) {
                int kind = -1;
                if (!strncmp(text, kinds[0], strlen(kinds[0])))
                    kind = SS_KIND_VMCLOCK;
                else if (!strncmp(text, kinds[1], strlen(kinds[1])))
                    kind = SS_KIND_SYSGENID;
                if (kind < 0 || count == SS_START_MAX)
                    return -1;
                text += strlen(kinds[kind]);
                if (text >= last || *text != '/')
                    return -1;
                found[count].path = strndup(text, (size_t)(last - text));
                if (!found[count].path)
                    return -1;
                found[count++].kind = kind;
            }
            text = *end ? end + 1 : end;
        }
        return count ? count : -1;
    }

    static long long ss_start_now_us(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
    }

    static int ss_start_manager_is_there(void) { return access(SS_MANAGER, F_OK) == 0; }
    """
    ctypedef struct ss_start_candidate:
        int kind, slot, status, error
        char* path
    enum: SS_START_MAX
    ss_start_candidate ss_started[SS_START_MAX]
    int ss_started_count
    const char* SS_VERSION
    const char* SS_DEFAULT_SOURCES
    const char* SS_WATCHED_MODULES
    bint ss_start_is_asked_for_more() noexcept
    int ss_start_parse(const char*, ss_start_candidate*) noexcept
    long long ss_start_now_us() noexcept
    bint ss_start_manager_is_there() noexcept
    const char* Py_GetVersion() noexcept
    char* getenv(const char*) noexcept

cdef int rank_of(int index) noexcept:
    cdef ss_source* source = ss_source_at(index)
    return (source.word - 1) if source.device else 2


cdef str ss_kind_word(int kind):
    return "vmclock" if kind == SS_KIND_VMCLOCK else "sysgenid"


cdef bint is_barred(ss_start_candidate* one) noexcept:
    return one.status != 0 and strncmp(one.path, "/dev/", 5) == 0 and strncmp(one.path, "/dev/shm/", 9) != 0


# Maps what can be mapped. Returns the slot of the best, -1 for none, or -2 where somebody may have opened a device for
# this process.
cdef int choose_source() noexcept:
    cdef int i, best = -1, file = -1
    cdef bint barred = False
    for i in range(ss_started_count):
        ss_started[i].slot = -1
        with nogil:
            ss_started[i].status = ss_source_map(ss_started[i].kind, ss_started[i].path, &ss_started[i].slot,
                                                 &ss_started[i].error)
        if ss_started[i].status:
            barred |= is_barred(&ss_started[i])
        elif ss_source_at(ss_started[i].slot).lost:
            ss_started[i].status = SS_SOURCE_LOST
        else:
            if best < 0 or rank_of(ss_started[i].slot) < rank_of(best):
                best = ss_started[i].slot
            if file < 0 and rank_of(ss_started[i].slot) == 2:
                file = ss_started[i].slot
    if barred and (best < 0 or rank_of(best) != 0) and ss_start_manager_is_there():
        return -2
    ss_epoch_set_attestor(file)
    return best


cdef void forget_start() noexcept:
    global ss_started_count
    cdef int i
    for i in range(SS_START_MAX):
        free(ss_started[i].path)
        ss_started[i].path = NULL
    ss_started_count = -1


def start(str root not None, /):
    """Activate this process, if that takes nothing but what is done here. Returns whether it did; else Python does.

    `root`: the folder of the package that this core is of. `import snapsafe_rt` finds that one from here on, whatever
    sys.path says later.
    """
    global ss_started_count, _root, _sources
    cdef int count, slot
    cdef bint named
    cdef const char* text = getenv("SNAPSAFE_SOURCES")
    import sys
    if not ss_in_main_interpreter():
        return False
    if is_active():
        # A virtual environment runs a .pth twice.
        return _root is not None and _finder in sys.meta_path
    if sys.flags.ignore_environment or ss_start_is_asked_for_more():
        return False
    named = text != NULL and text[0] != 0
    if not named:
        text = SS_DEFAULT_SOURCES
    count = ss_start_parse(text, ss_started)
    ss_started_count = max(count, 0)
    slot = choose_source() if count > 0 else -2
    if slot == -2:
        forget_start()
        return False
    try:
        _sources = PyUnicode_DecodeFSDefault(text) if named else ""
        _failed[:] = install(False)
        raise_fence()
        with nogil:
            ss_epoch_watch(slot, True)
        _root = root
        install_finder()
        register_fork()
        _page.clear()
        level = "guarded" if guarded("posix.urandom") and guarded("posix.getrandom") else "unprotected"
        _page["site"] = own_sites()
        _page["row"] = [("os", level, "", "0", "0" if _page["site"] else "1")]
        looked(False)
        _page["source"] = source_lines()
        if _sources:
            _page["setting"] = [("SNAPSAFE_SOURCES", _sources)]
        page_header(True, "")
        for name in _watched:
            if name in sys.modules:
                import_guards()  # which guards what came before
                break
    except BaseException:  # it is half done, and undone: Python does all of it
        with nogil:
            ss_epoch_watch(-1, True)
        remove()
        remove_finder()
        _page.clear()
        page_header(False, "its start failed")
        raise
    return True


def started():
    """What start() did: (list of (kind, path, slot, status, errno), list of what could not be guarded, SNAPSAFE_SOURCES
    as it was or ""); None if Python activated this process, or nobody did."""
    if ss_started_count < 0:
        return None
    found = [(ss_kind_word(ss_started[i].kind), PyUnicode_DecodeFSDefault(ss_started[i].path), ss_started[i].slot,
              ss_source_word(ss_started[i].status), ss_started[i].error) for i in range(ss_started_count)]
    return found, list(_failed), _sources


# ---- the package, imported when the first module of the table is ----

_watched = frozenset(SS_WATCHED_MODULES.decode().split(","))
_failed = []
_root = None
_sources = ""

cdef object import_guards():
    import sys
    __import__("snapsafe_rt.activation")  # which brings the rooms together
    return sys.modules["snapsafe_rt.guards.table"]


# Called by the guards of exec() and of _imp (loading.pxi), unobserved by what the program measures itself with.
def executed(str name not None, dict names not None, /):
    """A module was executed that the table calls `name`, whatever it was imported as; `names` are its globals."""
    if not _listening:
        return
    try:
        import_guards().executed(name, names)
    except Exception as error:  # the package may not be read any more since the program dropped its privileges
        why = f"imported while snapsafe_rt could not be ({type(error).__name__}: {error})"
        page_add("row", (name, "unprotected", why, "0", "0"))


cdef object package_spec():
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import SourceFileLoader
    path = _root + "/__init__.py"
    spec = ModuleSpec("snapsafe_rt", SourceFileLoader("snapsafe_rt", path), origin=path, is_package=True)
    spec.submodule_search_locations = [_root]
    spec.has_location = True
    return spec


@cython.final
cdef class Finder:
    """At the head of sys.meta_path: finds the package that the core is of, and nothing else."""

    def find_spec(self, name, path=None, target=None):
        if name == "snapsafe_rt" and _root is not None:
            return package_spec()
        return None


_finder = Finder()
_listening = False


def install_finder():
    """Find the package; and learn of executed modules (executed())."""
    global _listening
    import sys
    _listening = True
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def remove_finder():
    global _listening
    import sys
    _listening = False
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def watched_modules():
    """The names of the modules whose execution the table wants to be told of."""
    return _watched


def watch_modules(names, /):
    """The table has these now. Another set than the core was built with: a line was added since."""
    global _watched
    _watched = frozenset(names)
    ss_watch_names(",".join(sorted(_watched)).encode())


# ---- fork ----

_forked = None
_fork_registered = False


def register_fork():
    """Have after_fork() called in children. It cannot be taken out again, only idle."""
    global _fork_registered
    if not _fork_registered:
        from posix import register_at_fork
        register_at_fork(before=fork_begins, after_in_parent=fork_is_over, after_in_child=after_fork)
        _fork_registered = True


def fork_begins():
    global ss_before_fork
    ss_before_fork = True


def fork_is_over():
    global ss_before_fork
    ss_before_fork = False


def on_fork(function, /):
    """Call `function` in a child that goes on with the same program."""
    global _forked
    _forked = function


def after_fork():
    """In a child just forked. It may live where a source is that its parent could not see."""
    cdef int slot
    fork_is_over()
    ss_store_int(&ss_event_states, ss_in_event)
    if ss_forking == 2:
        return  # it is about to become another program
    if _forked is not None:
        _forked()
    elif ss_started_count > 0 and inspect_epoch().source < 0:
        slot = choose_source()
        if slot == -2:  # somebody may open a device for this process, whom Python asks
            try:
                import_guards()
                __import__("snapsafe_rt.source.probe", fromlist=["probe"]).probe(True)
            except Exception as error:
                why = f"no source was looked for after a fork ({type(error).__name__}: {error})"
                page_put({"problem": [(why,)]})
        elif slot >= 0:
            with nogil:
                ss_epoch_watch(slot, False)
            _page["source"] = source_lines()
            page_write()
    if not ss_forking:
        resume_watching()  # os.fork() does that at its very end


# ---- the status page ----
#
# Text for `snapsafe status --pid`, read by snapsafe_rt/report/remote.py: lines of fields that tabs part; a backslash
# escapes tab, newline and itself. Each kind of line has one owner, who replaces it when it may have changed:
#
#     snapsafe  (here) version, Python, time of writing (s since 1970), active (0, 1), why not
#     row       (guards/table.py) name, level, sentence, 1 if the restore event must run for it, 1 if only Python can
#               tell whether it is in place
#     site      (guards/table.py, here) row, what of it, words of memory that show whether that is in place (sites.pxi)
#     library   (guards/table.py) name of a NAMED row that is loaded
#     source    (source/probe.py, here) slot (-1: not usable), rank, name, why not, who opened it if not the process
#               itself; from here also the word for why not, and errno
#     setting   (activation.py, here) name, value: what differs from the default
#     problem   (activation.py) sentence
#     event     (restore/events.py) epoch, cause, began, ended (s since 1970), callbacks run; a field for each error
#     lifecycle (snapshot/lifecycle.py) who announces snapshots, what the program is at, why it has no lock
#     snapshot  (snapshot/lifecycle.py) number, began, ended (0: not yet), what came of it, what could not be detached;
#               a field for each error
#     cut       (here) there was more than fits

_page = {}
_page_turn = object()   # its lock is held where a text is made of _page and stored, on builds without a GIL
_page_active, _page_why_not = "0", ""
_page_problem = ""


def page_put(dict kinds not None, /):
    """Replace the lines of each of these kinds, {kind: [tuple of str]}. Never raises; page_problem() says why there are
    none to be seen.

    A subinterpreter of an activated process writes nothing: the page is the process's.
    """
    cdef bint changed = False
    cdef dict page = _page
    if owned_elsewhere():
        return
    for kind, lines in kinds.items():
        with critical_section(_page_turn):
            if ss_dict_or(page, kind, []) == lines:
                continue  # how old they are is told by looked()
            changed = True
            if lines:
                page[kind] = lines
            else:
                page.pop(kind, None)
    if changed:
        page_write()


cdef void page_add(str kind, tuple line):
    cdef dict page = _page
    if owned_elsewhere():
        return
    with critical_section(_page_turn):
        page[kind] = [*ss_dict_or(page, kind, []), line]
    page_write()


def page_header(bint active, str why_not not None, /):
    """Say whether the process is active, and if not, why."""
    global _page_active, _page_why_not
    if owned_elsewhere():
        return
    _page_active, _page_why_not = "1" if active else "0", why_not
    page_write()


def page_lines(str kind not None, /):
    """What was put last."""
    return ss_dict_or(_page, kind, [])


def page_problem():
    """Why there is no page, or ""."""
    return _page_problem


cdef str escaped(str field):
    if field.isprintable() and "\\" not in field:
        return field
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


# No comprehension: where there is no memory to append, Cython 3 takes a reference too many away there.
cdef str line_of(tuple fields):
    cdef list shown = []
    for field in fields:
        shown.append(escaped(field))
    return "\t".join(shown)


# Who comes last stores what all have put; nothing between the copy of _page and the end waits or runs Python code,
# which would let others in.
cdef void page_write() noexcept:
    with critical_section(_page_turn):
        store_page()


cdef void store_page() noexcept:
    global _page_problem
    cdef Py_ssize_t end
    cdef bytes text
    cdef int error
    cdef long long now = ss_start_now_us()
    try:
        python = Py_GetVersion().split()[0].decode()
        head = ("snapsafe", SS_VERSION.decode(), f"cpython {python}", f"{now // 1000000}.{now % 1000000:06}",
                _page_active, _page_why_not)
        lines = [line_of(head)]
        for kind, entries in list(_page.items()):
            for entry in entries:
                lines.append(line_of((kind, *entry)))
        lines.append("")
        text = "\n".join(lines).encode("utf-8", "backslashreplace")
        if len(text) > SS_STATUS_PAGE_CAPACITY:
            end = text.rfind(b"\n", 0, SS_STATUS_PAGE_CAPACITY - 4) + 1
            text = text[:end] + b"cut\n"
        error = ss_status_page_store(PyBytes_AS_STRING(text), len(text), &ss_random_kept, &ss_callbacks,
                                     &ss_random_seeded)
        if error:
            raise OSError(error, "memfd_create(2) or mmap(2) was refused")
        _page_problem = ""
    except Exception as failure:
        _page_problem = f"`snapsafe status --pid` sees nothing of this process: {failure}"


# As source_lines() of snapsafe_rt/source/probe.py; the reader makes the sentence of status and errno.
cdef list source_lines():
    lines = []
    for i in range(ss_started_count):
        one = ss_started[i]
        usable = one.status == 0
        name = f"{ss_kind_word(one.kind)}:{PyUnicode_DecodeFSDefault(one.path)}"
        lines.append((str(one.slot if usable else -1), str(rank_of(one.slot) if usable else 0), name, "", "",
                      ss_source_word(one.status), str(one.error)))
    return lines
