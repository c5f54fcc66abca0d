# What the Cython rooms use of the C rooms and of CPython. Guards handle objects as raw PyObject pointers: Cython then
# emits plain C for them, without reference counting, tracebacks or module state (guard.h says why that matters).
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "compat.h":
    enum: SS_FREE_THREADED
    size_t SS_RANDOM_STATE_OFFSET, SS_RANDOM_TAG_OFFSET, SS_RANDOM_BASICSIZE
    enum: SS_RANDOM_STATE_WORDS
    bint ss_long_small(PyObject*, uint64_t*) noexcept
    bint ss_long_negative(PyObject*) noexcept
    int ss_long_to_big(PyObject*, unsigned char**, size_t*) noexcept
    PyObject* ss_long_from_little(const unsigned char*, size_t) noexcept

    object ss_dict_or(dict, object key, object otherwise)   # dict.get(), also of a dict that other threads change
    PyObject* ss_long_from_words(uint64_t high, uint64_t low) noexcept
    unsigned int ss_type_version(PyTypeObject*) noexcept
    Py_ssize_t ss_slot_offset(PyTypeObject*, PyObject*) noexcept

    # The functions of cpython.*, but on raw pointers and not followed by Cython's error handling.
    PyObject* raw_getattr "PyObject_GetAttrString"(PyObject*, const char*) noexcept
    PyObject* raw_generic_getattr "PyObject_GenericGetAttr"(PyObject*, PyObject*) noexcept
    int raw_generic_setattr "PyObject_GenericSetAttr"(PyObject*, PyObject*, PyObject*) noexcept
    PyObject* raw_long "PyLong_FromLong"(long) noexcept
    PyObject* raw_float "PyFloat_FromDouble"(double) noexcept
    bint raw_float_check "PyFloat_Check"(PyObject*) noexcept
    double raw_float_value "PyFloat_AS_DOUBLE"(PyObject*) noexcept
    PyObject* raw_call "PyObject_CallNoArgs"(PyObject*) noexcept
    int raw_setattr "PyObject_SetAttrString"(PyObject*, const char*, PyObject*) noexcept
    PyObject* raw_call_one "PyObject_CallOneArg"(PyObject*, PyObject*) noexcept
    PyObject* raw_str "PyUnicode_InternFromString"(const char*) noexcept
    PyObject* raw_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) noexcept
    char* raw_bytes_data "PyBytes_AS_STRING"(PyObject*) noexcept
    Py_ssize_t raw_bytes_size "PyBytes_GET_SIZE"(PyObject*) noexcept
    bint raw_bytes_check "PyBytes_CheckExact"(PyObject*) noexcept
    Py_ssize_t raw_refcount "Py_REFCNT"(PyObject*) noexcept
    bint raw_long_check "PyLong_Check"(PyObject*) noexcept
    bint raw_module_check "PyModule_Check"(PyObject*) noexcept
    const void* raw_module_def "PyModule_GetDef"(PyObject*) noexcept
    const char* raw_module_name "PyModule_GetName"(PyObject*) noexcept
    PyObject* raw_module_filename "PyModule_GetFilenameObject"(PyObject*) noexcept
    const char* raw_utf8 "PyUnicode_AsUTF8"(PyObject*) noexcept
    Py_ssize_t raw_tuple_size "PyTuple_GET_SIZE"(PyObject*) noexcept
    PyObject* raw_tuple_item "PyTuple_GET_ITEM"(PyObject*, Py_ssize_t) noexcept
    bint raw_callable "PyCallable_Check"(PyObject*) noexcept
    bint raw_type_check "PyType_Check"(PyObject*) noexcept
    PyObject* raw_dict_get "PyDict_GetItemWithError"(PyObject*, PyObject*) noexcept
    PyObject* raw_alloc "PyType_GenericAlloc"(PyTypeObject*, Py_ssize_t) noexcept
    void raw_error_clear "PyErr_Clear"() noexcept
    void raw_incref "Py_INCREF"(PyObject*) noexcept
    void raw_decref "Py_DECREF"(PyObject*) noexcept
    void raw_xdecref "Py_XDECREF"(PyObject*) noexcept
    PyObject* RAW_NONE "Py_None"


