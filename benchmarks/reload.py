"""`python reload.py BASE TOKENS QUESTION ADAPTER…`: base and each adapter loaded anew to answer, in plain PEFT."""

import gc
import json
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from studio.worker import load


def main(base: str, tokens: int, question: str, adapters: list[str]) -> None:
    """Print the seconds per token over all of them."""
    dtype = load.half_precision(torch.device("cpu")) or torch.float32
    began, written = time.monotonic(), 0
    for adapter in [None, *adapters]:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, trust_remote_code=False)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
        chat = [{"role": "user", "content": question.format(0)}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        answer = model.eval().generate(**ids, max_new_tokens=tokens, do_sample=False)
        written += answer.shape[1] - ids["input_ids"].shape[1]
        del model
        gc.collect()
    print(json.dumps({"seconds_per_token": (time.monotonic() - began) / written}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
