"""What real vLLM answers, as JSON on the last line: run by test_vllm_real in vLLM's own environment. No test itself."""

from __future__ import annotations

import json
import sys
import threading
import time

from playbill.backends import PlaybillError, load_model

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
QUESTIONS = [[{"role": "user", "content": f"What is {i} plus {i}? Answer in a sentence."}] for i in range(6)]
SAMPLERS = [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}]
"""Each leaves the likeliest token only, whatever the temperature."""
PENALTIES = [{"repetition_penalty": 1.6}, {"presence_penalty": 1.5}, {"frequency_penalty": 1.5}]
OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<t>"
)
THINKING = {
    "premade_chat_template": False,
    "custom_chat_template": OPENED,
    "cot_start_tag": "<t>",
    "cot_end_tag": ".",
}
BUDGETS = [{"max_thinking_tokens": 3, "max_tokens": 20}, {"max_thinking_tokens": 60, "max_tokens": 4}]
"""The first ends in the thinking, the second after it."""


def entry(folder, **keys):
    found = {"backend": "vllm", "huggingface_id": folder, "premade_chat_template": True, "eos_to_cull": "<|im_end|>"}
    return {"model_name": "real", **found, "threads": 1, "n_ctx": 1024, **keys}


def told(generation):
    return {
        "text": generation.text,
        "thinking": generation.thinking,
        "ids": list(generation.output_ids or ()),
        "prompt_ids": list(generation.prompt_ids or ()),
        "outcome": str(generation.outcome),
        "raw_reason": generation.finish_reason_raw,
        "cached": generation.usage.cached_tokens,
        "effective": dict(generation.params.effective),
        "details": dict(generation.details),
        "error": generation.error,
    }


def failure(**keys):
    try:
        load_model(entry(**keys)).close()
    except PlaybillError as e:
        return f"{type(e).__name__}: {e}"
    return None


def answers(model, found):
    """One engine: alone and together, streamed, stopped, sampled, too long, cancelled."""
    found["facts"] = dict(model.engine.facts())
    found["one"] = told(model.generate(CAPITAL, max_tokens=20))
    found["stream"] = list(model.stream(CAPITAL, max_tokens=20))
    found["stopped"] = told(model.generate(CAPITAL, max_tokens=20, stop="ital of"))
    found["logprobs"] = told(model.generate(CAPITAL, max_tokens=3, logprobs=2))
    found["sampled"] = [told(model.generate(STORY, max_tokens=12, temperature=1.0, seed=s)) for s in (1, 1, 2)]
    found["single"] = [told(model.generate(q, max_tokens=24)) for q in QUESTIONS]
    long = [{"role": "user", "content": "word " * 3000}]
    found["batch"] = [told(g) for g in model.generate_batch([*QUESTIONS[:3], long, *QUESTIONS[3:]], max_tokens=24)]
    history = [*STORY, {"role": "assistant", "content": model.generate(STORY, max_tokens=80).text}]
    found["second_turn"] = told(model.generate([*history, {"role": "user", "content": "Go on."}], max_tokens=4))
    cancelled = model.submit(STORY, max_tokens=900)
    time.sleep(0.5)
    cancelled.cancel()
    found["after_cancelling"] = told(model.generate(CAPITAL, max_tokens=20))
    found["samplers"] = [told(model.generate(CAPITAL, max_tokens=20, temperature=1.5, seed=1, **s)) for s in SAMPLERS]
    found["penalties"] = [told(model.generate(STORY, max_tokens=40, **p)) for p in PENALTIES]
    found["bad_parameter"] = told(model.generate(CAPITAL, max_tokens=3, presence_penalty=50.0))


def modules():
    """How many layers of torch are alive in this process, frozen ones too."""
    import gc

    import torch

    gc.unfreeze()
    return sum(isinstance(each, torch.nn.Module) for each in gc.get_objects())


def main():
    full, tiny, adapter, merged = sys.argv[1:]
    found: dict = {}
    found["bad_quantization"] = failure(folder=tiny, quantization="nonsense")
    found["exact_on_a_cpu"] = failure(folder=tiny, batching="exact")
    found["too_many_gpus"] = failure(folder=tiny, number_gpus=7)
    with load_model(entry(full, dtype="float32")) as model:
        answers(model, found)
        with load_model(entry(tiny, n_ctx=256)) as second:
            found["second_engine"] = told(second.generate(CAPITAL, max_tokens=8))
        found["after_the_second"] = told(model.generate(CAPITAL, max_tokens=20))
        waiting = model.submit(STORY, max_tokens=900)
    found["closed"] = told(waiting.result(30))
    before = modules()
    with load_model(entry(tiny)) as model:
        found["modules_loaded"] = modules() - before
        found["tiny"] = told(model.generate(CAPITAL, max_tokens=12))
    found["modules_left"] = modules() - before
    with load_model(entry(tiny, peft_model=adapter)) as model:
        found["adapter"] = told(model.generate(CAPITAL, max_tokens=12))
        found["adapter_facts"] = dict(model.engine.facts())
    with load_model(entry(full, dtype="float32", **THINKING)) as model:
        found["budgets"] = [told(model.generate(STORY, **b)) for b in BUDGETS]
    with load_model(entry(merged)) as model:
        found["merged"] = told(model.generate(CAPITAL, max_tokens=12))
    with load_model(entry(full, dtype="float32", eos_to_cull=" Paris")) as model:
        found["any_stop_id"] = told(model.generate(CAPITAL, max_tokens=20))
    found["threads_left"] = [t.name for t in threading.enumerate() if t.name.startswith("playbill-vllm")]
    print(json.dumps(found))


if __name__ == "__main__":  # vLLM's second engine is a process that imports this file
    main()