cdef extern from "object_lock.h":
    void ss_object_lock(PyObject* object) noexcept
    void ss_object_unlock(PyObject* object) noexcept
    int ss_object_lock_setup() noexcept


cdef extern from "source.h" nogil:
    ctypedef struct ss_source:
        uint64_t dev
        uint64_t ino
        int word
        bint device
        int lost
    enum: SS_SOURCE_LOST, SS_KIND_VMCLOCK, SS_KIND_SYSGENID
    int ss_source_map(int kind, const char* path, int* ret_index, int* ret_errno) noexcept
    int ss_source_map_fd(int kind, int fd, int* ret_index, int* ret_errno) noexcept
    int ss_source_detach(ss_source* source) noexcept
    ss_source* ss_source_at(int index) noexcept
    int ss_source_identify(ss_source* source, bint adopt) noexcept
    void ss_source_release() noexcept
    bint ss_source_root_moved() noexcept
    int ss_source_read(ss_source* source, uint64_t* ret_value) noexcept
    int ss_source_writer_gone(const char* path, const char* lock) noexcept
    ctypedef struct ss_file_words:
        uint64_t signaller, seen, reseeded, generation
    bint ss_file_attests(const ss_file_words* file, bint own, uint64_t device, uint64_t shown) noexcept
    void ss_source_release_sigbus() noexcept
    int ss_source_sigbus_state() noexcept


cdef extern from "epoch.h" nogil:
    enum: SS_DRAW_TRIES
    enum: SS_CAUSE_NOTIFIED, SS_CAUSE_SOURCE
    ctypedef struct ss_epoch_info:
        pass
    bint SS_LIKELY(bint) noexcept
    bint SS_UNLIKELY(bint) noexcept
    bint ss_watched_unchanged() noexcept
    uint64_t ss_epoch_begin() noexcept
    bint ss_epoch_unchanged(uint64_t epoch) noexcept
    void ss_epoch_inspect(ss_epoch_info* ret_info) noexcept
    uint64_t ss_epoch_advance(int cause) noexcept
    void ss_epoch_set_attestor(int index) noexcept
    void ss_epoch_watch(int index, bint certain) noexcept
    void ss_epoch_watch_since(int index, uint64_t value, int file) noexcept
    int ss_epoch_setup() noexcept


cdef extern from "process.h" nogil:
    bint ss_process_trusts(uint32_t user) noexcept
    uint64_t ss_process_token() noexcept


cdef extern from "entropy.h" nogil:
    ctypedef struct ss_entropy_info:
        pass
    int ss_entropy_fill(void* out, size_t size) noexcept
    void ss_entropy_mix_up(void* inout, size_t size) noexcept
    bint ss_entropy_stir(void* inout, size_t size) noexcept
    void ss_entropy_renew_kernel() noexcept
    void ss_entropy_raise() noexcept
    void ss_entropy_hold(bint held) noexcept
    void ss_entropy_prepare() noexcept
    bint ss_fence_down() noexcept
    bint ss_fence_up() noexcept
    void ss_entropy_inspect(ss_entropy_info* ret_info) noexcept
    int ss_entropy_host(const void* bytes, size_t size, uint64_t epoch) noexcept
    int ss_entropy_reseed_kernel(const void* bytes, size_t size, int credit) noexcept
    void ss_entropy_disable_cpu_for_testing(bint disabled) noexcept


cdef extern from "status_page.h" nogil:
    enum: SS_STATUS_PAGE_CAPACITY
    ctypedef struct ss_looked_words:
        uint64_t imports, seen_imports, seen_epoch
        int64_t seen_ns
        uint32_t each
    ss_looked_words ss_looked
    ctypedef struct ss_random_seeds:
        uint64_t global_kept, foreign
    int ss_status_page_store(const void* text, size_t size, const uint64_t* kept, const uint32_t* callbacks,
                             const ss_random_seeds* seeds) noexcept


