"""Write a model's parameters for any λ in place, from two endpoints that stay in memory.

Every λ is computed from the endpoints, never from the previous λ, with the arithmetic of `dami-merge grid`:
the bits are the same. Storages do not move, so that CUDA graphs and compiled code stay valid; KV and prefix
caches become invalid. Knows no architecture and no model library: names and tensors are passed as mappings.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from dami_merge.errors import InputRefused, Problem
from dami_merge.lambdas import nearest_computable
from dami_merge.live.matching import form_problems, memory_order, name_problems, storage_of, tied
from dami_merge.tensors.interpolate import Interpolate
from dami_merge.tensors.kernels import Kernel, ManyWeights, fastest
from dami_merge.tensors.threads import cpu_workers

SLICE_ELEMENTS = 1 << 24
"""Elements computed in one step: bounds the scratch memory, and is enough to keep a GPU busy."""

_USES = 16
"""Guess of how often λ is set, to decide whether starting a compiler is worthwhile."""


@dataclass(frozen=True, slots=True)
class _Weight:
    """One storage to write: flat views of the target and both endpoints in the same order, of shape [n]."""

    name: str
    target: Tensor
    instruct: Tensor
    thinking: Tensor

    def write(self, lam: Fraction, interpolate: Interpolate) -> None:
        if not self.target.is_floating_point():
            self.target.copy_(self.instruct)
            return
        left = self.thinking if lam == 1 else self.instruct
        right = self.instruct if lam == 0 else self.thinking  # an endpoint needs no byte of the other
        for part in _slices(self.target):
            out = self.target[part]
            here = left[part].to(out.device, non_blocking=True)
            there = here if left is right else right[part].to(out.device, non_blocking=True)
            interpolate(here, there, (lam,), out.unsqueeze(0))

    def problem(self, *, allow_nonfinite: bool) -> Problem | None:
        """Return the reason why the values must not be interpolated, or None."""
        if not self.target.is_floating_point():
            if torch.equal(self.instruct, self.thinking):
                return None
            return Problem(
                "integer-differs",
                f"the {self.target.dtype} tensor {self.name!r} differs between the two models",
                "only float tensors can be interpolated: use models whose integer tensors are equal",
            )
        for side, values in (("instruct", self.instruct), ("thinking", self.thinking)):
            if not allow_nonfinite and not _finite(values):
                hint = "the checkpoint is damaged; pass allow_nonfinite=True to interpolate it anyway"
                return Problem("nonfinite", f"{self.name!r} holds NaN or Inf in {side}", hint)
        return None


class LiveModel:
    """The parameters of one model, at any λ between two endpoints.

    Not thread-safe. Do not set λ while the model computes, and drop KV and prefix caches after a change.

    Example:
        >>> parameter = torch.zeros(2)
        >>> live = LiveModel({"w": parameter}, {"w": torch.zeros(2)}, {"w": torch.ones(2)})
        >>> live.set_lambda(0.25), parameter
        (Fraction(1, 4), tensor([0.2500, 0.2500]))
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        instruct: Mapping[str, Tensor],
        thinking: Mapping[str, Tensor],
        *,
        offload: bool = False,
        allow_nonfinite: bool = False,
        kernel: Kernel | None = None,
    ) -> None:
        """Check all tensors and keep the endpoints; the parameters are not written yet.

        Args:
            parameters: Tensors to write, such as `model.state_dict()`: parameters and persistent buffers, of
                any strided dtype and shape. Two names of one storage (tied weights) are written once.
            instruct: Tensors at λ = 0, under the same names; one of several tied names is enough. Float
                tensors may have other float dtypes: the exact value is rounded once to the parameter's dtype.
                Must not be modified later.
            thinking: Tensors at λ = 1, under the same conditions as `instruct`.
            offload: Keep the endpoints in host memory, pinned if the model is on a CUDA device.
            allow_nonfinite: Accept endpoints that contain NaN or Inf.
            kernel: Implementation of the arithmetic; None uses the fastest for each device. The bits are the
                same.

        Raises:
            InputRefused: Carries all differences in names, shapes and dtypes; if there are none, all tensors
                whose values forbid an interpolation.

        Peak memory: endpoints that are already on the parameters' device are not copied; others are moved
        there (with `offload`, to the host).
        """
        groups = tied(parameters)
        problems = name_problems(groups, instruct, thinking)
        for names in groups:
            problems += form_problems(names, parameters, instruct, thinking)
        if problems:
            raise InputRefused(problems)
        taken = {storage_of(tensor) for tensor in parameters.values()}
        self._weights = [
            _weight(names, parameters, (instruct, thinking), taken, offload=offload) for names in groups
        ]
        found = [weight.problem(allow_nonfinite=allow_nonfinite) for weight in self._weights]
        if any(found):
            raise InputRefused([problem for problem in found if problem is not None])
        size_bytes = sum(weight.target.nbytes for weight in self._weights)
        devices = {weight.target.device for weight in self._weights}
        self._kernels = {
            device: kernel or fastest(device, output_bytes=_USES * size_bytes) for device in devices
        }
        self._at_once, self._singly = _together(self._weights, self._kernels)
        self._lam: Fraction | None = None

    @property
    def lam(self) -> Fraction | None:
        """The λ of the parameters; None before the first `set_lambda`, and after an interrupted one."""
        return self._lam

    def set_lambda(self, lam: str | float | Fraction) -> Fraction:
        """Write Θ(λ) = λ·thinking + (1-λ)·instruct into the parameters.

        Args:
            lam: λ as `parse_lambda` takes it: `"3/10"`, 0.3, a Fraction. A λ that a grid can hold is set
                exactly, with the grid's bits. Any other, such as the `wanted` of a route, is rounded to the
                nearest fraction with a denominator of at most 4096, by at most 1/8192.

        Returns:
            The λ that was set.

        Raises:
            LambdaError: `lam` is not a number in [0, 1]; nothing is written.

        Peak memory: about 3 MiB on a CPU, nothing with Triton; elsewhere three to four times 2^24 elements in
        float32 (0.3 GB), or in float64 for wider weights. On a GPU it may return before the work is done;
        work queued on the same stream afterwards sees the new weights.
        """
        exact = nearest_computable(lam)
        self._lam = None
        with torch.no_grad():
            inner = 0 < exact < 1
            for many in self._at_once if inner else ():
                many.write(exact)
            _write_all(self._singly if inner else self._weights, self._kernels, exact)
        self._lam = exact
        return exact


