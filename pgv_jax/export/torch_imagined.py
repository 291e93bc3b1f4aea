"""Imagined Q in PyTorch: the next-note model says where a thought leads, V what that is worth.

Like ``torch.py`` it needs nothing of its own package, and the export of a critic that imagines
carries a copy of it. The model is documented at ``pgv_jax.critic.next_note``.

====  =============================================
L, M  sentences of the note, of the task
T     L + M
N, G  thoughts and goals of the step
E, K  members, known sentences
R, Q  notes that are read, queries of each (thoughts or goals)
====  =============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4
BUMPS = (0.2, 0.4, 0.6)
POOL = 3.0
EPSILON = 1e-5
LIKELY = 0.5
APPEARING = 16
"""Known sentences of a predicted note that are read beside those that stand, the likeliest."""
SAME = 1.0 - 1e-4
"""Cosine from which a known sentence is the goal itself."""
FAINT = 8.0
LEAST_CHANCE = 0.02
"""A sentence below that chance is not read."""
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


class Reader(nn.Module):
    """E readers of sentences side by side; ``pgv_jax.critic.reader`` documents them.

    Their inputs are standardised; a query is a thought or a goal.
    """

    def __init__(self, dim: int, width: int, ensemble: int, outs: int):
        super().__init__()
        self._ensemble = ensemble
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
            "end": (width, width),
            "end_out": (width, outs),
            "part_end": (width, width),
            "part_end_out": (width, outs),
        }
        biases = dict.fromkeys(("token", "context", "end", "part_end"), width)
        self._add(kernels, biases | dict.fromkeys(("end_out", "part_end_out"), outs))
        self.field = nn.Parameter(torch.empty(ensemble, 2, width))
        self.sharpness = nn.Parameter(torch.empty(ensemble, HEADS))

    def _add(self, kernels: Mapping[str, tuple[int, int]], biases: Mapping[str, int]) -> None:
        shapes: dict[str, tuple[int, ...]] = {f"{k}_kernel": v for k, v in kernels.items()}
        shapes |= {f"{name}_bias": (size,) for name, size in biases.items()}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(self._ensemble, *shape)))

    def read(
        self,
        centres: NextNote,
        place: tuple[Tensor, Tensor],
        query_QD: Tensor,
        note: Mapping[str, Tensor],
        task: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [E, R, Q, T, H], contexts [E, R, Q, H] and logits [E, R, Q, C] of R notes.

        ``place`` is the mean and scale of the queries' field. ``note`` holds ``parts``
        [E, R, L, D], ``there`` and ``weight`` [E, R, L]; ``task`` ``parts`` [M, D], ``there`` [M].
        """
        mean_D, scale = place
        rows = note["parts"].shape[:2]
        log_weight_ERL = note["weight"].clamp(min=EPSILON).log()
        task_ERMD = task["parts"].expand(*rows, *task["parts"].shape)
        there_ERM = task["there"].expand(*rows, *task["there"].shape)
        there_ERT = torch.cat([note["there"], there_ERM], 2)
        log_weight_ERT = torch.cat([log_weight_ERL, torch.zeros_like(task_ERMD[..., 0])], 2)
        in_task_T = torch.cat(
            [
                torch.zeros_like(note["there"][0, 0], dtype=torch.long),
                torch.ones_like(task["there"], dtype=torch.long),
            ]
        )
        unit_QD = _unit(query_QD - mean_D)
        of_note_ERQL = unit_QD @ _unit(note["parts"] - centres.centre_note).transpose(2, 3)
        of_note_ERQL = torch.where(note["there"][:, :, None], of_note_ERQL, -1.0)
        of_task_QM = unit_QD @ _unit(task["parts"] - centres.centre_task).T
        of_task_QM = torch.where(task["there"], of_task_QM, -1.0)
        of_task_ERQM = of_task_QM.expand(*rows, *of_task_QM.shape)
        cosine_ERQT = torch.cat([of_note_ERQL, of_task_ERQM], 3)

        parts_ERTD = centres.standard(torch.cat([note["parts"], task_ERMD], 2))
        x_ERTH = _normed(self._times("part", parts_ERTD))
        h_EQH = _normed(((query_QD - mean_D) / scale) @ self.thought_kernel)
        from_query_EQH = h_EQH @ self.token_thought_kernel + self.token_bias[:, None]
        gated_ERQTH = x_ERTH[:, :, None] * (h_EQH @ self.gate_kernel)[:, None, :, None]
        token_ERQTH = _gelu(
            self._times("token", x_ERTH)[:, :, None]
            + from_query_EQH[:, None, :, None]
            + self._times("gated", gated_ERQTH)
            + self.field[:, in_task_T][:, None, None]
            + self._times("cosine", _bumps(cosine_ERQT))
        )
        there_ER1T1, weight_ER1T1 = (x[:, :, None, :, None] for x in (there_ERT, log_weight_ERT))
        by_cosine_ERQTA = cosine_ERQT[..., None] * self.sharpness[:, None, None, None]
        logit_ERQTA = self._times("attention", token_ERQTH) + by_cosine_ERQTA + weight_ER1T1
        attends_ERQTA = torch.where(there_ER1T1, logit_ERQTA, MASKED).softmax(3) * there_ER1T1
        value_ERQTAK = self._times("value", token_ERQTH).unflatten(-1, (HEADS, -1))
        pooled_ERQH = torch.einsum("erqta,erqtak->erqak", attends_ERQTA, value_ERQTAK).flatten(-2)
        likely_ER1L = log_weight_ERL[:, :, None] >= math.log(LIKELY)
        near_ERQL = torch.where(likely_ER1L, of_note_ERQL, -1.0)
        nearest_ERQF = torch.cat([_bumps(near_ERQL.amax(3)), _bumps(of_task_ERQM.amax(3))], -1)
        both_ERQ2H = torch.cat([_normed(pooled_ERQH), h_EQH[:, None].expand_as(pooled_ERQH)], -1)
        context_ERQH = _gelu(
            self.affine("context", both_ERQ2H) + self._times("nearest", nearest_ERQF)
        )
        end_ERQC = self.affine("end_out", _gelu(self.affine("end", context_ERQH)))
        part_ERQTC = self.affine("part_end_out", _gelu(self.affine("part_end", token_ERQTH)))
        part_ERQTC = torch.where(there_ER1T1, POOL * part_ERQTC + weight_ER1T1, MASKED)
        most_ERQC = part_ERQTC.logsumexp(3) / POOL
        some_ER11 = there_ERT.any(2)[..., None, None]
        return token_ERQTH, context_ERQH, end_ERQC + torch.where(some_ER11, most_ERQC, 0.0)

    def _times(self, name: str, x: Tensor) -> Tensor:
        """[E, ..., H] -> [E, ..., H'] by the kernel of that name."""
        kernel = getattr(self, f"{name}_kernel")
        return x @ kernel.reshape((len(kernel), *(1,) * (x.ndim - 3), *kernel.shape[1:]))

    def affine(self, name: str, x: Tensor) -> Tensor:
        """[E, ..., H] -> [E, ..., H'] by the layer of that name."""
        bias = getattr(self, f"{name}_bias")
        return self._times(name, x) + bias.reshape((len(bias), *(1,) * (x.ndim - 2), -1))


