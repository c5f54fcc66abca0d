"""torch: the generators of the CPU, checked by each operator (cython/torch.h); those of other devices by the event."""

import gc
import os
import sys

from snapsafe_rt.core import has_gil, native
from snapsafe_rt.guards.guard import Guard, is_executing, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site, Verdict

GLOBAL = (
    "the program seeded torch's default generator, which is kept: all that draws from it repeats in clones; "
    "SNAPSAFE_SEEDED=reseed renews it after a restore"
)
FOREIGN = (
    "{} generators of torch have a state that was made elsewhere, as by a file, so nobody knows whether it was chosen: "
    "they are kept and repeat in clones; make them here, or set SNAPSAFE_SEEDED=reseed"
)
# Builtins that draw, in the order of enum ss_torch_draw; a version lacks some. What is not listed is renewed before it
# draws, like all others, and not called again. tests/process/test_torch_row.py compares them with torch's own tags.
# For each: those that make what they return, or fill what they are given; those that do so without a look at a tensor's
# values; and those that multiply their input.
_NAMES = """
_cudnn_rnn _flash_attention_forward _flash_attention_forward_no_dropout_inplace _fused_dropout _sample_dirichlet
_scaled_dot_product_attention_math_for_mps _scaled_dot_product_cudnn_attention _scaled_dot_product_efficient_attention
_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _standard_gamma alpha_dropout bernoulli
bernoulli_ binomial cauchy_ dropout exponential_ feature_alpha_dropout feature_dropout geometric_ gru log_normal_ lstm
miopen_rnn multinomial native_dropout normal normal_ poisson random_ rnn_relu rnn_tanh rrelu rrelu_with_noise
scaled_dot_product_attention uniform_;
rand rand_like randint randint_like randn randn_like randperm;
alpha_dropout_ dropout_ feature_alpha_dropout_ feature_dropout_ rrelu_ rrelu_with_noise_
"""
_PURE, _CREATING, _ONCE = DRAWING = [names.split() for names in _NAMES.split(";")]
_HOLDERS = ("_VariableFunctions", "TensorBase", "_nn")
_METHODS = (  # enum ss_torch_method
    "manual_seed",
    "seed",
    "initial_seed",
    "get_state",
    "set_state",
    "clone_state",
    "__reduce__",
    "__setstate__",
)
_MARK = 0x5AFE5AFE5AFE5AFE
_LOADER = "torch.utils.data.dataloader"
_BACKENDS = ("torch.cuda", "torch.xpu")
_BUILDS = ("cuda", "hip", "xpu")  # torch.version's: None where it was built without
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")
"""Where there is one, a torch that was built for it may have generators of another device than the CPU."""


