"""The options that every training job has, in groups; the spec is made of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Never changed, and knows no other names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetReference(Strict):
    """Which data set, and the hash that its examples had when the job was made."""

    id: str
    sha256: str


QuantizationName = Literal["none", "int8", "nf4"]


class Quantization(Strict):
    """How the frozen base model is kept in memory. With LoRA, nf4 is what is called QLoRA."""

    quantization: QuantizationName = Field(
        default="none",
        title="Quantization",
        description="nf4 keeps the frozen base model in 4 bits (QLoRA): about a quarter of the memory, slower. int8 "
        "keeps it in 8 bits (LLM.int8): half the memory, a little closer to the original.",
    )
    bnb_4bit_use_double_quant: bool = Field(
        default=True,
        title="Double quantization",
        description="With nf4: quantize the scales as well, which saves 0.37 bits a weight.",
    )
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto",
        title="Compute type",
        description="With nf4: the number format that weights are unpacked to for arithmetic. auto: as the precision.",
    )


class DataOptions(Strict):
    """What is mixed in, what the loss is measured on, and how an example becomes tokens."""

    eval_dataset: DatasetReference | None = Field(
        default=None,
        title="Evaluate on",
        description="A data set of its own to measure the evaluation loss on, instead of a share of the examples.",
    )
    eval_share: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        title="Share for evaluation",
        description="Share of the examples that is kept out of training to measure the evaluation loss.",
    )
    general_dataset: DatasetReference | None = Field(
        default=None,
        title="General data",
        description="A data set whose examples are mixed in, so that the model does not forget what it could do.",
    )
    general_share: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        title="Share of general data",
        description="How much of the training set is general data, when some is mixed in; 0.1 is usual.",
    )
    chat_template: Literal["model", "plain"] = Field(
        default="model",
        title="Chat template",
        description="The model's own, or a plain one (### User: …) for base models that bring none.",
    )
    max_length: int = Field(
        default=512,
        ge=8,
        le=1_048_576,
        title="Max length",
        description="Tokens kept of each example; the rest is cut off. Memory and time grow with it.",
    )


class ForgettingOptions(Strict):
    """What holds the model to what it could before, besides general data that is mixed in."""

    ewc_lambda: float = Field(
        default=0.0,
        ge=0,
        le=1e9,
        title="EWC strength",
        description="Elastic weight consolidation: how hard weights that matter for the general data are held where "
        "they were. Try 10 to 1000 with full fine-tuning; it takes memory for two more copies of the weights. 0: off.",
    )
    ewc_rows: int = Field(
        default=64,
        ge=1,
        le=100_000,
        title="EWC examples",
        description="How many examples of the general data measure which weights matter; each is read once.",
    )


class LearningOptions(Strict):
    """How the optimizer moves the weights."""

    learning_rate: float = Field(
        default=2e-4,
        gt=0,
        le=1,
        title="Learning rate",
        description="Size of the steps. 1e-4 to 3e-4 for LoRA, 1e-5 to 5e-5 for full fine-tuning, "
        "5e-6 to 5e-5 for preference pairs.",
    )
    num_train_epochs: float = Field(
        default=3,
        gt=0,
        le=1000,
        title="Epochs",
        description="How often every example is seen. 1 to 3 as a rule; more on very small sets.",
    )
    max_steps: int = Field(
        default=-1,
        ge=-1,
        le=10_000_000,
        title="Max steps",
        description="Stop after this many optimizer steps, whatever the epochs say. -1: no such limit.",
    )
    per_device_train_batch_size: int = Field(
        default=4,
        ge=1,
        le=4096,
        title="Batch size",
        description="Examples at once on the device. More is steadier and faster, and takes more memory.",
    )
    gradient_accumulation_steps: int = Field(
        default=1,
        ge=1,
        le=4096,
        title="Gradient accumulation",
        description="Batches collected before a step: acts like a larger batch without its memory.",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        default="cosine",
        title="Schedule",
        description="How the learning rate falls over the training.",
    )
    warmup_steps: float = Field(
        default=0.03,
        ge=0,
        le=100_000,
        title="Warm-up",
        description="Steps until the full learning rate is reached; a number below 1 is a share of all steps, rounded "
        "down.",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Weight decay",
        description="Pull of the weights towards zero: 0 for LoRA, 0.01 to 0.1 for full fine-tuning.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        title="Max gradient norm",
        description="Longer gradients are shortened to this length, which tames single bad examples.",
    )
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"] = Field(
        default="adamw_torch",
        title="Optimizer",
        description="adamw_torch is the standard. The 8-bit ones save memory on NVIDIA cards, the paged one "
        "moves its states to main memory when the card is full.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        title="Precision",
        description="Number format of the weights. auto: bfloat16 where the hardware has it, else float32; full "
        "fine-tuning keeps float32 weights.",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Gradient checkpointing",
        description="Compute activations again instead of keeping them: less memory, about a third slower. "
        "auto: only when memory would not suffice.",
    )
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        default="random",
        title="Batches",
        description="group_by_length puts examples of similar length together: less padding on a GPU.",
    )
    seed: int = Field(
        default=42,
        ge=0,
        le=2**31 - 1,
        title="Seed",
        description="The same seed, data and options give the same adapter on a CPU, to the last bit.",
    )


class ReportOptions(Strict):
    """How often a job tells its figures, evaluates and saves."""

    logging_steps: int = Field(
        default=1, ge=1, le=10_000, title="Log every", description="Steps between two points of the charts."
    )
    eval_steps: int = Field(
        default=20, ge=1, le=1_000_000, title="Evaluate every", description="Steps between two evaluations."
    )
    save_steps: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        title="Checkpoint every",
        description="Steps between two checkpoints; a killed job loses at most this many.",
    )
    save_total_limit: int = Field(
        default=2, ge=1, le=100, title="Checkpoints kept", description="Older checkpoints are deleted."
    )
