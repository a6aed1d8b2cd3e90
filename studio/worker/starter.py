"""The starter model's GGUF → a plain safetensors model: `python -m studio.worker.starter FILE.gguf FOLDER`."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

LINEAR_OR_EMBEDDING = (torch.nn.Linear, torch.nn.Embedding)


def convert(gguf: Path, folder: Path) -> None:
    """De-quantise `gguf` once and save model, tokenizer and chat template in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        # Without this, transformers 5.23 keeps the weights packed and would save them so.
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    require_plain(model)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    split_digits(tokenizer)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def require_plain(model: PreTrainedModel) -> None:
    """Raise RuntimeError when something of the model is still packed."""
    if getattr(model.config, "quantization_config", None) is not None:
        raise RuntimeError("the model still has a quantization_config")
    for name, module in model.named_modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor) and not module.weight.is_floating_point():
            raise RuntimeError(f"{name} is still packed: {module.weight.dtype}")


def split_digits(tokenizer: object) -> None:
    """SmolLM's tokenizer takes numbers digit by digit; the GGUF reader knows only GPT-2's rules."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[attr-defined]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
