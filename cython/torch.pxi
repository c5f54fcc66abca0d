# The seam of the rooms of torch. All else of them is C (torch.h, torch_room.h).

cdef extern from "torch.h":
    bint ss_torch_scan() noexcept nogil

cdef extern from "torch_room.h":
    object ss_torch_make_room "ss_torch_room"()


def torch_room():
    """The functions for snapsafe_rt/guards/torch.py; torch_room.c says what each does."""
    judge_as_random()
    return ss_torch_make_room()
