"""A tuner's options as lines of Python: PEFT's configuration, or what is frozen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.targets import modules, names_of
from studio.methods.tuners.lora import BEGINNINGS, changes_base

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TunerCode:
    """`name` and `values` of PEFT's configuration (empty: none).

    `before`: lines run on the loaded model; `after`: on the trainer. `methods`: more of the trainer's, as lines.
    `saving`: what saves in place of trainer.save_model, `saved`: its further arguments. `transformers`: names
    imported from there; `imports`: lines. `wrap`: a function of `before` that the configuration goes through.
    `own`: the configuration's class is not PEFT's but stands in the script.
    """

    name: str = ""
    values: dict[str, Any] | None = None
    before: str = ""
    after: str = ""
    methods: str = ""
    saving: str = ""
    saved: str = ""
    transformers: tuple[str, ...] = ()
    imports: str = ""
    wrap: str = ""
    own: bool = False


def tuner_code(spec: TrainSpec, config: Config, base_model: str) -> TunerCode:
    """How plain PEFT says a spec's tuner on a model. Raises UserError with the reason where it cannot."""
    options: Any = spec.tuner
    made = MAKERS[options.name](options, config, base_model)
    if made.saving and OBJECTIVES[spec.objective.name].task_type == "SEQ_CLS":
        raise UserError(f"PEFT's conversion of {options.init_lora_weights} leaves a reward model's head out.", INSTEAD)
    return made


def call(name: str, values: Config, indent: str) -> str:
    """The call of a class with its values, a line each."""
    inner = "\n".join(f"{indent}{key}={value!r}," for key, value in values.items())
    return f"{name}(\n{inner}\n{indent[4:]})"


def _full(options: Any, config: Config, base_model: str) -> TunerCode:
    return TunerCode()


def _partial(options: Any, config: Config, base_model: str) -> TunerCode:
    if "num_hidden_layers" not in config or not hasattr_layers(config):
        raise UserError(f"Where the layers of {config.get('model_type')} are is not known here.", INSTEAD)
    lines = [
        "model.requires_grad_(False)",
        f"learning = [*model.model.layers[-{options.trained_layers}:]]",
    ]
    if options.train_norm:
        lines.append("learning.append(model.model.norm)")
    if options.train_embeddings:
        lines.append("learning.append(model.get_input_embeddings())")
    if options.train_head:
        lines.append("learning.append(model.get_output_embeddings())")
    lines += ["for part in learning:", "    part.requires_grad_(True)"]
    return TunerCode(before="\n".join(lines))


def hasattr_layers(config: Config) -> bool:
    """Whether transformers calls this architecture's decoder layers `model.model.layers`."""
    return config.get("model_type") in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "smollm3")


LORA_PLUS = """
    def create_optimizer(self, model=None):
        \"\"\"LoRA+: B and one-dimensional weights learn faster than A.\"\"\"
        if self.optimizer is None:
            slow, fast, plain = [], [], []
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    (plain if weight.ndim == 1 else fast if "lora_B" in name else slow).append(weight)
            rate, decay = self.args.learning_rate, self.args.weight_decay
            groups = [
                {{"params": slow, "lr": rate, "weight_decay": decay}},
                {{"params": fast, "lr": rate * {ratio}, "weight_decay": decay}},
                {{"params": plain, "lr": rate * {ratio}, "weight_decay": 0.0}},
            ]
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind([group for group in groups if group["params"]], **options)
        return self.optimizer
"""
INITIAL = """trainer.model.save_pretrained(str(HERE / "initial_adapter"))  # the result is the difference to it
"""


def _lora(options: Any, config: Config, base_model: str) -> TunerCode:
    values = options.library_options()
    ratio = values.pop("loraplus_lr_ratio")
    begun = BEGINNINGS.get(options.init_lora_weights, options.init_lora_weights)
    values |= {"target_modules": modules(config, options.target_modules), "init_lora_weights": begun, "bias": "none"}
    return TunerCode(
        name="LoraConfig",
        values=values,
        methods="" if ratio == 1 else LORA_PLUS.format(ratio=ratio),
        **(CONVERTED if changes_base(options) else {}),
    )