class NextNote(Reader):
    """E next-note models side by side: names and shapes are the artifact's, constants included.

    With ``cosines`` what appears is asked by its cosine with the thought, too; with ``valued`` they
    carry the value of the note that they expect.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        ensemble: int,
        known: int,
        cosines: bool = False,
        valued: bool = False,
    ):
        super().__init__(dim, width, ensemble, ENDS)
        kernels = {
            "gone": (2 * width, width),
            "gone_out": (width, 1),
            "plan": (width, width),
            "known": (dim, width),
            "prior": (dim, 1),
        }
        biases = {"gone": width, "gone_out": 1, "plan": width, "known": 1}
        self.cosines = cosines
        if cosines:
            features = 1 + len(BUMPS) + 2
            kernels |= {"rank": (width, width), "meets": (width, features)}
            biases |= {"rank": width, "meets": features}
            self.rank_sharpness = nn.Parameter(torch.empty(ensemble, 1))
        self._add(kernels, biases)
        for name in ("note", "task", "thought"):
            self.register_buffer(f"centre_{name}", torch.empty(dim))
        for name in ("part_scale", "thought_scale"):
            self.register_buffer(f"centre_{name}", torch.empty(1))
        self.register_buffer("known", torch.empty(known, dim))
        self.note_value = Reader(dim, width, ensemble, 1) if valued else None

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
        gone_ENL, ends_ENC, context_ENH = self._imagine(scene)
        appears_ENK = self._appears(context_ENH, scene["thought"], self.known)
        stays_ENL = torch.where(scene["note_there"], 1 - gone_ENL, 0.0)
        next_END = _unit(stays_ENL @ scene["note_parts"] + appears_ENK @ self.known + scene["rest"])
        v_ENG = v(scene["task"], next_END[:, :, None], scene["goal"])
        if self.note_value is not None:
            own_ENG = self._worth(self.note_value, scene, stays_ENL, appears_ENK)
            v_ENG = torch.where(scene["kind"] == 0, own_ENG, v_ENG)

        at_G, kind_G = scene["at"].long(), scene["kind"].long()
        held_ENG = 1 - gone_ENL[:, :, at_G.clamp(min=0)]
        held_ENG = torch.where(at_G == UNREAD, 1.0, held_ENG)
        appears_ENG = self._appears(context_ENH, scene["thought"], scene["goal"])
        sentence_ENG = torch.where(at_G == ABSENT, appears_ENG, held_ENG)
        outcome_ENG = ends_ENC[:, :, kind_G.clamp(min=1)]
        p_ENG = torch.where(kind_G == 0, sentence_ENG, outcome_ENG)
        open_ENG = torch.where(kind_G == 0, 1 - p_ENG, 1.0)
        goes_on_EN1 = 1 - ends_ENC[..., 1:2] - ends_ENC[..., 2:3]
        return gamma * (p_ENG + open_ENG * goes_on_EN1 * v_ENG)

    def _imagine(self, scene: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The chances of what goes [E, N, L] and how it ends [E, N, 4]; the context [E, N, H]."""
        count_E, count_L = len(self.sharpness), scene["note_parts"].shape[0]
        note = {name: x.expand(count_E, 1, *x.shape) for name, x in _of(scene, "note").items()}
        note["weight"] = torch.ones_like(note["parts"][..., 0])
        place = self.centre_thought, self.centre_thought_scale
        read = self.read(self, place, scene["thought"], note, _of(scene, "task"))
        token_ENTH, context_ENH, end_ENC = (x[:, 0] for x in read)

        of_token, of_context = self.gone_kernel.chunk(2, 1)
        from_context_ENH = context_ENH @ of_context + self.gone_bias[:, None]
        token_ENLH = token_ENTH[:, :, :count_L]
        gone_ENLH = _gelu(token_ENLH @ of_token[:, None] + from_context_ENH[:, :, None])
        gone_ENL = self.affine("gone_out", gone_ENLH)[..., 0].sigmoid()
        return gone_ENL, end_ENC.softmax(-1), context_ENH

    def _worth(
        self, reader: Reader, scene: Mapping[str, Tensor], stays_ENL: Tensor, appears_ENK: Tensor
    ) -> Tensor:
        """The values [E, N, G] of the expected notes by their sentences."""
        chance_ENA, at_ENA = appears_ENK.topk(min(APPEARING, appears_ENK.shape[-1]), -1)
        parts_LD = scene["note_parts"]
        parts_ENLD = parts_LD.expand(*stays_ENL.shape[:2], *parts_LD.shape)
        there_ENL = scene["note_there"] & (stays_ENL > LEAST_CHANCE)
        note = {
            "parts": torch.cat([parts_ENLD, self.known[at_ENA]], 2),
            "there": torch.cat([there_ENL, chance_ENA > LEAST_CHANCE], 2),
            "weight": torch.cat([stays_ENL, chance_ENA], 2),
        }
        place = self.centre_note, self.centre_part_scale
        _, _, logit_ENG1 = reader.read(self, place, scene["goal"], note, _of(scene, "task"))
        return logit_ENG1[..., 0].sigmoid()

    def _appears(self, context_ENH: Tensor, thought_ND: Tensor, asked_KD: Tensor) -> Tensor:
        """The chances [E, N, K] that sentences appear at the next step."""
        plan_ENH = self.affine("plan", context_ENH)
        x_KD = self.standard(asked_KD)
        meets_EKH = 4.0 / plan_ENH.shape[-1] ** 0.5 * (x_KD @ self.known_kernel)
        prior_EK = (x_KD @ self.prior_kernel)[..., 0] + self.known_bias
        logit_ENK = plan_ENH @ meets_EKH.transpose(1, 2) + prior_EK[:, None]
        if not self.cosines:
            return logit_ENK.sigmoid()
        unit_ND = _unit(thought_ND - self.centre_thought)
        unit_KD, known_UD = (_unit(x - self.centre_note) for x in (asked_KD, self.known))
        own_ENK = self._scores(context_ENH, unit_ND, asked_KD, unit_KD)
        if asked_KD is self.known:
            log_chance_ENK = own_ENK.log_softmax(-1)
        else:
            rivals_ENU = self._scores(context_ENH, unit_ND, self.known, known_UD)
            same_KU = unit_KD @ known_UD.T > SAME  # a sentence is no rival of itself
            rivals_ENKU = torch.where(same_KU, MASKED, rivals_ENU[:, :, None])
            log_chance_ENK = own_ENK - torch.logaddexp(own_ENK, rivals_ENKU.logsumexp(-1))
        chances = [log_chance_ENK.exp(), log_chance_ENK.clamp(min=-FAINT) / FAINT]
        cosine_ENK = (unit_ND @ unit_KD.T).expand_as(own_ENK)
        features_ENKF = torch.cat([_bumps(cosine_ENK), torch.stack(chances, -1)], -1)
        weight_EN1F = self.affine("meets", context_ENH)[:, :, None]
        return (logit_ENK + (features_ENKF * weight_EN1F).sum(-1)).sigmoid()

    def _scores(
        self, context_ENH: Tensor, unit_ND: Tensor, some_KD: Tensor, unit_KD: Tensor
    ) -> Tensor:
        """By what sentences compete to appear: [E, N, K]."""
        rank_ENH = self.affine("rank", context_ENH)
        meets_EKH = 4.0 / rank_ENH.shape[-1] ** 0.5 * (self.standard(some_KD) @ self.known_kernel)
        by_cosine_ENK = self.rank_sharpness[:, None] * (unit_ND @ unit_KD.T)
        return by_cosine_ENK + rank_ENH @ meets_EKH.transpose(1, 2)

    def standard(self, x: Tensor) -> Tensor:
        """Vectors of parts, centred and scaled."""
        return (x - self.centre_note) / self.centre_part_scale


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


def _of(scene: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    return {name: scene[f"{what}_{name}"] for name in ("parts", "there")}


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=NOTHING)


def _normed(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON)


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _bumps(cosine: Tensor) -> Tensor:
    return torch.stack([2 * cosine, *(4 * functional.relu(cosine - edge) for edge in BUMPS)], -1)