cdef extern from "libraries.h" nogil:
    ctypedef struct ss_library_table:
        uint64_t address
        uint32_t entry, count, state, failing, path, seam
    uint64_t ss_libraries_count() noexcept
    bint ss_libraries_changed() noexcept
    void ss_libraries_look_again() noexcept
    bint ss_libraries_provider(const char* object_, const char* symbol, char* out) noexcept


cdef extern from "dict_watch.h":
    void ss_dict_watch_begin(PyObject* dict) noexcept
    void ss_dict_watch_end(PyObject* dict) noexcept
    void ss_dict_watch_forget() noexcept
    uint64_t ss_dict_watch_version(PyObject* dict) noexcept


cdef extern from "pool.h" nogil:
    void ss_pool_prepare() noexcept
    int ss_pool_take(void* out, size_t size, uint64_t epoch) noexcept
    void ss_pool_discard() noexcept
    size_t ss_pool_left() noexcept


cdef extern from "uuid_node.h" nogil:
    enum: SS_UUID_NODE_V1, SS_UUID_NODE_V6
    const uint64_t SS_UUID_NODE_UNIX_EPOCH
    ctypedef struct ss_uuid_node:
        uint64_t epoch
        uint64_t token
        uint64_t node
        uint32_t clock_seq
    ss_uuid_node* ss_uuid_node_of(uint64_t epoch) noexcept
    uint64_t ss_uuid_node_timestamp(ss_uuid_node* node, int lane, uint64_t unix_ns) noexcept


cdef extern from "provenance.h" nogil:
    void ss_provenance_note_draw(const unsigned char* bytes, size_t size, uint64_t epoch) noexcept
    ctypedef struct ss_provenance_ends:
        uint64_t head, tail
    ss_provenance_ends ss_provenance_last_uuid
    void ss_provenance_note_ends(ss_provenance_ends* last, uint64_t head, uint64_t tail) noexcept
    int ss_provenance_setup() noexcept
    void ss_provenance_prepare() noexcept
    bint ss_provenance_of_negative(const unsigned char* big, size_t size, uint64_t* ret_epoch) noexcept
    bint ss_provenance_of_number(uint64_t number, uint64_t* ret_epoch) noexcept
    void ss_provenance_note_state(const uint32_t* words, uint32_t tag) noexcept
    bint ss_provenance_of_state(const uint32_t* words, uint32_t* ret_tag) noexcept


cdef extern from "provenance_text.h" nogil:
    bint ss_provenance_of_seed(const unsigned char* big, size_t size, uint64_t* ret_epoch) noexcept
    bint ss_provenance_of_moment(uint64_t number) noexcept
    bint ss_provenance_of_moment_float(double number) noexcept


cdef extern from "connection.h" nogil:
    enum: SS_CONNECTION_KEPT
    ctypedef struct ss_connection_plan:
        char* path
        unsigned char* greeting
        size_t greeting_size
        bint varlink
    int ss_connection_inspect(int* ret_error) noexcept
    size_t ss_connection_take(unsigned char* out, size_t size) noexcept


cdef extern from "watcher.h" nogil:
    enum: SS_WATCH_ITEMS
    ctypedef struct ss_watch_item:
        char* path
        char* name
        uint32_t mask
        bint device
        bint sysgenid
        bint announcer
        uint64_t dev
        uint64_t ino
    ctypedef struct ss_watcher_info:
        pass
    int ss_watcher_plan(ss_watch_item* items, int count, bint wanted, bint (*run)(unsigned int) noexcept, int every_ms,
                        const ss_connection_plan* link, const unsigned char* farewell, size_t farewell_size) noexcept
    bint ss_watcher_lost() noexcept
    void ss_watcher_tell_lost(void (*told)() noexcept) noexcept
    void ss_watcher_pause() noexcept
    void ss_watcher_resume() noexcept
    void ss_watcher_delivered(uint64_t epoch) noexcept
    void ss_watcher_poke() noexcept
    bint ss_watcher_calling(bint begins) noexcept
    enum ss_watcher_work:
        SS_WORK_EVENT, SS_WORK_OWN
    void ss_watcher_forget() noexcept
    bint ss_watcher_quiet(ss_watcher_work work, int milliseconds) noexcept
    void ss_watcher_inspect(ss_watcher_info* ret_info) noexcept
    int ss_watcher_setup(void (*let_runner_in)() noexcept) noexcept


