"""Making a cross-attention perturbable: the one place where the method enters a model.

A *site* is an attention module whose class has been swapped, for this instance only, for a subclass that perturbs the
head-split queries before the scores. Parameters, buffers, hooks and state_dict keys stay as they are, other modules of
the same class are not touched, and while no operator is set the original forward runs. The subspace is built from the
very keys that the attention then uses, so a perturbed pass projects the keys once.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.spec import NO_SITES
from pipeline.errors import QpertError
from pipeline.method.operator import perturb
from pipeline.method.settings import Norm

OperatorOf = Callable[[str, Tensor], Tensor]
"""From a site's name and its keys [B, H, N, d] to A [B, H, d, d]. The keys depend on the photos only, so a function
that caches A by name serves any number of passes over the same photos."""


class Site(nn.Module):
    """Base of the perturbable subclasses. `forward` passes head-split queries and keys through `enhance`."""

    original: ClassVar[type[nn.Module]]
    """The class that this one replaces."""
    operator: Callable[[Tensor], Tensor] | Tensor | None = None
    """A, or a function from this site's keys to A; set by `perturbing` only."""
    query_norm: Norm = "free"
    """Whether perturbed queries keep their length; set by `perturbing` only."""
    memory: list[tuple[Tensor, Tensor]] | None = None
    """Keys and values that several passes over the same photos share; set by `remembering` only."""
    visible: Tensor | None = None
    """bool [B, N], the tokens that each row's queries may look at; set by `pipeline.encoders.masking` only."""

    @classmethod
    def check(cls, module: nn.Module) -> None:
        """Raise ValueError if `module` uses an option that the perturbed forward does not support."""

    def seen(self, project: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Head-split keys and values [B, H, N, d] from `project`, called once for all passes inside `remembering`."""
        if self.memory is None:
            return project()
        if not self.memory:
            self.memory.append(project())
        return self.memory[0]

    @property
    def untouched(self) -> bool:
        """Whether the original forward serves: the queries are not perturbed, and all tokens are visible."""
        return self.operator is None and self.visible is None

    def masked(self, given: Tensor | None, like: Tensor) -> Tensor | None:
        """`given`, the mask of the original attention (added to the scores, or True = keep), without hidden tokens.

        The result broadcasts to [B, H, Q, N]; a mask that is added has the dtype of `like`.
        """
        if self.visible is None:
            return given
        visible = self.visible[:, None, None]
        if given is not None and given.dtype == torch.bool:
            return given & visible
        hidden = torch.zeros_like(visible, dtype=like.dtype).masked_fill(~visible, -torch.inf)
        return hidden if given is None else given + hidden

    def enhance(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Perturbed queries [r B, H, Q, d], for keys [B, H, N, d]; r consecutive rows belong to one photo."""
        if self.operator is None:
            return queries
        operator = self.operator if isinstance(self.operator, Tensor) else self.operator(keys)
        if len(queries) == len(operator):
            return perturb(queries, operator, self.query_norm)
        by_photo = queries.view(len(operator), -1, *queries.shape[1:]).transpose(1, 2)
        return (
            perturb(by_photo.flatten(2, 3), operator, self.query_norm).view_as(by_photo).transpose(1, 2).flatten(0, 1)
        )


class MultiheadAttentionSite(Site, nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` used as cross-attention: batched, without masks (CoCa's pooler)."""

    original = nn.MultiheadAttention

    @classmethod
    def check(cls, module: nn.Module) -> None:  # noqa: D102
        assert isinstance(module, nn.MultiheadAttention)
        if module.bias_k is not None or module.add_zero_attn:
            raise ValueError("an nn.MultiheadAttention with add_bias_kv or add_zero_attn cannot be perturbed")

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """Attention without weights: (output, None), shapes as in nn.MultiheadAttention."""
        if self.untouched:
            return super().forward(query, key, value, *args, **kwargs)  # type: ignore[return-value]
        if args or kwargs.keys() - {"need_weights"} or kwargs.get("need_weights", True):
            raise ValueError("a perturbed nn.MultiheadAttention takes no masks and returns no weights")
        return self.attend(query, key, value), None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The perturbed output; `mask` is added to the scores, in a shape that broadcasts to [B, H, Q, N]."""
        if self._qkv_same_embed_dim:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)

        def project(number: int, x: Tensor) -> Tensor:
            # The batch comes second, as in the original, to match it bit for bit.
            x = x.transpose(0, 1) if self.batch_first else x
            return self._split(F.linear(x, weights[number], biases[number]))

        q, (k, v) = project(0, query), self.seen(lambda: (project(1, key), project(2, value)))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(self.enhance(q, k), k, v, self.masked(mask, q), dropout)
        output: Tensor = self.out_proj(attended.permute(2, 0, 1, 3).flatten(2))
        return output.transpose(0, 1) if self.batch_first else output

    def _split(self, x: Tensor) -> Tensor:
        """[N, B, H d] to [B, H, N, d]."""
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim).permute(1, 2, 0, 3)


def make_perturbable(module: nn.Module, site: type[Site]) -> None:
    """Swap the class of this one module for `site`; does nothing if that has been done already.

    Raises:
        ValueError: the module is not of the class that `site` replaces, or uses an unsupported option.
    """
    if type(module) is site:
        return
    if type(module) is not site.original:
        raise ValueError(f"{site.__name__} replaces {site.original.__name__}, not {type(module).__name__}")
    site.check(module)
    module.__class__ = site


def restore(module: nn.Module) -> None:
    """Undo `make_perturbable`."""
    if isinstance(module, Site):
        module.__class__ = module.original  # type: ignore[assignment]


def choose_sites(sites: Mapping[str, nn.Module], chosen: Sequence[str | int] | None) -> dict[str, nn.Module]:
    """The members of `sites` that `chosen` names, in their order.

    Args:
        sites: an encoder's, by name.
        chosen: names (`*` stands for anything) and numbers, see `Perturbation.sites`; None for all.

    Raises:
        QpertError: a name or number that matches no site.
    """
    if chosen and not sites:
        raise QpertError(NO_SITES)
    names = list(sites)
    kept = set(names) if chosen is None else set()
    for choice in chosen or ():
        matches = names[choice:][:1] if isinstance(choice, int) else fnmatch.filter(names, choice)
        if not matches or (isinstance(choice, int) and choice < -len(names)):
            raise QpertError(
                f"no cross-attention {choice!r} (sites); there are 0 to {len(names) - 1}: {', '.join(names)}"
            )
        kept |= {*matches}
    return {name: site for name, site in sites.items() if name in kept}


@contextmanager
def perturbing(
    sites: Mapping[str, nn.Module], operator_of: OperatorOf | Mapping[str, Tensor], norm: Norm = "free"
) -> Iterator[None]:
    """Perturb every forward pass through `sites` inside this context, and none outside it, even after an error.

    The operator is state of the modules: one thread at a time.

    Args:
        sites: the modules by name.
        operator_of: see `OperatorOf`; or A by name, computed beforehand, which compiles into one graph without the
            eigendecomposition.
        norm: see `perturb`.
    """
    try:
        for name, site in sites.items():
            if not isinstance(site, Site):
                raise ValueError(f"{name} is not perturbable: call make_perturbable on it first")
            site.operator = operator_of[name] if isinstance(operator_of, Mapping) else _bind(operator_of, name)
            site.query_norm = norm
        yield
    finally:
        for site in sites.values():
            site.__dict__.pop("operator", None)
            site.__dict__.pop("query_norm", None)


@contextmanager
def remembering(sites: Mapping[str, nn.Module]) -> Iterator[None]:
    """Project keys and values once for all perturbed passes inside this context, which must be over the same photos.

    Keys and values depend only on the image tokens, so the result of every pass is unchanged.
    """
    try:
        for site in sites.values():
            assert isinstance(site, Site)
            site.memory = []
        yield
    finally:
        for site in sites.values():
            site.__dict__.pop("memory", None)


def _bind(operator_of: OperatorOf, name: str) -> Callable[[Tensor], Tensor]:
    return lambda keys: operator_of(name, keys)
