"""Run llama.cpp's converter of checkpoints, in a process of its own: its folder comes first, then its own arguments.

It is told what it looks up for published tokenizers alone: how theirs cuts a text before its merges, and a merge.
"""

from __future__ import annotations

import runpy
import sys

from playbill.backends.engines.checkpoint.vision.torchvision import mend_torchvision

if __name__ == "__main__":
    mend_torchvision()
    root = sys.argv[1]
    sys.argv = [f"{root}/convert_hf_to_gguf.py", *sys.argv[2:]]
    sys.path[:0] = [f"{root}/gguf-py", root]
    import gguf
    from conversion import base  # type: ignore[import-not-found]

    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    write = gguf.SpecialVocab.add_to_gguf

    def with_a_merge(self: gguf.SpecialVocab, *given: object) -> None:
        self.merges = self.merges or ["\u0100 \u0101"]  # two bytes that no text has
        write(self, *given)

    gguf.SpecialVocab.add_to_gguf = with_a_merge
    runpy.run_path(sys.argv[0], run_name="__main__")
