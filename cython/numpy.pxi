# What the rooms of numpy need of random.pxi, and their seam. All else is C (numpy.h, numpy_seeds.h, numpy_room.h).

cdef extern from "numpy.h":
    const int* ss_numpy_reseed_kept

cdef extern from "numpy_seeds.h":
    bint (*ss_numpy_is_systems)(PyObject* seed, uint64_t* ret_epoch) noexcept

cdef extern from "numpy_room.h":
    object ss_numpy_make_room "ss_numpy_room"()


cdef void judge_as_random() noexcept:
    global ss_numpy_is_systems, ss_numpy_reseed_kept
    ss_numpy_is_systems = is_systems
    ss_numpy_reseed_kept = &ss_reseed_kept


def numpy_room():
    """The functions for snapsafe_rt/guards/numpy.py; numpy_room.c says what each does."""
    judge_as_random()
    return ss_numpy_make_room()