class Torch(Guard):
    """The CPU's generators are renewed by the first operator after a restore, from Python or C++; a call during which
    the generation moved is made again. One with a chosen seed is kept. CUDA's are renewed by the event."""

    name = "torch"
    covers = ("torch.rand", "initial weights", "dropout", "torch.Generator objects", "DataLoader")
    triggers = ("torch", _LOADER)
    files = ("libtorch_cpu.", "libtorch_python.")

    def __init__(self) -> None:
        self._room: Any = None
        self._names: dict[str, Any] = {}  # torch's own, as it was installed
        self._functions: dict[str, Any] = {}  # those of it that draw
        self._loader: native.Exchanged | None = None
        self._reason = ""
        self._own = (0, 0, 0, 0)  # what was counted of what this did itself

    def install(self, module: "ModuleType") -> None:
        torch = sys.modules.get("torch")
        names = names_of(torch)
        if not _is_whole(names) or (is_executing(torch) and module is not torch):
            return  # told again when it is
        if names is not self._names or self._reason:
            self._names, self._functions, self._reason = names, {}, ""
            try:
                self._install(names)
            except Exception as error:
                self.remove()
                self._names = names
                self._reason = f"torch {_version()} cannot be guarded: {error or type(error).__name__}"
                return
        self._follow_workers()

    def _install(self, names: "dict[str, Any]") -> None:
        self._room = room = native.torch_room()
        core = vars(names["_C"])
        _find_layout(room, names)
        hooks = getattr(core.get("_autograd"), "_top_saved_tensors_default_hooks", None)
        room.install(core["default_generator"], hooks)
        missed = [
            name for which, name in enumerate(_METHODS) if not room.guard_method(vars(core["Generator"])[name], which)
        ]
        for how, listed in enumerate(DRAWING):
            for name in listed:
                found = [getattr(core[holder], name, None) for holder in _HOLDERS]
                missed += [name for one in found if one is not None and not room.guard_draw(one, how)]
        if missed:
            rest = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
            raise TypeError(f"{', '.join(missed[:3])}{rest}: of an unknown kind, or exchanged by another library")
        _try_out(room, names)
        self._own = room.seen()[:4]
        if not is_executing(sys.modules.get("torch")):
            for one in _made_before(core["Generator"]):
                room.is_fresh(one)  # which makes it known: C++ alone may draw from it
        self._functions = {name: value for name, value in names.items() if name in (*_PURE, *_CREATING)}

    def _follow_workers(self) -> None:
        """The seeds of a DataLoader's workers are made of a number that is drawn here; they begin with this memory."""
        iterator = names_of(sys.modules.get(_LOADER)).get("_BaseDataLoaderIter")
        if self._loader is not None or iterator is None:
            return
        exchanged = native.Exchanged(vars(iterator)["__init__"])

        def begin(iterator: "Any", loader: "Any") -> None:
            exchanged.original(iterator, loader)
            seed: Any = getattr(iterator, "_base_seed", None)
            workers = getattr(iterator, "_num_workers", 0)
            if workers and self._note_workers(seed, workers):
                iterator._base_seed = _Seed(seed)
                iterator._base_seed.workers = workers

        exchanged.to(begin)
        self._loader = exchanged

    def _note_workers(self, seed: "Any", workers: int) -> bool:
        """False where the seed was chosen."""
        make = names_of(sys.modules.get("torch.utils.data._utils.worker")).get("_generate_state")
        states = ((number, list(make(seed, number)) if make else []) for number in range(workers))
        return all(self._room.note_worker(seed, number, state) for number, state in states)

    def drawn(self, seed: int, workers: int) -> int:
        """The seed of a DataLoader, in a worker that did not begin with the memory in which it was drawn."""
        if self._room is not None:
            self._room.note_number(seed)
            self._note_workers(seed, workers)
        return seed

    def remove(self) -> None:
        if self._loader is not None:
            self._loader.undo()
        if self._room:
            self._room.remove()
        self._names, self._functions, self._loader, self._reason = {}, {}, None, ""

    def is_loaded(self) -> bool:
        module = sys.modules.get("torch")
        return module is not None and (_is_whole(names_of(module)) or not is_executing(module))

    def protection(self) -> "Verdict":
        level, note = super().protection()
        if level != self.level:
            return level, note
        *_, kept, foreign, problems, refused = self._room.seen()
        if problems:
            return "unprotected", "there was no entropy for a state"
        if refused:
            return "unprotected", f"{refused} libraries draw past what is guarded, or from another libtorch"
        if foreign:
            return "unprotected", FOREIGN.format(foreign)
        if kept:
            return "kept", GLOBAL
        return ("refreshed", f"{note}; those of CUDA are renewed by the event") if has_devices() else (level, note)

    def displaced(self) -> str:
        if self._reason:
            return self._reason
        names = names_of(sys.modules.get("torch"))
        if not self._functions or names is not self._names:
            return "its import failed half-way, or it was imported as another object"
        name = self._room.displaced()
        if name:
            return f"{name} of torch was exchanged by another library"
        if self._loader is not None and not self._loader.in_place():
            return "the beginning of a DataLoader was exchanged by another library"
        for name, value in self._functions.items():
            if names.get(name) is not value:
                return f"torch.{name} was replaced by {who(names.get(name))}"
        return ""

    def sites(self) -> "list[Site]":
        found = [
            ("torch: ", self._room.words()),
            ("what is known of the seeds of torch", self._room.judged_words()),
            ("torch.", native.attribute_words(self._names, tuple(self._functions))),
        ]
        return found + ([("the beginning of a DataLoader", self._loader.words())] if self._loader else [])

    def note(self) -> str:
        renewed, older, kept, chosen = (now - own for now, own in zip(self._room.seen(), self._own, strict=False))
        early = f" ({older} were older than activation: seed them after it)" if older else ""
        times = f"{renewed} times a generator renewed{early}, {kept} times one kept"
        return f"{chosen} seeds chosen by the program; {times}"

    @property
    def by_event(self) -> bool:
        return has_devices()

    def refresh(self) -> None:
        """Generators of other devices: they have 64 bits of state, which is all of it."""
        if self._room is None:
            return
        modules = [names_of(sys.modules.get(name)) for name in _BACKENDS]
        made = tuple(one for names in modules for one in names.get("default_generators", ()))
        for one in self._room.others(made):
            one.manual_seed(int.from_bytes(native.entropy(8), "little"))
            self._room.renewed(one)


