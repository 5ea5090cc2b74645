"""What tuning changes of the base: low-rank updates, or whole matrices, by the name of the weight.

An adapter is merged into the base's weights when a classifier is loaded. So every engine runs a plain encoder, and
scoring costs the same with an adapter as without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

Array = NDArray[np.floating]
Weights = dict[str, NDArray[np.float32]]

_DOWN, _UP, _WHOLE = ".down", ".up", ".whole"


@dataclass(frozen=True, slots=True)
class Adapter:
    """Changes to weights W (out, in) of the base.

    `whole`: tensors that stand in W's place. `low_rank`: W + up @ down, on top of those, with down (r, in) and
    up (out, r), the scale in `up` already (Hu et al. 2022, LoRA, eq. 3). Kept as float16.
    """

    low_rank: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    whole: Mapping[str, Array] = field(default_factory=dict)

    def followed_by(self, later: Adapter) -> Adapter:
        """Both changes as one, where `later` was learned on weights with this one merged. Updates of a matrix are
        stacked: their ranks add up."""
        pairs = dict(self.low_rank)
        for name, (down, up) in later.low_rank.items():
            if name in pairs:
                down = np.concatenate([pairs[name][0], down])
                up = np.concatenate([pairs[name][1], up], axis=1)
            pairs[name] = (down, up)
        # A tensor that was learned whole has the earlier change in it.
        kept = {name: pair for name, pair in pairs.items() if name not in later.whole}
        return Adapter(kept, {**self.whole, **later.whole})

    def merged(self, base: Mapping[str, Array]) -> Weights:
        """The base's weights with these changes, float32. Raises ModelError where a change fits no weight."""
        result = {name: np.asarray(weight, np.float32) for name, weight in base.items()}
        for name, weight in self.whole.items():
            _target(result, name, weight.shape)
            result[name] = weight.astype(np.float32)
        for name, (down, up) in self.low_rank.items():
            change = up.astype(np.float32) @ down.astype(np.float32)
            result[name] = _target(result, name, change.shape) + change
        return result

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """(name, tensor) as they are stored."""
        for name, (down, up) in self.low_rank.items():
            yield name + _DOWN, down.astype(np.float16)
            yield name + _UP, up.astype(np.float16)
        for name, weight in self.whole.items():
            yield name + _WHOLE, weight.astype(np.float16)


def adapter_of(tensors: Mapping[str, Array]) -> Adapter:
    """The adapter that was stored as `tensors`. Raises ModelError when half of a pair is missing."""
    downs = {name.removesuffix(_DOWN): tensor for name, tensor in tensors.items() if name.endswith(_DOWN)}
    ups = {name.removesuffix(_UP): tensor for name, tensor in tensors.items() if name.endswith(_UP)}
    whole = {name.removesuffix(_WHOLE): tensor for name, tensor in tensors.items() if name.endswith(_WHOLE)}
    if downs.keys() != ups.keys() or 2 * len(downs) + len(whole) != len(tensors):
        raise ModelError("the adapter is damaged: its tensors do not come in pairs")
    for name, down in downs.items():
        if down.ndim != 2 or ups[name].ndim != 2 or down.shape[0] != ups[name].shape[1]:
            raise ModelError(f"the adapter is damaged: the update of {name} has shapes that do not fit together")
    return Adapter({name: (down, ups[name]) for name, down in downs.items()}, whole)


def _target(weights: Weights, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    found = weights.get(name)
    if found is None or found.shape != shape:
        raise ModelError(f"the adapter does not fit the base: it changes {name} of shape {shape}")
    return found
