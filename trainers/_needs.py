"""Bytes and arithmetic of one training step, part by part."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from trainers._shapes import ModelShapes
from trainers._trained import adapted, trained_parameters
from trainers.recipes import Recipe

NF4_BYTES = 4.127 / 8
"""Of one weight with double quantisation: 4 bits, a scale of 8 bits for 64 weights, and theirs (arXiv 2305.14314)."""
HEAD_TILE = 32_768
"""trl computes log-probabilities in tiles of so many words of the vocabulary."""
TILE_TOKENS = 4_096
"""... of so many tokens at most."""
PROCESS = 100 * 2**20
"""Of the machine's memory, for tokenizer, rows, trainer and their libraries (measured)."""
BITSANDBYTES = 100 * 2**20
STORED_BYTES = 2
"""Of a number in a file of weights, as they are published; the file stays resident while it is read."""
PAIRED = ("dpo", "reward")
"""Objectives that see two answers for each row at once."""
SAMPLED = ("rloo", "grpo")


class DataSize(BaseModel):
    """What is known of the training rows: how many, their tokens on average and at most (under the model's own
    format and tokenizer), and how that is known. `classes` is for objective classify."""

    model_config = ConfigDict(frozen=True)

    rows: int | None = None
    mean_tokens: float | None = None
    longest: int | None = None
    classes: int = 2
    source: str = "not counted: rows are taken to be max_length long"


class Need(BaseModel):
    """Bytes on the device of one process. `weights` include those of a reference, a teacher or a reward model;
    `activations` what the backward pass keeps, `logits` the words' share of it; `cache` keys and values of answers that
    are sampled; `working` what an operation needs for a moment; `process` what tokenizer, rows and trainer take.

    `total` is the peak: gradients appear while activations go, so both count only where gradients wait for further
    batches."""

    model_config = ConfigDict(frozen=True)

    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    cache: int
    working: int
    process: int
    total: int


def need_of(
    recipe: Recipe, shapes: ModelShapes, size: DataSize, *, gpu: bool, beside: Sequence[ModelShapes] = ()
) -> Need:
    """The memory of one process at its peak, on a GPU or on a CPU."""
    trained = trained_parameters(recipe, shapes, size.classes)
    stored, computing = _dtypes(recipe, gpu)
    rows, length = _batch(recipe, size)
    tokens = rows * length
    # Adapters keep float32 above a base of bfloat16.
    each = stored if recipe.method in ("full", "head") else 4
    weights = _weights(recipe, shapes, stored) + (0 if recipe.method in ("full", "head") else trained * 4)
    weights += sum(other.parameters * stored for other in beside)
    if recipe.method == "full" and recipe.objective in ("dpo", "kto", *SAMPLED):
        weights += shapes.parameters * stored  # the reference that the model is held near
    working = _working(recipe, shapes, stored, tokens, computing)
    if recipe.method == "full" and gpu and stored == 4 and computing == 2:
        working += shapes.parameters * 2  # autocast keeps its copies of the weights for a step
    gradients, optimiser = trained * each, int(_moments(recipe, shapes, trained) * each)
    activations = int(_activations(recipe, shapes, tokens, computing))
    logits = int(_logits(recipe, shapes, tokens, computing, gpu=gpu))
    cache = int(_cache(recipe, shapes, rows, length, computing))
    process = 0 if gpu else PROCESS + (BITSANDBYTES if recipe.method == "qlora" else 0)
    lasting = int(weights) + optimiser + process
    if recipe.optimiser.gradient_accumulation > 1:
        peak = gradients + max(activations + logits, int(working))
    else:
        peak = max(activations + logits, gradients + int(working))
    loading = 0 if gpu else int(weights) + process + shapes.parameters * STORED_BYTES
    return Need(
        weights=int(weights), gradients=gradients, optimiser=optimiser, activations=activations, logits=logits,
        cache=cache, working=int(working), process=process, total=max(lasting + max(peak, cache), loading),
    )  # fmt: skip


def flops_per_token(recipe: Recipe, shapes: ModelShapes, size: DataSize) -> float:
    """Floating point operations for one token of training: 2 a weight forward, 2 backward to the activations, 2 for
    the gradient of each trained matrix (Kaplan et al., arXiv 2001.08361), attention beside them."""
    _, length = _batch(recipe, size)
    head = 0 if recipe.objective in ("classify", "reward") else shapes.vocabulary * shapes.hidden
    matrices = shapes.linear_parameters + head
    attention = 2 * 2 * shapes.layers * shapes.query_width * length / 2
    forward = 2 * matrices + attention
    backward = 0.0 if recipe.method == "head" else forward
    if recipe.method == "full":
        backward += 2 * matrices
    elif recipe.method in ("lora", "qlora"):
        backward += 3 * 2 * trained_parameters(recipe, shapes, size.classes)
    if recipe.optimiser.gradient_checkpointing:
        backward += forward
    if recipe.method == "qlora":
        forward *= 1.3  # weights are unpacked in both passes
        backward *= 1.3
    more = {"dpo": 2 * (forward + backward) + 2 * forward, "kto": 3 * forward + backward}
    sampled = 2 * forward if recipe.objective in SAMPLED else 0.0
    if recipe.objective == "distill":
        sampled += forward
    if recipe.objective == "reward":
        return 2 * (forward + backward)
    return more.get(recipe.objective, forward + backward) + sampled


