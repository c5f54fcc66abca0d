"""SOURCE: which words of numpy.random's types, methods and attributes are not as they were, after deactivate()."""

import ctypes
import sys

import numpy.random as r

import snapsafe_rt

HEAD = object.__basicsize__  # longer on builds without a GIL


def bytes_of():
    """The types, and of each method and attribute the definition."""
    found = {}
    for name in (
        "BitGenerator",
        "PCG64",
        "PCG64DXSM",
        "MT19937",
        "SFC64",
        "Philox",
        "SeedSequence",
        "Generator",
        "RandomState",
    ):
        cls = getattr(r, name)
        # From ob_type to tp_vectorcall; not tp_flags, tp_cache, tp_subclasses, tp_weaklist and tp_version_tag,
        # which change with each attribute that is looked up.
        words = (ctypes.c_uint64 * 51).from_address(id(cls) + HEAD - 16)[:]
        found[name] = [word for i, word in enumerate(words) if i not in (0, 21, 44, 45, 46, 48)]
        for attribute, value in vars(cls).items():
            kind = type(value).__name__
            value = getattr(value, "__wrapped__", value)
            kind = type(value).__name__
            head = HEAD if "cython" in kind else HEAD + 24
            if kind in ("method_descriptor", "getset_descriptor") or "cython_function" in kind:
                at = ctypes.c_void_p.from_address(id(value) + head).value
                found[name, attribute] = (ctypes.c_uint64 * 3).from_address(at)[:]
            elif kind == "wrapper_descriptor":
                found[name, attribute] = (ctypes.c_uint64 * 7).from_address(id(value) + HEAD - 16)[1:]
    bitgen = one.capsule and ctypes.c_uint64 * 5
    at = ctypes.pythonapi.PyCapsule_GetPointer
    at.restype, at.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found["functions"] = bitgen.from_address(at(one.capsule, b"BitGenerator"))[:]
    return found


class Sub(r.PCG64):
    pass


one = r.PCG64(4)
bytes_of()
before = bytes_of()
for _ in range(2):
    snapsafe_rt.activate([sys.argv[1]])
    assert one.ctypes
    Sub().random_raw(), r.default_rng().random()
    assert bytes_of() != before
    snapsafe_rt.deactivate()
    after = bytes_of()
    print([key for key in before if before[key] != after[key]])
    assert not [x for x in snapsafe_rt.status().rows if x.name == "numpy" and x.protection == "guarded"]
