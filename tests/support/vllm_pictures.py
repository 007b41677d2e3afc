"""What real vLLM answers to conversations with pictures, as JSON on the last line: run in vLLM's own environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playbill.backends import load_model
from support.vision.checkpoint import entry_of
from support.vision.shapes import SHAPES

if __name__ == "__main__":
    entry = {**entry_of(Path(sys.argv[1])), "backend": "vllm", "threads": 1, "n_ctx": 1024, "dtype": "float32"}
    del entry["device_map"]
    with load_model(entry, max_tokens=8) as model:
        made = model.generate_batch(list(SHAPES.values()))
    found = {
        name: {"ids": g.output_ids, "prompt_ids": g.prompt_ids, "error": g.error, "details": dict(g.details)}
        for name, g in zip(SHAPES, made, strict=True)
    }
    print(json.dumps(found))
