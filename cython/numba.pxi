# What Python has of the numba room (numba.h): the generators of compiled functions.

cdef extern from "numba.h":
    enum: SS_NUMBA_GENERATORS
    ctypedef struct ss_numba_state:
        pass
    ctypedef ss_numba_state* (*ss_numba_get)() noexcept nogil
    ctypedef void (*ss_numba_put)(ss_numba_state*, unsigned int) noexcept nogil
    void ss_numba_install(ss_numba_get* generators, ss_numba_put seed, const int* reseed_kept) noexcept
    void ss_numba_remove() noexcept
    void* ss_numba_generator(int which) noexcept
    void* ss_numba_seed() noexcept
    bint ss_numba_seeded_as(const ss_numba_state* state) noexcept


def numba_exchange(list originals, seed=None, /):
    """Begins to renew what the functions at these addresses give: the generators of random, of numpy.random and of
    numba itself; the last one seeds. Returns the addresses of ours, for what is compiled from now on. None ends that.

    `seed(address, number)` is numba's own way to seed. Raises LookupError where it does not make of memory what we take
    for a state, and no more."""
    cdef ss_numba_get[SS_NUMBA_GENERATORS] generators
    cdef bytes memory
    cdef const char* at
    cdef int which
    if originals is None:
        ss_numba_remove()
        return None
    memory = PyBytes_FromStringAndSize(NULL, 2 * sizeof(ss_numba_state))
    at = PyBytes_AS_STRING(memory)
    memset(<void*>at, 0, 2 * sizeof(ss_numba_state))
    seed(<size_t>at, 5)
    if not ss_numba_seeded_as(<ss_numba_state*>at) or memory[sizeof(ss_numba_state):].strip(b"\0"):
        raise LookupError("this version keeps its state in another form")
    ours = []
    for which in range(SS_NUMBA_GENERATORS):
        generators[which] = <ss_numba_get><size_t>originals[which]
        ours.append(<size_t>ss_numba_generator(which))
    ss_numba_install(generators, <ss_numba_put><size_t>originals[SS_NUMBA_GENERATORS], &ss_reseed_kept)
    ours.append(<size_t>ss_numba_seed())
    return ours
