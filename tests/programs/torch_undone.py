"""SOURCE [LIBRARY]: which words of torch's types, methods and libraries, and which protections of its pages, are not as
they were, after deactivate(). LIBRARY is loaded meanwhile. And which pages may be written to while it is guarded that
may not without us."""

import ctypes
import sys

import torch

import snapsafe_rt
from snapsafe_rt.guards import table

HEAD = object.__basicsize__  # longer on builds without a GIL
METHODS = torch._C.TensorBase, torch._C._VariableFunctions, torch._C._nn, torch._C.Generator


def of_type():
    words = (ctypes.c_uint64 * 51).from_address(id(torch._C.Generator) + HEAD - 16)[:]
    # not tp_flags, tp_cache, tp_subclasses, tp_weaklist and tp_version_tag (numpy_undone.py)
    return [word for i, word in enumerate(words) if i not in (0, 21, 44, 45, 46, 48)]


def definitions():
    found = {}
    for holder in METHODS:
        for name in dir(holder):
            value = getattr(holder, name)
            head = {"method_descriptor": HEAD + 24, "builtin_function_or_method": HEAD}.get(type(value).__name__)
            if head:
                at = ctypes.c_void_p.from_address(id(value) + head).value
                found[holder, name] = (ctypes.c_uint64 * 3).from_address(at)[:]
    return found


def pages():
    """Where torch's libraries have their words, and which protection each page has."""
    found = {}
    with open("/proc/self/maps") as file:
        for line in file:
            span, protection, _, _, _, *path = line.split()
            if path and "torch" in path[0] and "x" not in protection:
                begin, end = (int(part, 16) for part in span.split("-"))
                found.update(dict.fromkeys(range(begin, end, 4096), protection))
    return found


def words(of):
    return {at: ctypes.string_at(at, 4096) for at, protection in of.items() if protection[0] == "r"}


def word(of, at):
    return of[at & -4096][at & 4095 :][:8]


def changed():
    return [name for name, was, now in (("type", *types), ("methods", *methods), ("pages", *protections)) if was != now]


torch.rand(1), torch.Generator()
held, types, methods, protections = words(pages()), [of_type()] * 2, [definitions()] * 2, [pages()] * 2
for _ in range(2):
    snapsafe_rt.activate([sys.argv[1]])
    ours = [int(part.split("=")[0], 16) for part in table.load("torch")._room.words().split()]
    slots = [at for at in ours if at & -4096 in held]
    assert len(slots) >= 2, slots
    types[1], methods[1], protections[1] = of_type(), definitions(), pages()
    assert changed() == ["type", "methods"], changed()
    torch.rand(1), torch.Generator().seed()
    snapsafe_rt.deactivate()
    types[1], methods[1], protections[1] = of_type(), definitions(), pages()
    after = words(pages())
    left = [at for at in slots if word(held, at) != word(after, at)]
    print(left, changed())
    assert not [x for x in snapsafe_rt.status().rows if x.name == "torch" and x.protection == "guarded"]