def _dtypes(recipe: Recipe, gpu: bool) -> tuple[int, int]:
    """Bytes of a stored weight and of an activation (see `trainers.methods._loading.precision`)."""
    if gpu:
        if recipe.precision == "float32":
            return 4, 4
        return (4 if recipe.method == "full" else 2), 2
    return (2, 2) if recipe.precision == "bfloat16" else (4, 4)


def _batch(recipe: Recipe, size: DataSize) -> tuple[int, int]:
    """Rows in the model at once, and how long the longest is."""
    optimiser = recipe.optimiser
    length = optimiser.max_length
    if size.longest is not None and not optimiser.packing:
        length = min(length, size.longest)
    if recipe.objective in SAMPLED:
        length = length + recipe.reinforcement.max_answer_tokens
    return optimiser.batch_size * (2 if recipe.objective in PAIRED else 1), length


def _weights(recipe: Recipe, shapes: ModelShapes, stored: int) -> float:
    rates = recipe.objective in ("classify", "reward")
    parameters = shapes.parameters - (shapes.head if rates else 0)
    if recipe.method != "qlora":
        return parameters * stored
    # peft lifts what is not quantised (embeddings, norms, head) to float32.
    return shapes.linear_parameters * NF4_BYTES + (parameters - shapes.linear_parameters) * 4


def _moments(recipe: Recipe, shapes: ModelShapes, trained: int) -> float:
    """Numbers that the optimiser keeps, in those of one gradient."""
    kind = recipe.optimiser.kind
    if kind == "adafactor":
        # A row and a column for each matrix.
        width = shapes.hidden + shapes.intermediate
        return trained * 2 / max(1, width) * 2 if recipe.method == "full" else trained
    return trained * {"adamw": 2.0, "adamw_8bit": 0.5, "sgd": 0.0}[kind]


def _activations(recipe: Recipe, shapes: ModelShapes, tokens: int, number: int) -> float:
    """What the backward pass of all layers keeps (after Korthikanti et al., arXiv 2205.05198, for gated feed-forwards
    and attention that keeps no matrix of scores)."""
    if recipe.method == "head":
        return tokens * (4 * shapes.hidden + 2 * shapes.intermediate) * number
    each = _layer_activations(recipe, shapes, number)
    if recipe.optimiser.gradient_checkpointing:
        # The inputs of all layers, and one layer done again.
        return tokens * (shapes.layers * shapes.hidden * number + each)
    return tokens * shapes.layers * each


def _layer_activations(recipe: Recipe, shapes: ModelShapes, number: int) -> float:
    """Bytes that one layer keeps for each token; checked against resident memory in tests/long."""
    hidden, inner = shapes.hidden, shapes.intermediate
    # Two norms keep their inputs and what leaves them; attention its queries, repeated keys and values, and its output
    # twice; the feed-forward four products.
    kept = 2 * 2 * hidden + 5 * shapes.query_width + 4 * inner
    if recipe.method == "full":
        kept += 2 * hidden  # normalised values, for the gradients of the norms' weights
    if recipe.method == "ia3":
        kept += 2 * shapes.kv_width + inner
    total = float(kept * number)
    if recipe.method in ("lora", "qlora"):
        modules = adapted(recipe, shapes)
        # What each adapter adds is kept beside what its module gave, and in bfloat16 a float32 copy of its input.
        total += sum(4 * (each.d_out + recipe.lora.rank) for each in modules) / max(1, shapes.layers)
        if number == 2:
            total += sum(4 * each.d_in for each in modules) / max(1, shapes.layers)
    return total


def _logits(recipe: Recipe, shapes: ModelShapes, tokens: int, number: int, *, gpu: bool) -> float:
    if recipe.objective in ("classify", "reward"):
        return 0.0
    if recipe.method == "tool_tokens" or recipe.objective == "distill":
        copies = 6 if recipe.objective == "distill" else 4
        return tokens * shapes.vocabulary * 4 * copies
    tile = min(tokens, TILE_TOKENS) * min(shapes.vocabulary, HEAD_TILE)
    # A kernel works in place on a GPU; elsewhere nine tiles live at once in the backward pass.
    return tile * number if gpu else tile * 4 * 9


def _cache(recipe: Recipe, shapes: ModelShapes, rows: int, length: int, number: int) -> float:
    if recipe.objective not in SAMPLED:
        return 0.0
    return 2.0 * shapes.layers * shapes.kv_width * rows * length * number


def _working(recipe: Recipe, shapes: ModelShapes, stored: int, tokens: int, number: int) -> float:
    """One operation's own memory: a layer's feed-forward in the backward pass, and the gradient of the embeddings
    before it is added up."""
    layer = tokens * 3 * shapes.intermediate * number
    if recipe.method != "full":
        unpacked = shapes.hidden * shapes.intermediate * number if recipe.method == "qlora" else 0
        return layer + unpacked
    return max(layer, shapes.vocabulary * shapes.hidden * 4 * 2)
