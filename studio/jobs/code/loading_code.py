"""How a script loads the tokenizer and the base model."""

import pprint
from collections.abc import Iterator

from studio.data.chat_template import PLAIN_TEMPLATE
from studio.jobs.events import Started
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS

WIDTH = 100


def scores(spec: TrainSpec) -> bool:
    """Whether the model gives a text one number."""
    return OBJECTIVES[spec.objective.name].task_type == "SEQ_CLS"


def model_class(spec: TrainSpec) -> str:
    """What the base model is loaded as."""
    return "AutoModelForSequenceClassification" if scores(spec) else "AutoModelForCausalLM"


def loading(spec: TrainSpec, started: Started | None) -> str:
    """Tokenizer and base model, in the precision that the job had, or would have."""
    lines = ["tokenizer = AutoTokenizer.from_pretrained(BASE_MODEL, trust_remote_code=False)"]
    if spec.chat_template == "plain":
        lines.append(f"tokenizer.chat_template = {pprint.pformat(PLAIN_TEMPLATE, width=WIDTH)}")
    lines += ["if tokenizer.pad_token is None:", "    tokenizer.pad_token = tokenizer.eos_token", ""]
    lines += _precision(spec, started)
    if scores(spec):
        lines.append("set_seed(SEED)  # the head that scores begins at random")
    lines += [
        f"model = {model_class(spec)}.from_pretrained(",
        "    BASE_MODEL,",
        "    dtype=weights,",
        '    attn_implementation="sdpa",',
        "    use_safetensors=True,",
        "    trust_remote_code=False,",
        '    device_map={"": 0} if torch.cuda.is_available() else None,',
        *(["    num_labels=1,"] if scores(spec) else []),
        *_quantization(spec),
        ")",
    ]
    return "\n".join(lines)


def _precision(spec: TrainSpec, started: Started | None) -> Iterator[str]:
    """Lines that set `weights` (the model's dtype) and `autocast`: what the job had, or what it would have."""
    if started is not None:
        weights, _, arithmetic = started.dtype.partition(", ")
        yield f"weights, autocast = torch.{weights}, {_dtype(arithmetic.removesuffix(' arithmetic'))}"
    elif spec.dtype != "auto":
        yield f"weights, autocast = torch.{spec.dtype}, {_dtype('' if spec.dtype == 'float32' else spec.dtype)}"
    else:
        half = "torch.bfloat16 if torch.cuda.is_available() else"
        yield f"autocast = {half} None"
        whole = TUNERS[spec.tuner.name].whole_model
        yield "weights = torch.float32" if whole else f"weights = {half} torch.float32"


def _dtype(name: str) -> str:
    return f"torch.{name}" if name else "None"


def _quantization(spec: TrainSpec) -> Iterator[str]:
    if spec.quantization == "int8":
        yield "    quantization_config=BitsAndBytesConfig(load_in_8bit=True),"
    if spec.quantization == "nf4":
        compute = "weights" if spec.bnb_4bit_compute_dtype == "auto" else f"torch.{spec.bnb_4bit_compute_dtype}"
        yield "    quantization_config=BitsAndBytesConfig("
        yield "        load_in_4bit=True,"
        yield '        bnb_4bit_quant_type="nf4",'
        yield f"        bnb_4bit_use_double_quant={spec.bnb_4bit_use_double_quant},"
        yield f"        bnb_4bit_compute_dtype={compute},"
        yield "    ),"
