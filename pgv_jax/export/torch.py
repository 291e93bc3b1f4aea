"""The critic as a PyTorch module: needs torch, safetensors and huggingface_hub, never JAX.

This file needs nothing of its own package: an export carries a copy of it beside the weights, and
either copy loads them. ``torch_texts.py`` embeds texts, ``torch_imagined.py`` imagines.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = {
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
LAYER_NORM_EPSILON = 1e-6
"""Flax's default, not PyTorch's 1e-5."""
SAME_GOAL = 1e-4
"""A goal g is the outcome c where |g - c|^2 <= SAME_GOAL |c|^2."""
Embed = Callable[[list[str]], Any]
"""n texts -> embeddings [n, D], a tensor or what makes one."""
CALIBRATION_EDGE = 1e-6
"""Values are kept so far from 0 and 1 before their logit is taken."""


class Head(nn.Module):
    """E multilayer perceptrons side by side, on one input that is a few named embeddings.

    The first layer is additive, h = b + sum_f x_f W_f, so each embedding is projected once however
    many others it meets. Parameters keep the artifact's names and shapes: kernels are [E, in, out].
    """

    def __init__(
        self,
        fields: Sequence[str],
        dim: int,
        hidden: Sequence[int],
        ensemble: int,
        layer_norm: bool,
        activation: str,
    ):
        super().__init__()
        self.fields = tuple(fields)
        self.depth = len(hidden)
        self.layer_norm = layer_norm
        self.activation = ACTIVATIONS[activation]

        def empty(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(ensemble, *shape))

        def group(**parameters: nn.Parameter) -> nn.ParameterDict:
            return nn.ParameterDict(parameters)

        for field in self.fields:
            self.add_module(field, group(kernel=empty(dim, hidden[0])))
        self.bias_0 = empty(hidden[0])
        for i, width in enumerate(hidden):
            if i:
                layer = group(kernel=empty(hidden[i - 1], width), bias=empty(width))
                self.add_module(f"dense_{i}", layer)
            if layer_norm:
                self.add_module(f"norm_{i}", group(scale=empty(width), bias=empty(width)))
        self.out = group(kernel=empty(hidden[-1], 1), bias=empty(1))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One embedding [..., D] a field -> logits [E, ...]; leading axes broadcast."""
        projected = [
            torch.einsum("...d,edh->e...h", inputs[field], self.get_submodule(field)["kernel"])
            for field in self.fields
        ]
        # Right-aligned, so that e.g. thoughts [N, 1, D] meet goals [G, D].
        rank = max(x.ndim for x in projected)
        h = _member(self.bias_0, rank)
        for x in projected:
            h = h + x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:])
        for i in range(self.depth):
            if i:
                h = self._affine(self.get_submodule(f"dense_{i}"), h)
            if self.layer_norm:
                norm = self.get_submodule(f"norm_{i}")
                h = functional.layer_norm(h, h.shape[-1:], eps=LAYER_NORM_EPSILON)
                h = h * _member(norm["scale"], rank) + _member(norm["bias"], rank)
            h = self.activation(h)
        return self._affine(self.out, h).squeeze(-1)

    def _affine(self, layer: Any, h: Tensor) -> Tensor:
        return torch.einsum("e...h,ehk->e...k", h, layer["kernel"]) + _member(layer["bias"], h.ndim)