cdef extern from "futex.h" nogil:
    int ss_futex_wait(uint32_t* word, uint32_t seen, int64_t nanoseconds) noexcept
    void ss_futex_wake(uint32_t* word) noexcept


cdef extern from "guard.h":
    ctypedef struct ss_guard:
        pass
    # Only those that the code names; the list itself is SS_FOR_EACH_GUARD.
    enum: SS_GUARD_URANDOM, SS_GUARD_GETRANDOM, SS_GUARD_SEED, SS_GUARD_GETRANDBITS, SS_GUARD_SSL_RAND_ADD
    enum: SS_GUARD_SSL_RAND_BYTES, SS_GUARD_EXEC_DYNAMIC, SS_GUARD_CURSOR_EXECUTE, SS_GUARD_COUNT
    ss_guard* ss_guards
    ss_guard* ss_guard_stock
    PyObject* ss_call(ss_guard*, PyObject*, PyObject*) noexcept
    PyObject* ss_call_fast(ss_guard*, PyObject*, PyObject**, Py_ssize_t) noexcept
    PyObject* ss_call_keywords(ss_guard*, PyObject*, PyObject**, Py_ssize_t, PyObject*) noexcept
    int ss_guard_method(int id_, PyObject* owner) noexcept
    int ss_guard_module(const char* name, PyObject* module, PyObject* failed) noexcept
    void ss_guard_remove(int id_) noexcept
    void ss_guard_put_back(int id_) noexcept
    bint ss_guard_active(int id_) noexcept
    int ss_guarded(const char* name) noexcept
    bint ss_guard_guards(PyObject* callable) noexcept
    bint ss_guard_is(int id_, PyObject* callable) noexcept
    ctypedef struct PyMethodDef:
        void* ml_meth
    PyMethodDef* ss_definition(PyObject* callable) noexcept
    bint ss_definition_is_stock(const PyMethodDef* def_) noexcept
    const char* ss_guard_displaced_by(int id_) noexcept
    const char* ss_guard_refused_file(int id_) noexcept
    int ss_guard_group(int id_) noexcept
    char** ss_guard_refused
    bint ss_same_object(const void* first, const void* second) noexcept


cdef extern from "exchange.h":
    int ss_exchange_begin(PyObject* function, PyObject* target) except -1
    void ss_exchange_end(PyObject* function) noexcept
    bint ss_exchange_in_place(PyObject* function) noexcept
    void ss_exchange_words(PyObject* function, uint64_t* ret_at, uint64_t* ret_held) noexcept
    object ss_exchange_copy(PyObject* function)


cdef extern from "entries.h":
    pass


cdef extern from "shown.h":
    object ss_source_word(int status)
    object ss_connection_word(int state)
    object ss_openssl_word(int state)
    int ss_kind_of(const char* word) noexcept
    object ss_show_SourceState(object names, const ss_source*, uint64_t value)
    object ss_show_EpochState(object names, const ss_epoch_info*)
    object ss_show_EntropyState(object names, const ss_entropy_info*)
    object ss_show_WatcherState(object names, const ss_watcher_info*)
    int ss_prepare_shown(object names) except -1


cdef extern from *:
    """
    #define ss_load_u32(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define ss_store_u32(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define ss_load_int(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define ss_store_int(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define ss_load_u64(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define ss_store_u64(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define ss_add(p, n) ((void)__atomic_add_fetch((p), (n), __ATOMIC_RELAXED))
    #define ss_count(p) ss_add((p), 1)
    """
    uint32_t ss_load_u32(uint32_t*) noexcept nogil
    void ss_store_u32(uint32_t*, uint32_t) noexcept nogil
    int ss_load_int(int*) noexcept nogil
    void ss_store_int(int*, int) noexcept nogil
    uint64_t ss_load_u64(uint64_t*) noexcept nogil
    void ss_store_u64(uint64_t*, uint64_t) noexcept nogil
    void ss_add(uint64_t*, int) noexcept nogil
    void ss_count(uint64_t*) noexcept nogil
