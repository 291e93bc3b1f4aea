"""Imagined Q in PyTorch: the next-note model says where a thought leads, V what that is worth.

Like ``torch.py`` it needs nothing of its own package, and the export of a critic that imagines
carries a copy of it. The model is documented at ``pgv_jax.critic.next_note``.

====  =============================================
L, M  sentences of the note, of the task
T     L + M
N, G  thoughts and goals of the step
E, K  members, known sentences
====  =============================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4
BUMPS = (0.2, 0.4, 0.6)
POOL = 3.0
NORM_EPSILON = 1e-5
NOTHING = 1e-6
ENDS = 4
MASKED = -1e9
MOST_READ = 64
"""Sentences of a note or a task that are read, the first ones."""
ABSENT, UNREAD = -1, -2
"""Where a goal stands in a note: not at all, or past the sentences that are read."""

Cut = Callable[[str], list[str]]
"""A text -> its sentences."""


class NextNote(nn.Module):
    """E next-note models side by side: names and shapes are the artifact's, constants included."""

    def __init__(self, dim: int, width: int, ensemble: int, known: int):
        super().__init__()
        features = 1 + len(BUMPS)
        kernels = {
            "part": (dim, width),
            "thought": (dim, width),
            "token": (width, width),
            "token_thought": (width, width),
            "gate": (width, width),
            "gated": (width, width),
            "cosine": (features, width),
            "attention": (width, HEADS),
            "value": (width, width),
            "context": (2 * width, width),
            "nearest": (2 * features, width),
            "gone": (2 * width, width),
            "gone_out": (width, 1),
            "plan": (width, width),
            "known": (dim, width),
            "prior": (dim, 1),
            "end": (width, width),
            "end_out": (width, ENDS),
            "part_end": (width, width),
            "part_end_out": (width, ENDS),
        }
        for name, shape in kernels.items():
            self._add(f"{name}_kernel", ensemble, *shape)
        for name in ("token", "context", "gone", "plan", "end", "part_end"):
            self._add(f"{name}_bias", ensemble, width)
        for name, size in (
            ("gone_out", 1),
            ("known", 1),
            ("end_out", ENDS),
            ("part_end_out", ENDS),
        ):
            self._add(f"{name}_bias", ensemble, size)
        self._add("field", ensemble, 2, width)
        self._add("sharpness", ensemble, HEADS)
        for name in ("note", "task", "thought"):
            self.register_buffer(f"centre_{name}", torch.empty(dim))
        for name in ("part_scale", "thought_scale"):
            self.register_buffer(f"centre_{name}", torch.empty(1))
        self.register_buffer("known", torch.empty(known, dim))

    def _add(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.empty(*shape)))

    def forward(
        self, scene: Mapping[str, Tensor], v: Callable[..., Tensor], gamma: float
    ) -> Tensor:
        """Q of one step's thoughts for its goals by each member: [E, N, G].

        ``scene`` holds ``task`` [D]; the distinct sentences of the note and of the task, the first
        64, as ``note_parts`` [L, D] and ``task_parts`` [M, D] with ``note_there`` [L] and
        ``task_there`` [M], False for padding (L and M are at least 1); ``rest`` [D], the sum over
        the note's other sentences; ``thought`` [N, D]; ``goal`` [G, D]; ``at`` [G], the goal's
        place in ``note_parts``, -1 where the note lacks it, -2 where it is in ``rest``; ``kind``
        [G], 0 for a sentence, 1 for success, 2 for failure. ``v(task, observation, goal)`` takes
        embeddings whose leading axes broadcast.
        """
        gone_ENL, ends_ENC, plan_ENH = self._imagine(scene)
        appears_ENK = self._appears(plan_ENH, self.known)
        stays_ENL = torch.where(scene["note_there"], 1 - gone_ENL, 0.0)
        next_END = _unit(stays_ENL @ scene["note_parts"] + appears_ENK @ self.known + scene["rest"])
        v_ENG = v(scene["task"], next_END[:, :, None], scene["goal"])

        at_G, kind_G = scene["at"].long(), scene["kind"].long()
        held_ENG = 1 - gone_ENL[:, :, at_G.clamp(min=0)]
        held_ENG = torch.where(at_G == UNREAD, 1.0, held_ENG)
        appears_ENG = self._appears(plan_ENH, scene["goal"])
        sentence_ENG = torch.where(at_G == ABSENT, appears_ENG, held_ENG)
        outcome_ENG = ends_ENC[:, :, kind_G.clamp(min=1)]
        p_ENG = torch.where(kind_G == 0, sentence_ENG, outcome_ENG)
        open_ENG = torch.where(kind_G == 0, 1 - p_ENG, 1.0)
        goes_on_EN1 = 1 - ends_ENC[..., 1:2] - ends_ENC[..., 2:3]
        return gamma * (p_ENG + open_ENG * goes_on_EN1 * v_ENG)

    def _imagine(self, scene: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The chances of what goes [E, N, L] and how it ends [E, N, 4], and the plan [E, N, H]."""
        count_L, there_T = scene["note_parts"].shape[0], _joined(scene, "there")
        in_task_T = torch.cat(
            [
                torch.zeros_like(scene["note_there"], dtype=torch.long),
                torch.ones_like(scene["task_there"], dtype=torch.long),
            ]
        )
        of_note_NL, of_task_NM = self._cosines(scene)
        cosine_NT = torch.cat([of_note_NL, of_task_NM], 1)
        x_ETH = _normed(self._standard(_joined(scene, "parts")) @ self.part_kernel)
        thought_ND = (scene["thought"] - self.centre_thought) / self.centre_thought_scale
        h_ENH = _normed(thought_ND @ self.thought_kernel)

        gated_ENTH = x_ETH[:, None] * (h_ENH @ self.gate_kernel)[:, :, None]
        from_thought_ENH = h_ENH @ self.token_thought_kernel + self.token_bias[:, None]
        token_ENTH = _gelu(
            (x_ETH @ self.token_kernel)[:, None]
            + from_thought_ENH[:, :, None]
            + gated_ENTH @ self.gated_kernel[:, None]
            + self.field[:, in_task_T][:, None]
            + _bumps(cosine_NT) @ self.cosine_kernel[:, None]
        )
        pooled_ENH = self._pooled(token_ENTH, cosine_NT, there_T)
        nearest_NF = torch.cat(
            [
                _bumps(of_note_NL.amax(1)),
                _bumps(of_task_NM.amax(1)),
            ],
            -1,
        )
        both_EN2H = torch.cat([_normed(pooled_ENH), h_ENH], -1)
        context_ENH = self._affine("context", both_EN2H) + nearest_NF @ self.nearest_kernel
        context_ENH = _gelu(context_ENH)

        of_token, of_context = self.gone_kernel.chunk(2, 1)
        from_context_ENH = context_ENH @ of_context + self.gone_bias[:, None]
        token_ENLH = token_ENTH[:, :, :count_L]
        gone_ENLH = _gelu(token_ENLH @ of_token[:, None] + from_context_ENH[:, :, None])
        gone_ENL = self._affine("gone_out", gone_ENLH)[..., 0].sigmoid()

        end_ENC = self._affine("end_out", _gelu(self._affine("end", context_ENH)))
        part_ENTC = POOL * self._affine("part_end_out", _gelu(self._affine("part_end", token_ENTH)))
        part_ENTC = torch.where(there_T[:, None], part_ENTC, MASKED)
        most_ENC = torch.where(there_T.any(), part_ENTC.logsumexp(2) / POOL, 0.0)
        ends_ENC = (end_ENC + most_ENC).softmax(-1)
        return gone_ENL, ends_ENC, self._affine("plan", context_ENH)

    def _pooled(self, token_ENTH: Tensor, cosine_NT: Tensor, there_T: Tensor) -> Tensor:
        """What the attention's heads read of the parts, end to end: [E, N, H]."""
        by_cosine_ENTA = cosine_NT[..., None] * self.sharpness[:, None, None]
        logit_ENTA = token_ENTH @ self.attention_kernel[:, None] + by_cosine_ENTA
        weight_ENTA = torch.where(there_T[:, None], logit_ENTA, MASKED).softmax(2)
        weight_ENTA = weight_ENTA * there_T[:, None]  # all 0 where there is nothing to read
        value_ENTAK = (token_ENTH @ self.value_kernel[:, None]).unflatten(-1, (HEADS, -1))
        return torch.einsum("enta,entak->enak", weight_ENTA, value_ENTAK).flatten(-2)

    def _appears(self, plan_ENH: Tensor, asked_KD: Tensor) -> Tensor:
        """The chances [E, N, K] that sentences appear at the next step."""
        x_KD = self._standard(asked_KD)
        meets_EKH = 4.0 / plan_ENH.shape[-1] ** 0.5 * (x_KD @ self.known_kernel)
        prior_EK = (x_KD @ self.prior_kernel)[..., 0] + self.known_bias
        return (plan_ENH @ meets_EKH.transpose(1, 2) + prior_EK[:, None]).sigmoid()

    def _cosines(self, scene: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Thoughts with parts, centred by their own fields' means: [N, L] and [N, M].

        Two products, because slices of one would bind a traced program to sizes above 1.
        """
        thought_ND = _unit(scene["thought"] - self.centre_thought)
        note_NL = thought_ND @ _unit(scene["note_parts"] - self.centre_note).T
        task_NM = thought_ND @ _unit(scene["task_parts"] - self.centre_task).T
        note_NL = torch.where(scene["note_there"], note_NL, -1.0)
        return note_NL, torch.where(scene["task_there"], task_NM, -1.0)

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.centre_note) / self.centre_part_scale

    def _affine(self, name: str, x: Tensor) -> Tensor:
        """[E, ..., H] -> [E, ..., H'] by the layer of that name."""
        middle = (1,) * (x.ndim - 3)
        kernel, bias = getattr(self, f"{name}_kernel"), getattr(self, f"{name}_bias")
        kernel = kernel.reshape((len(kernel), *middle, *kernel.shape[1:]))
        return x @ kernel + bias.reshape((len(bias), 1, *middle, -1))


def scene_of(
    task: str,
    observation: str,
    thoughts: Sequence[str] | Tensor,
    goals: Sequence[str],
    texts: Mapping[str, Any],
    cut: Cut,
    vectors: Callable[[Sequence[str] | Tensor], Tensor],
) -> dict[str, Tensor]:
    """One step in words -> what ``PgvCritic.imagined`` reads.

    Thoughts alone may be embeddings; anything else is a ValueError. ``texts`` words success and
    failure.
    """
    for name, given in (("task", [task]), ("observation", [observation]), ("goals", goals)):
        if not all(isinstance(text, str) for text in given):
            raise ValueError(
                f"{name}: this critic imagines the next note from the sentences of the task and "
                "of the observation and finds goals among them, so pass texts and no embeddings"
            )
    note, task_read = (list(dict.fromkeys(cut(text))) for text in (observation, task))
    read, unread, task_read = note[:MOST_READ], note[MOST_READ:], task_read[:MOST_READ]
    own = [] if isinstance(thoughts, Tensor) else list(thoughts)
    distinct = list(dict.fromkeys([*note, *task_read, task, *own, *goals]))
    known, number = vectors(distinct), {text: i for i, text in enumerate(distinct)}

    def rows(some: Sequence[str]) -> Tensor:
        return known[[number[text] for text in some]]

    def parts(some: Sequence[str]) -> tuple[Tensor, Tensor]:
        if not some:  # one row that is not there
            return known.new_zeros(1, known.shape[1]), known.new_zeros(1, dtype=torch.bool)
        return rows(some), known.new_ones(len(some), dtype=torch.bool)

    def place(goal: str) -> int:
        return read.index(goal) if goal in read else UNREAD if goal in unread else ABSENT

    kinds = {texts["success"]: 1, texts["failure"]: 2}
    (note_parts, note_there), (task_parts, task_there) = parts(read), parts(task_read)
    return {
        "task": known[number[task]],
        "note_parts": note_parts,
        "note_there": note_there,
        "task_parts": task_parts,
        "task_there": task_there,
        "rest": rows(unread).sum(0),
        "thought": vectors(thoughts) if isinstance(thoughts, Tensor) else rows(own),
        "goal": rows(goals),
        "at": known.new_tensor([place(goal) for goal in goals], dtype=torch.int32),
        "kind": known.new_tensor([kinds.get(goal, 0) for goal in goals], dtype=torch.int32),
    }


def _joined(scene: Mapping[str, Tensor], what: str) -> Tensor:
    return torch.cat([scene[f"note_{what}"], scene[f"task_{what}"]])


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=NOTHING)


def _normed(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON)


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _bumps(cosine: Tensor) -> Tensor:
    return torch.stack([2 * cosine, *(4 * functional.relu(cosine - edge) for edge in BUMPS)], -1)
