"""Random numbers for a batch that several processes may share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Draws:
    """Generators of which each serves an equal part (a shard) of every batch.

    The first dimension of everything drawn is the batch. What a shard gets depends on its generator
    alone, so that it does not matter who computes the other shards.
    """

    generators: tuple[torch.Generator, ...]

    @property
    def device(self) -> torch.device:
        """Where the numbers come to lie."""
        return self.generators[0].device

    def uniform(self, *shape: int) -> torch.Tensor:
        """Values in [0, 1)."""
        return self._join(shape, lambda part, g: torch.rand(part, generator=g, device=self.device))

    def normal(self, *shape: int) -> torch.Tensor:
        """Normal values of unit variance."""
        return self._join(shape, lambda part, g: torch.randn(part, generator=g, device=self.device))

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        """Integers from 0 to below `high`."""
        return self._join(
            shape, lambda part, g: torch.randint(0, high, part, generator=g, device=self.device)
        )

    def _join(
        self,
        shape: tuple[int, ...],
        draw: Callable[[tuple[int, ...], torch.Generator], torch.Tensor],
    ) -> torch.Tensor:
        if len(self.generators) == 1:
            return draw(shape, self.generators[0])
        part = (shape[0] // len(self.generators), *shape[1:])
        return torch.cat([draw(part, generator) for generator in self.generators])


def as_draws(generator: torch.Generator | Draws) -> Draws:
    """One generator for the whole batch, or what is there already."""
    return generator if isinstance(generator, Draws) else Draws((generator,))