class _Seed(int):
    """What workers are seeded with, where nobody chose it. Pickled for one that begins with no memory of ours, it tells
    so there, if there is somebody to tell."""

    workers = 0

    def __reduce__(self) -> "Any":
        guard = f"getattr(__import__('sys').modules.get({__name__!r}), 'GUARD', None)"
        return eval, (f"getattr({guard}, 'drawn', lambda seed, workers: seed)({int(self)}, {self.workers})",)


def has_devices() -> bool:
    built = names_of(sys.modules.get("torch.version"))
    return any(map(built.get, _BUILDS)) and any(map(os.path.exists, DEVICES))


def _version() -> str:
    return str(names_of(sys.modules.get("torch")).get("__version__", "of unknown version"))


def _is_whole(names: "dict[str, Any]") -> bool:
    return all(name in names for name in ("_C", "Tensor", "Generator", "rand", "default_generator", "__version__"))


def _made_before(kind: type) -> "list[Any]":
    """Generators that are older than activation: those that Python's objects hold, and the variables of what runs."""
    held = gc.get_referents(*gc.get_objects())
    for running in sys._current_frames().values() if has_gil() else [sys._getframe()]:
        frame: Any = running
        while frame is not None:
            held += frame.f_locals.values()
            frame = frame.f_back
    # The collector does not follow what holds nothing that it follows, and a generator is nothing of that.
    held += gc.get_referents(*(one for one in held if type(one) in (dict, tuple) and not gc.is_tracked(one)))
    kinds = {one for one in {*map(type, held)} if kind in one.__mro__}
    return [one for one in held if type(one) in kinds]


def _find_layout(room: "Any", names: "dict[str, Any]") -> None:
    """Where known values lie, in generators that are made for it."""
    one = names["_C"].Generator()
    one.manual_seed(_MARK)
    value = names["empty"]((), dtype=names["float64"], device="cpu")
    value.uniform_(generator=one)
    state = one.get_state()
    room.find_layout(one, one.clone_state(), state.data_ptr(), _MARK)
    value.normal_(generator=one)
    state = one.get_state()
    room.with_normals(state.data_ptr())
    one.set_state(state)
    room.has_normals(one)


def _try_out(room: "Any", names: "dict[str, Any]") -> None:
    """What was exchanged is what is called: a generator that is made stale is renewed by a draw. Raises else."""
    default, own = names["_C"].default_generator, names["_C"].Generator()
    value = names["empty"](2, dtype=names["float32"], device="cpu")
    draws = names["_C"]._VariableFunctions
    tried = [
        (default, value.uniform_),
        (default, value.normal_),
        (default, value.random_),
        (default, lambda: draws.bernoulli(value.fill_(0.5))),
        (default, lambda: draws.dropout(value, 0.5, True)),
        (default, lambda: draws.randperm(2, device="cpu")),
        (default, lambda: draws.multinomial(value.fill_(0.5), 1)),
        (default, default.get_state),
        (own, lambda: value.uniform_(generator=own)),
        (own, value.uniform_),  # whatever is drawn from
    ]
    for generator, draw in tried:
        room.age(generator)
        draw()
        if not room.is_fresh(generator):
            raise TypeError("its operators do not call what was put in their place")


GUARD = Torch()
