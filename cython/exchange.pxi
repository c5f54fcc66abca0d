# What Python has of the exchange room (exchange.h).

@cython.final
cdef class Exchanged:
    """A Python function that does what another callable does, from to() until undo(). `original` does what it did."""
    cdef readonly object function, original

    def __init__(self, function not None):
        self.function = function
        self.original = ss_exchange_copy(<PyObject*>function)

    def to(self, target, /):
        """Calling the function calls `target`, positionally, defaults filled in. Raises TypeError where its signature
        does not permit that."""
        ss_exchange_begin(<PyObject*>self.function, <PyObject*>target)

    def in_place(self):
        return bool(ss_exchange_in_place(<PyObject*>self.function))

    def words(self):
        """Of memory by which another process sees the same; see sites.pxi."""
        cdef uint64_t[2] at, held
        ss_exchange_words(<PyObject*>self.function, at, held)
        return ss_word_text(at[0], held[0]) + " " + ss_word_text(at[1], held[1])

    def undo(self):
        """As before, unless somebody exchanged ours meanwhile."""
        ss_exchange_end(<PyObject*>self.function)