class OutcomeHead(nn.Module):
    """M members for the chance of success: linear in the fields, and a network beside each or none.

    ``goals`` [2, D] are the embeddings of the sentences for success and failure.
    """

    def __init__(self, fields: Sequence[str], dim: int, members: int, residual: Head | None = None):
        super().__init__()
        self.fields = tuple(fields)
        for field in self.fields:
            kernel = nn.Parameter(torch.empty(members, dim, 1))
            self.add_module(field, nn.ParameterDict({"kernel": kernel}))
        self.bias = nn.Parameter(torch.empty(members, 1))
        self.goals = nn.Parameter(torch.empty(2, dim))
        self.residual = residual

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One embedding [..., D] a field -> logits of success [M, ...]; leading axes broadcast."""
        projected = [
            torch.einsum(
                "...d,ed->e...", inputs[field], self.get_submodule(field)["kernel"][..., 0]
            )
            for field in self.fields
        ]
        rank = max(x.ndim for x in projected)
        logit = self.bias.reshape((-1,) + (1,) * (rank - 1))
        for x in projected:
            logit = logit + x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:])
        return logit if self.residual is None else logit + self.residual(inputs)

    def sign(self, goal: Tensor) -> Tensor:
        """[..., D] -> [...]: 1 where the goal is success, -1 where it is failure, 0 elsewhere."""
        distance = (goal.unsqueeze(-2) - self.goals).square().sum(-1)
        same = (distance <= SAME_GOAL * self.goals.square().sum(-1)).to(goal.dtype)
        return same[..., 0] - same[..., 1]


class RoutedHead(Head):
    """A head whose outcome goals are answered by an ``OutcomeHead``: s(g) L(x) in its place.

    The members of either side are repeated up to the least common multiple of their numbers.
    """

    def __init__(self, *shape: Any, outcome: OutcomeHead):
        super().__init__(*shape)
        self.outcome = outcome

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One embedding [..., D] a field -> logits [E', ...]; leading axes broadcast."""
        own, outcome = super().forward(inputs), self.outcome(inputs)
        both = math.lcm(len(own), len(outcome))
        own = own.repeat_interleave(both // len(own), 0)
        outcome = outcome.repeat_interleave(both // len(outcome), 0)
        missing = (1,) * (own.ndim - outcome.ndim)
        outcome = outcome.reshape(outcome.shape[:1] + missing + outcome.shape[1:])
        sign = self.outcome.sign(inputs["goal"])
        return torch.where(sign == 0, own, sign * outcome)


def _beside(module: str) -> Any:
    """A module beside this file, in the package as in an export."""
    return importlib.import_module(f"{__package__}.{module}" if __package__ else module)


def _member(parameter_EH: Tensor, rank: int) -> Tensor:
    """[E, H] -> [E, 1, ..., 1, H] with ``rank`` axes."""
    e, h = parameter_EH.shape
    return parameter_EH.reshape((e,) + (1,) * (rank - 2) + (h,))


class PgvCritic(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="pgv_jax",
    tags=["value-function", "reinforcement-learning"],
):
    """Q(task, observation, thought, goal) and V(task, observation, goal).

    ``PgvCritic.from_pretrained(folder_or_hub_id)`` opens an export. ``score`` judges thoughts at
    one step, from texts or embeddings. ``q`` and ``v`` read float32 embeddings [..., D] of the
    encoder that ``encoder`` names; their leading axes broadcast, so thoughts [N, 1, D] and goals
    [G, D] give values [N, G]. Bounded ("sigmoid") heads answer in [0, 1].

    ``note_width`` H > 0: its Q is ``imagined``, by the next-note model (the head "m") with so many
    ``known`` sentences; ``q`` is the direct head beside it, and answers outcome goals if it has an
    expert for them. ``note_cosines``: what appears is asked by cosines, too. ``note_value``: the
    model carries the value of the next note by its sentences, else the head V values it.

    ``artifact`` is what the artifact's manifest says beside the other arguments (objective, data,
    metrics, ...): it travels along, so that the critic can become an artifact again.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        ensemble: int,
        layer_norm: bool = True,
        activation: str = "gelu",
        head: str = "sigmoid",
        heads: Sequence[str] = ("q", "v"),
        fields: Sequence[str] = ("task", "observation", "thought", "goal"),
        encoder: Mapping[str, Any] | None = None,
        texts: Mapping[str, Any] | None = None,
        outcome_members: int = 0,
        outcome_hidden: Sequence[int] = (),
        calibration: Mapping[str, Any] | None = None,
        artifact: Mapping[str, Any] | None = None,
        note_width: int = 0,
        known: int = 0,
        note_cosines: bool = False,
        note_value: bool = False,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation '{activation}' is none of {', '.join(ACTIVATIONS)}")
        if head not in ("sigmoid", "linear"):
            raise ValueError(f"head '{head}' is neither sigmoid nor linear")
        self.dim = dim
        self.bounded = head == "sigmoid"
        self.heads = tuple(heads)
        self.encoder = dict(encoder or {})
        self.texts = dict(texts or {})
        self.calibration = dict(calibration or {})
        self.artifact = dict(artifact or {})
        self._embed: Embed | None = None

        def make(fields: Sequence[str], ensemble: int) -> Head:
            shape = (fields, dim, hidden, ensemble, layer_norm, activation)
            if not outcome_members:
                return Head(*shape)
            rest, residual = [field for field in fields if field != "goal"], None
            if outcome_hidden:
                own = (dim, outcome_hidden, outcome_members, layer_norm, activation)
                residual = Head(rest, *own)
            return RoutedHead(*shape, outcome=OutcomeHead(rest, dim, outcome_members, residual))

        if "q" in heads:
            self.q_head = make(fields, ensemble)
        if "v" in heads:
            self.v_head = make([field for field in fields if field != "thought"], 1)
        self.gamma = self.artifact.get("objective", {}).get("gamma")
        if bool(note_width) != ("m" in heads) or (note_width and self.gamma is None):
            raise ValueError("one that imagines has a note_width, a head 'm' and artifact's gamma")
        if note_width:
            shape = (dim, note_width, ensemble, known, note_cosines, note_value)
            self.m_head = _beside("torch_imagined").NextNote(*shape)

    def forward(self, task: Tensor, observation: Tensor, thought: Tensor, goal: Tensor) -> Tensor:
        """The same as ``q``."""
        return self.q(task, observation, thought, goal)

    def q(self, task: Tensor, observation: Tensor, thought: Tensor, goal: Tensor) -> Tensor:
        """Q's mean over the ensemble, embeddings [..., D] -> [...]."""
        return self.q_ensemble(task, observation, thought, goal).mean(0)

    def q_ensemble(
        self, task: Tensor, observation: Tensor, thought: Tensor, goal: Tensor
    ) -> Tensor:
        """Q by each member of the ensemble, embeddings [..., D] -> [E, ...]."""
        inputs = {"task": task, "observation": observation, "thought": thought, "goal": goal}
        return self._values("q", inputs)

    def v(self, task: Tensor, observation: Tensor, goal: Tensor) -> Tensor:
        """V, embeddings [..., D] -> [...]."""
        return self.v_ensemble(task, observation, goal).mean(0)

    def v_ensemble(self, task: Tensor, observation: Tensor, goal: Tensor) -> Tensor:
        """V by each member, embeddings [..., D] -> [E, ...]; E is 1 without an outcome expert."""
        return self._values("v", {"task": task, "observation": observation, "goal": goal})

    def imagined(self, **scene: Tensor) -> Tensor:
        """Imagined Q of one step, its members' mean [N, G]; see ``torch_imagined.NextNote``."""
        return self.imagined_ensemble(**scene).mean(0)

    def imagined_ensemble(self, **scene: Tensor) -> Tensor:
        """Imagined Q by each member: [E, N, G]."""
        if "m" not in self.heads:
            raise ValueError("this critic does not imagine: it has no next-note model")
        self._check_width({"note_parts": scene["note_parts"], "thought": scene["thought"]})
        return self.m_head(scene, self.v, self.gamma)

    def _check_width(self, inputs: Mapping[str, Tensor]) -> None:
        for name, x in inputs.items():
            if x.shape[-1] != self.dim:
                raise ValueError(f"{name} is {x.shape[-1]} wide; the critic reads {self.dim}")

    def _values(self, head: str, inputs: Mapping[str, Tensor]) -> Tensor:
        if head not in self.heads:
            raise ValueError(
                f"the {head.upper()} head of this critic was not trained; it has {self.heads}"
            )
        self._check_width(inputs)
        logits = self.get_submodule(f"{head}_head")(inputs)
        return torch.sigmoid(logits) if self.bounded else logits

    @torch.no_grad()
    def score(
        self,
        observation: str | Tensor,
        thoughts: Sequence[str] | Tensor,
        goals: Sequence[str] | Tensor,
        task: str | Tensor | None = None,
        *,
        calibrated: bool = False,
    ) -> Tensor:
        """Q of every thought for every goal at one step: float32 [N, G], without gradients.

        Each argument is text or embeddings: observation and task one text or [D], thoughts [N, D],
        goals [G, D]. A task that is left out is the empty text, where the observation is a text.
        ``calibrated`` asks for ``likelihoods`` instead; the goals must be texts then. A critic that
        imagines needs all but the thoughts as texts.
        Raises ValueError where the task's embedding, the encoder or the calibration is lacking, and
        where one text stands in place of a list.
        """
        for name, given in (("thoughts", thoughts), ("goals", goals)):
            if isinstance(given, str):
                raise ValueError(f"{name} is one text where a list belongs; put it in brackets")
        if not len(thoughts):
            return torch.zeros(0, len(goals))
        if "m" in self.heads:
            said = ("" if task is None else task, observation, thoughts, goals)
            cut = _beside("torch_texts").sentences
            scene = _beside("torch_imagined").scene_of(*said, self.texts, cut, self._vectors)
            values_NG = self.imagined(**scene)
            if isinstance(self.q_head, RoutedHead):  # outcome goals are the expert's
                seen_1D, thought_N1D = self._vectors([observation]), scene["thought"][:, None]
                direct_NG = self.q(scene["task"], seen_1D, thought_N1D, scene["goal"])
                values_NG = torch.where(scene["kind"] > 0, direct_NG, values_NG)
            return self.likelihoods(values_NG, list(goals)) if calibrated else values_NG
        if task is None:
            if not isinstance(observation, str):
                raise ValueError("the observation is an embedding, so task must be given as one")
            task = ""
        if calibrated and isinstance(goals, Tensor):
            raise ValueError("a calibration belongs to a goal's text, so pass the goals as texts")
        task_D = self._vectors([task] if isinstance(task, str) else task)
        seen_D = self._vectors([observation] if isinstance(observation, str) else observation)
        thought_ND, goal_GD = self._vectors(thoughts), self._vectors(goals)
        values_NG = self.q(task_D, seen_D, thought_ND[:, None], goal_GD)
        return self.likelihoods(values_NG, list(goals)) if calibrated else values_NG

    def likelihoods(self, values: Tensor, goals: Sequence[str]) -> Tensor:
        """Values [..., G] of the goals' texts, calibrated on held-out tasks: [..., G].

        A goal that the export has no calibration for is a ValueError.
        """
        columns = []
        for g, goal in enumerate(goals):
            outcomes = self.calibration.get("outcomes", {})
            calibrator = outcomes.get(goal) or self.calibration.get("states")
            if calibrator is None:
                raise ValueError(f"this critic carries no calibration for the goal '{goal}'")
            columns.append(calibrate(values[..., g], calibrator))
        return torch.stack(columns, -1)

    def use_encoder(self, embed: Embed) -> None:
        """Embed texts by ``embed``: a list of n texts -> [n, D]; it must be the encoder named."""
        self._embed = embed

    def _vectors(self, given: Sequence[str] | Tensor) -> Tensor:
        """Texts or embeddings -> float32 embeddings on the critic's device."""
        parameter = next(self.parameters())
        if not isinstance(given, Tensor) and any(isinstance(text, str) for text in given):
            if self._embed is None:
                self._embed = _beside("torch_texts").open_encoder(self.encoder)
            given = self._embed(list(given))
        return torch.as_tensor(given, dtype=parameter.dtype, device=parameter.device)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any
    ) -> PgvCritic:
        # Strict, where the mixin's default leaves parameters that the file lacks at random.
        if not os.path.isdir(model_id):
            kwargs |= {"map_location": map_location, "strict": strict}
            hub: PgvCritic = super()._from_pretrained(model_id=model_id, **kwargs)
            return hub
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        critic = cls(**{name: value for name, value in kwargs.items() if name not in download})
        weights = os.path.join(model_id, "model.safetensors")
        critic.load_state_dict(load_file(weights, device=map_location), strict=strict)
        return critic.eval()


def calibrate(values: Tensor, calibrator: Mapping[str, Any]) -> Tensor:
    """Likelihoods of values by one calibrator, as the artifact's manifest describes them.

    temperature: logistic(logit(q) / T) (Guo et al. 2017); platt: logistic(slope logit(q) + offset)
    (Platt 1999); isotonic: linear between the points (x, y); constant: the rate alone.
    """
    kind = calibrator["kind"]
    if kind == "constant":
        return torch.full_like(values, calibrator["rate"])
    if kind == "isotonic":
        return _interpolate(values, values.new_tensor([calibrator["x"], calibrator["y"]]))
    logit = torch.logit(values.double(), eps=CALIBRATION_EDGE)
    if kind == "temperature":
        return torch.sigmoid(logit / calibrator["temperature"]).to(values.dtype)
    if kind == "platt":
        shifted = calibrator["slope"] * logit + calibrator["offset"]
        return torch.sigmoid(shifted).to(values.dtype)
    raise ValueError(f"calibration '{kind}' is none of temperature, platt, isotonic, constant")


def _interpolate(values: Tensor, points: Tensor) -> Tensor:
    """Linear between ``points`` [2, P], level outside of them: numpy's interp."""
    x, y = points
    if len(x) == 1:
        return torch.full_like(values, y[0].item())
    right = torch.searchsorted(x, values.contiguous(), right=True).clamp(1, len(x) - 1)
    left = right - 1
    share = ((values - x[left]) / (x[right] - x[left])).nan_to_num(1.0).clamp(0, 1)
    return y[left] + share * (y[right] - y[left])
