# What Python has of the audit room (audit.h).

cdef extern from "audit.h":
    enum ss_audit_kind:
        SS_AUDIT_UUID, SS_AUDIT_ENVIRONMENT
    ctypedef struct ss_audit_origins:
        bint (*seed_is_systems)(PyObject*) noexcept
        bint (*state_is_known)(PyObject*) noexcept
    int ss_audit_begin(const char* file, const char* library, const char* own, const char* name,
                       const ss_audit_origins*) noexcept
    void ss_audit_end() noexcept
    void ss_audit_note(const char* text, size_t size, bint last) noexcept
    object ss_audit_wrap(ss_audit_kind kind, const char* what, PyObject* target)
    object ss_audit_make(PyObject* factory)


cdef extern from *:
    """
    /* What stands in the reports; they are compared by address. */
    static const char *const ss_audit_uuids[] = {"uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid.uuid8"};
    static const char *ss_audit_uuid(const char *name)
    {
        for (size_t i = 0; i < sizeof ss_audit_uuids / sizeof *ss_audit_uuids; i++)
            if (strcmp(ss_audit_uuids[i] + strlen("uuid."), name) == 0)
                return ss_audit_uuids[i];
        return NULL;
    }
    static inline bool ss_audit_is_on(void) { return SS_LOOK(ss_audit_on); }
    static int ss_audit_is_systems(PyObject *);
    static int ss_audit_is_known(PyObject *);
    static const ss_audit_origins ss_audit_origin = {ss_audit_is_systems, ss_audit_is_known};
    """
    const char* ss_audit_uuid(const char* name) noexcept
    bint ss_audit_is_on() noexcept
    const ss_audit_origins ss_audit_origin


cdef bint audit_is_systems "ss_audit_is_systems"(PyObject* seed) noexcept:
    cdef uint64_t epoch = 0
    return is_systems(seed, &epoch)


cdef bint audit_is_known "ss_audit_is_known"(PyObject* generator) noexcept:
    cdef uint32_t[SS_RANDOM_STATE_WORDS] words
    cdef uint32_t tag
    ss_random_copy(generator, words, sizeof(words))
    return ss_provenance_of_state(words, &tag)


def audit_begin(file, str library not None, str own not None, str name not None, /):
    """Record from here on (audit.h). `file`: None for memory. Raises OSError."""
    cdef bytes path = b"" if file is None else file.encode("utf-8", "surrogateescape")
    cdef bytes first = library.encode("utf-8", "surrogateescape"), second = own.encode("utf-8", "surrogateescape")
    cdef bytes third = name.encode("utf-8", "backslashreplace")
    cdef const char* text = NULL
    if file is not None:
        text = path
    cdef int error = ss_audit_begin(text, first, second, third, &ss_audit_origin)
    if error:
        raise OSError(error, "the place for an audit's report cannot be made", file)


def audit_end():
    ss_audit_end()


def audit_note(bytes text not None, bint last, /):
    """What only Python can tell, as of now. `last`: the program is over."""
    ss_audit_note(PyBytes_AS_STRING(text), len(text), last)


def audit_wrap(str name not None, target, /):
    """What is to be called in place of `target`: that itself, unless the audit is on. `name`: a function of uuid, or
    "environment" for what reads the environment."""
    cdef bytes text = name.encode()
    cdef const char* known = ss_audit_uuid(text)
    if not ss_audit_is_on():
        return target
    if known != NULL:
        return ss_audit_wrap(SS_AUDIT_UUID, known, <PyObject*>target)
    return ss_audit_wrap(SS_AUDIT_ENVIRONMENT, "", <PyObject*>target) if name == "environment" else target


def audit_kept(generator, /):
    """Does this instance of a hooked _random.Random keep its sequence over a restore?"""
    return bool(is_kept(<PyObject*>generator))
