"""How many parameters each method trains, by its formula."""

from __future__ import annotations

from trainers._shapes import Linear, ModelShapes
from trainers.recipes import Recipe

# peft's own choice by architecture: modules whose outputs are scaled; of `feedforward` the inputs are.
_IA3 = {"llama": ("k_proj", "v_proj"), "mistral": ("k_proj", "v_proj")}
_IA3_OTHERS = ("q_proj", "v_proj")
_IA3_FEEDFORWARD = ("down_proj",)


def trained_parameters(recipe: Recipe, shapes: ModelShapes, classes: int = 2) -> int:
    """Parameters that the recipe trains, exactly.

    LoRA (arXiv 2106.09685) trains r x (d_in + d_out) for each module, DoRA (arXiv 2402.09353) d_out more; IA3 (arXiv
    2205.05638) d_out for each module and d_in for those of the feed-forward; new tokens a row of the embeddings each.
    """
    if recipe.method == "full":
        frozen = sum(
            shapes.layer_parameters[number] for number in recipe.frozen_layers if number < shapes.layers
        )
        body = shapes.parameters - frozen
        return body - shapes.head + _new_head(recipe, shapes, classes) if _rates(recipe) else body
    head = _new_head(recipe, shapes, classes)
    if recipe.method == "head":
        return head
    if recipe.method == "tool_tokens":
        return len(recipe.tool_tokens.tokens) * shapes.hidden * (1 if shapes.tied else 2)
    if recipe.method == "ia3":
        return head + sum(_scaled(recipe, shapes))
    lora = recipe.lora
    return head + sum(
        lora.rank * (each.d_in + each.d_out) + (each.d_out if lora.dora else 0)
        for each in adapted(recipe, shapes)
    )


def adapted(recipe: Recipe, shapes: ModelShapes) -> tuple[Linear, ...]:
    """The linear modules that get a LoRA."""
    lora = recipe.lora
    return tuple(
        each
        for each in shapes.linears
        if (lora.targets == "all-linear" or each.name in lora.targets)
        and (not lora.layers or each.layer in lora.layers)
    )


def _scaled(recipe: Recipe, shapes: ModelShapes) -> list[int]:
    outputs = recipe.ia3.targets or (*_IA3.get(shapes.model_type, _IA3_OTHERS), *_IA3_FEEDFORWARD)
    inputs = recipe.ia3.feedforward or (() if recipe.ia3.targets else _IA3_FEEDFORWARD)
    return [
        each.d_in if each.name in inputs else each.d_out for each in shapes.linears if each.name in outputs
    ]


def _rates(recipe: Recipe) -> bool:
    return recipe.objective in ("classify", "reward")


def _new_head(recipe: Recipe, shapes: ModelShapes, classes: int) -> int:
    """A matrix on top that did not exist before; it is trained by every method."""
    if not _rates(recipe):
        return 0
    return shapes.hidden * (1 if recipe.objective == "reward" else classes)