CONVERTED: dict[str, Any] = {
    "after": INITIAL,
    "saving": "trainer.model.save_pretrained",
    "saved": ', path_initial_model_for_weight_conversion=str(HERE / "initial_adapter")',
}
MOVED_RANKS = """for name, weight in trainer.model.named_parameters():
    if ".ranknum." in name:  # a constant, which PEFT lets learn with the rest
        weight.requires_grad_(False)
*_, steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
schedule = trainer.model.peft_config["default"]
schedule.total_step = steps
schedule.tinit, schedule.tfinal = (int(given * steps) if given < 1 else int(given) for given in ({tinit}, {tfinal}))


class MoveRanks(TrainerCallback):
    def on_optimizer_step(self, args, state, control, **kwargs):
        trainer.model.base_model.update_and_allocate(state.global_step + 1)


trainer.add_callback(MoveRanks())
"""


def _adalora(options: Any, config: Config, base_model: str) -> TunerCode:
    values = options.library_options()
    values |= {"target_modules": modules(config, options.target_modules), "tinit": 0, "tfinal": 0, "total_step": 1}
    after = MOVED_RANKS.format(tinit=options.tinit, tfinal=options.tfinal)
    return TunerCode(name="AdaLoraConfig", values=values, after=after, transformers=("TrainerCallback",))


LARGEST = """def largest(base_layer, r, **unused):
    weight = dequantize_module_weight(base_layer).detach().abs()
    mask = weight.new_zeros(weight.numel(), dtype=bool)
    mask[weight.flatten().topk(r * sum(weight.shape)).indices] = True
    return mask.view(weight.shape)


def by_size(config):
    config.mask_type, config.mask_fn = "magnitude", largest
    return config
"""


def _shira(options: Any, config: Config, base_model: str) -> TunerCode:
    if options.mask_type == "gradient":
        raise UserError("SHiRA's gradient mask is measured before training by the studio's own code.", INSTEAD)
    values = {"r": options.r, "target_modules": modules(config, options.target_modules)}
    if options.mask_type == "random":
        return TunerCode(name="ShiraConfig", values=values)
    imports = "from peft.utils.integrations import dequantize_module_weight\n"
    return TunerCode(name="ShiraConfig", values=values, before=LARGEST, wrap="by_size", imports=imports)


def _ia3(options: Any, config: Config, base_model: str) -> TunerCode:
    names = names_of(config)
    inner = [names.feedforward_out] if options.feedforward_modules == "with" else []
    values = {"target_modules": sorted({names.key, names.value}) + inner, "feedforward_modules": inner}
    return TunerCode(name="IA3Config", values=values)


def _bottleneck(options: Any, config: Config, base_model: str) -> TunerCode:
    names = names_of(config)
    values = {
        "bottleneck_size": options.bottleneck_size,
        "activation": options.activation,
        "target_modules": [names.feedforward_out, *([names.output] if options.placement == "houlsby" else [])],
    }
    return TunerCode(name="BottleneckConfig", values=values, own=True)


def _prompt_tuning(options: Any, config: Config, base_model: str) -> TunerCode:
    values = options.library_options()
    if options.prompt_tuning_init == "TEXT":
        values["tokenizer_name_or_path"] = base_model
    else:
        del values["prompt_tuning_init_text"]
    return TunerCode(name="PromptTuningConfig", values=values)


def _p_tuning(options: Any, config: Config, base_model: str) -> TunerCode:
    return TunerCode(name="PromptEncoderConfig", values=options.library_options())


def _prefix(options: Any, config: Config, base_model: str) -> TunerCode:
    return TunerCode(name="PrefixTuningConfig", values=options.library_options())


MAKERS: dict[str, Callable[[Any, Config, str], TunerCode]] = {
    "full": _full,
    "partial": _partial,
    "lora": _lora,
    "adalora": _adalora,
    "shira": _shira,
    "ia3": _ia3,
    "bottleneck": _bottleneck,
    "prompt_tuning": _prompt_tuning,
    "p_tuning": _p_tuning,
    "prefix_tuning": _prefix,
    "p_tuning_v2": _prefix,
}