def _write_all(weights: list[_Weight], kernels: Mapping[torch.device, Kernel], lam: Fraction) -> None:
    """Write the weights one by one, or on all cores in parallel if their kernel uses only one core."""

    def write(weight: _Weight) -> None:
        weight.write(lam, kernels[weight.target.device].interpolate)

    shared: list[_Weight] = []
    others: list[_Weight] = []
    for weight in weights:
        (shared if kernels[weight.target.device].one_core else others).append(weight)
    with ThreadPoolExecutor(cpu_workers()) as pool:
        list(pool.map(write, shared))
    for weight in others:
        write(weight)


def _together(
    weights: list[_Weight], kernels: Mapping[torch.device, Kernel]
) -> tuple[list[ManyWeights], list[_Weight]]:
    """Group the weights that one launch can write, by device and dtype; return the groups and the rest."""
    groups: dict[object, list[_Weight]] = {}
    singly = []
    for weight in weights:
        many = kernels[weight.target.device].many
        if many is not None and many.takes(weight.instruct, weight.thinking, weight.target):
            groups.setdefault((weight.target.device, weight.target.dtype), []).append(weight)
        else:
            singly.append(weight)
    at_once = []
    for group in groups.values():
        many = kernels[group[0].target.device].many
        assert many is not None, "grouped weights have a kernel for many tensors"  # noqa: S101
        at_once.append(many.of([(each.instruct, each.thinking, each.target) for each in group]))
    return at_once, singly


def _weight(
    names: list[str],
    parameters: Mapping[str, Tensor],
    ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    taken: Collection[object],
    *,
    offload: bool,
) -> _Weight:
    name = next(name for name in names if name in ends[0])
    target = parameters[name].detach()
    order = memory_order(target)
    sides = [
        _resident(end[name].detach().permute(order).reshape(-1), target.device, taken, offload=offload)
        for end in ends
    ]
    return _Weight(name, target.permute(order).view(-1), sides[0], sides[1])


def _resident(flat: Tensor, device: torch.device, taken: Collection[object], *, offload: bool) -> Tensor:
    """Move an endpoint to where it will stay; copy it if the model would overwrite it."""
    resident = flat.to("cpu" if offload else device)
    if offload and device.type == "cuda":
        return resident.pin_memory()
    return resident.clone() if storage_of(resident) in taken else resident


def _slices(tensor: Tensor) -> Iterator[slice]:
    return (slice(at, at + SLICE_ELEMENTS) for at in range(0, len(tensor), SLICE_ELEMENTS))


def _finite(values: Tensor) -> bool:
    return all(bool(torch.isfinite(values[part]).all()) for part in _slices(values))
