"""A frozen BERT (Devlin et al., 2019) for the embedded MiniLM: the same numbers as ``transformers.BertModel``.

``transformers`` takes six seconds to import on two cores; this file takes none. Parameters have the names of the
published weights. The classes cover what the embedded encoder has: GELU, absolute positions, one sentence.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class BertShape:
    """The numbers of a BERT's config.json that decide its shape."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


class BertOutput(NamedTuple):
    """What a forward pass returns; T positions of width D."""

    last_hidden_state: Tensor  # (B, T, D)
    hidden_states: tuple[Tensor, ...] | None  # the input of the first layer, then the output of each


class Bert(nn.Module):
    """(input_ids, attention_mask), both (B, T) -> BertOutput."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.config = shape
        self.embeddings = Embeddings(shape)
        self.encoder = Encoder(shape)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> BertOutput:
        rows, length = input_ids.shape
        mask_B1TT = attention_mask.bool()[:, None, None, :].expand(rows, 1, length, length)
        states = [self.embeddings(input_ids, token_type_ids)]
        for layer in self.encoder.layers():
            states.append(layer(states[-1], mask_B1TT))
        return BertOutput(states[-1], tuple(states) if output_hidden_states else None)

    def set_attn_implementation(self, name: str) -> None:
        """``sdpa``, PyTorch's fused attention, or ``eager``, plain products; named as in transformers."""
        if name not in ("sdpa", "eager"):
            raise ValueError(f"the attention is {name!r}; it can be sdpa or eager")
        for layer in self.encoder.layers():
            layer.attention.set_fused(name == "sdpa")


class Encoder(nn.Module):
    """The layers, under the name that they have in the published weights."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.layer = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))

    def layers(self) -> list["Layer"]:
        return [layer for layer in self.layer if isinstance(layer, Layer)]


class Table(nn.Embedding):
    """An embedding whose weights are loaded: drawing random ones on the meta device imports torch's compiler."""

    def reset_parameters(self) -> None:
        pass


class Embeddings(nn.Module):
    """Word, position and sentence-type embeddings, added and normalised."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.word_embeddings = Table(shape.vocab_size, shape.hidden_size)
        self.position_embeddings = Table(shape.max_position_embeddings, shape.hidden_size)
        self.token_type_embeddings = Table(shape.type_vocab_size, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(input_ids) + self.token_type_embeddings(types) + positions)


class SelfAttention(nn.Module):
    """Attention of every position to the real ones."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.heads, self.fused = shape.num_attention_heads, True
        self.query, self.key, self.value = (nn.Linear(shape.hidden_size, shape.hidden_size) for _ in range(3))

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        query, key, value = (self.split(layer(x_BTD)) for layer in (self.query, self.key, self.value))
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_B1TT)
        else:
            scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
            mixed = scores.masked_fill(~mask_B1TT, torch.finfo(scores.dtype).min).softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(x_BTD.shape)

    def split(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, heads, T, D / heads)."""
        return x_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Residual(nn.Module):
    """A linear layer, added to what it should change, and normalised."""

    def __init__(self, inputs: int, shape: BertShape):
        super().__init__()
        self.dense = nn.Linear(inputs, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, eps=shape.layer_norm_eps)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + skip)


class Attention(nn.Module):
    """Self-attention, added to its input and normalised."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.self, self.output = SelfAttention(shape), Residual(shape.hidden_size, shape)

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        return self.output(self.self(x_BTD, mask_B1TT), x_BTD)

    def set_fused(self, fused: bool) -> None:
        self.self.fused = fused


class Layer(nn.Module):
    """Attention, then two linear layers with a GELU between them."""

    def __init__(self, shape: BertShape):
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(shape.hidden_size, shape.intermediate_size)})
        self.output = Residual(shape.intermediate_size, shape)

    def forward(self, x_BTD: Tensor, mask_B1TT: Tensor) -> Tensor:
        x_BTD = self.attention(x_BTD, mask_B1TT)
        return self.output(F.gelu(self.intermediate["dense"](x_BTD)), x_BTD)


def load_bert(folder: Path, layers: int | None = None) -> Bert:
    """The BERT of a folder as transformers saves it (config.json, model.safetensors), cut to its first ``layers``.

    Raises:
        ValueError: if it has fewer layers, or is a BERT of a kind that this file does not cover.
    """
    content = json.loads((folder / "config.json").read_bytes())
    covered = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    if other := {name: content.get(name) for name, value in covered.items() if content.get(name, value) != value}:
        raise ValueError(f"{folder} is a model with {other}; this BERT is one with {covered}")
    shape = BertShape(**{field.name: content[field.name] for field in fields(BertShape)})
    if layers is not None:
        if not 1 <= layers <= shape.num_hidden_layers:
            raise ValueError(f"{folder} has {shape.num_hidden_layers} layers, not {layers}")
        shape = BertShape(**vars(shape) | {"num_hidden_layers": layers})
    with torch.device("meta"):  # random weights would only be overwritten
        network = Bert(shape)
    with safe_open(folder / "model.safetensors", framework="pt") as file:  # reads the tensors asked for alone
        state = {name: file.get_tensor(name).float() for name in network.state_dict()}
    network.load_state_dict(state, assign=True)
    return network
