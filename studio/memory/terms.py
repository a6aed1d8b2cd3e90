"""One function a term of the memory: values and options in, bytes out, with its source."""

import math

from studio.memory.parameters import adapter_parameters, trainable_parameters
from studio.memory.setup import Setup
from studio.memory.shapes import Shape

NF4_DOUBLE = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes a weight in NF4 with double quantisation: 4 bits, a uint8 scale per 64 weights, a float32 per 256 scales."""
NF4 = (4 + 32 / 64) / 8
"""Bytes a weight in NF4: 4 bits and a float32 scale per 64 weights."""
ADAM_8BIT = 2 + 2 * 4 / 256
"""Bytes a trained value in 8-bit Adam: two uint8 states, each with a float32 scale per 256 values."""
GENERATING = ("rloo", "grpo", "ppo")
FUSED_TOKENS, FUSED_VOCABULARY = 4096, 32768  # TRL's tile: trl/kernels/chunked_logprob.py


def weights(setup: Setup, shape: Shape) -> float:
    """Bytes of the base model: 2 or 4 a weight; of decoder layers' linear modules less when quantized.

    Embeddings, head, norms and experts stay 16-bit under bitsandbytes; `prepare_model_for_kbit_training` makes
    all but the experts float32. int8 adds a float32 scale an output row (bitsandbytes' Int8Params).
    """
    if setup.quantization == "none":
        return shape.parameters * setup.weight_bytes
    linear = shape.layers * shape.linear_weights
    experts = shape.layers * shape.expert_weights
    rest = shape.parameters - linear - experts
    if setup.quantization == "nf4":
        quantized = linear * (NF4_DOUBLE if setup.double_quant else NF4)
    else:
        quantized = linear + 4 * shape.layers * sum(outputs for _, _, outputs in shape.linear)
    return quantized + experts * setup.weight_bytes + rest * (4 if setup.float32_rest else setup.weight_bytes)


def reference_model(setup: Setup, shape: Shape) -> float:
    """Bytes of further models: a frozen reference, a reward model, a value model.

    An adapter that is switched off is its own reference, and one that is computed beforehand is not kept. A reward
    model is float32 without a language head. PPO here has a value head; a value model of its own, as in the
    textbook, learns like the policy.
    """
    total = weights(setup, shape) if setup.copies_reference else 0.0
    if setup.reward_model and setup.objective in GENERATING:
        total += 4.0 * (shape.parameters - (0 if shape.tied else shape.embedding_weights))
    if setup.value_model and setup.objective == "ppo":
        states = adapter(setup, shape) + gradients(setup, shape) + optimizer(setup, shape)
        total += weights(setup, shape) + states
    return total


def adapter(setup: Setup, shape: Shape) -> float:
    """Bytes of what the tuner adds: float32 beside 16-bit weights (PEFT), bfloat16 beside quantized ones (TRL).
    SHiRA keeps the place of every value as well (peft/tuners/shira/layer.py)."""
    if setup.trains_weights:
        return 0.0
    places = 8 * adapter_parameters(setup, shape) if setup.tuner == "shira" else 0  # two int32 a value: where it is
    return trainable_parameters(setup, shape) * setup.adapter_bytes + places


def gradients(setup: Setup, shape: Shape) -> float:
    """Bytes of the gradients, in the dtype of what is trained."""
    return trainable_parameters(setup, shape) * setup.trained_bytes


def optimizer(setup: Setup, shape: Shape) -> float:
    """Bytes of the optimizer's states: AdamW two values, 8-bit 2.03 bytes, paged ones in main memory.

    Trainer keeps 8-bit states of embeddings in 32 bits (transformers/trainer.py). Adafactor keeps a row and a
    column for every matrix, which is little beside the rest.
    """
    trained = trainable_parameters(setup, shape)
    if setup.optim in ("paged_adamw_8bit", "paged_adamw_32bit", "sgd"):
        return 0.0
    if setup.optim == "adafactor":
        return 4 * trained / max(1, shape.hidden // 2)
    if setup.optim == "adamw_8bit":
        embeddings = shape.embedding_weights if setup.tuner == "full" else 0
        return trained * ADAM_8BIT + embeddings * (8 - ADAM_8BIT)
    return trained * 2 * setup.trained_bytes


def step_temporary(setup: Setup, shape: Shape) -> float:
    """Bytes that an optimizer step needs in passing: foreach AdamW makes one copy, the fused one none.

    Source: torch.optim.adamw; Mistral-7B, Llama-3-8B and PowerLM measured 10.00 bytes a weight, 2 of them this.
    Adafactor takes one tensor at a time: gradient and weights in float32, and two more while it makes the update;
    most for the largest one (transformers/optimization.py).
    """
    trained = trainable_parameters(setup, shape)
    if setup.optim == "adamw_torch":
        return trained * setup.trained_bytes
    if setup.optim == "adafactor":
        return largest_trained(setup, shape) * (8 if setup.trained_bytes == 4 else 16)
    return 0.0


def largest_trained(setup: Setup, shape: Shape) -> int:
    """Weights of the largest tensor that learns."""
    experts = 2 * shape.experts * shape.hidden * shape.intermediate  # gate and up of all of a layer's in one
    matrix = max(experts, *(inputs * outputs for _, inputs, outputs in shape.linear))
    if setup.tuner == "full":
        return max(shape.embedding_weights, matrix)
    trained = trainable_parameters(setup, shape)
    return min(trained, matrix) if setup.tuner == "partial" else trained // (2 * shape.layers)


def trains_head(setup: Setup) -> bool:
    """Whether the output head learns, and so has a gradient. A reward model has none."""
    if setup.objective == "reward":
        return False
    return setup.tuner == "full" or (setup.tuner == "partial" and bool(setup.options.get("train_head")))


def loss(setup: Setup, shape: Shape) -> float:
    """Bytes of the head and the loss at their peak.

    fused: TRL's tile of 4096 tokens × 32768 words in 16 bits and 8h + 36 bytes a learned token; a head that is
    trained has a float32 gradient and its 16-bit cast, 6 bytes a weight. full: transformers' logits, float32 copy,
    log-softmax and its gradients, 12 bytes a logit in 4.51 and later (14 in 4.48). liger: chunks. reward: none.
    """
    tokens, h, v = setup.tokens, shape.hidden, shape.vocab
    if setup.objective == "reward":
        return 8.0 * setup.sequences * h
    if setup.head == "fused":
        learned = tokens * setup.supervised_share
        total = learned * (8 * h + 36) + min(learned, FUSED_TOKENS) * FUSED_VOCABULARY * 2
        if setup.dtype == "float32" and setup.autocast:
            total += 2 * min(v, FUSED_VOCABULARY) * h
        return total + ((4 if setup.dtype == "float32" else 6) * shape.embedding_weights if trains_head(setup) else 0)
    if setup.head == "liger":
        chunk = min(tokens, int(2 ** math.ceil(math.log2(max(1.0, tokens / math.ceil(v / h))))))
        head = shape.embedding_weights * setup.weight_bytes if trains_head(setup) else 0
        return chunk * v * 6 + 2 * h * tokens + head
    kept = 2 * tokens * v if setup.keep_outputs else 0
    return tokens * v * setup.logit_bytes + kept


def loss_forward(setup: Setup, shape: Shape) -> float:
    """Bytes of head and loss at the end of the forward pass, before there are gradients."""
    if setup.head != "fused" or setup.objective == "reward":
        return loss(setup, shape) * (setup.logit_bytes - 2) / setup.logit_bytes
    learned = setup.tokens * setup.supervised_share
    return learned * (2 * shape.hidden + 36) + min(learned, FUSED_TOKENS) * FUSED_VOCABULARY * 2


def generation(setup: Setup, shape: Shape) -> float:
    """Bytes of the keys and values while rloo, grpo and ppo generate, 16 bits each; 0 for the others."""
    if setup.objective not in GENERATING:
        return 0.0
    return setup.batch * (setup.length + setup.completion) * 2 * shape.kv * 2 * shape.layers


def dequantized(setup: Setup, shape: Shape) -> float:
    """Bytes of the largest matrix while it is unpacked to 16 bits for a product."""
    if setup.quantization == "none":
        return 0.0
    return 2 * max(inputs * outputs for _, inputs, outputs in shape.linear)


def embedding_spike(setup: Setup, shape: Shape) -> float:
    """Bytes when a shared table gets its two gradients: that of the head, that of the embeddings and their sum, beside
    what earlier batches of the step have left."""
    if setup.tuner != "full" or not shape.tied or shape.scores:
        return 0.0
    return (3 if setup.accumulation > 1 else 2) * shape.embedding_weights * setup.weight_bytes
