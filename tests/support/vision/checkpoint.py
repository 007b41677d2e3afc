"""Save a tiny vision checkpoint to a folder, and say what transformers' own `generate` answers to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.vision.kinds import KINDS


def save_tiny(kind: str, folder: Path, **text: Any) -> Path:
    """Write configuration, random weights, processor and template; the weights are the same each time. ``text`` goes
    into the text model's configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    made = KINDS[kind]
    processor = made.processor()
    processor.chat_template = made.template
    given = made.config(processor.tokenizer)
    config = AutoConfig.for_model(made.model_type, **{**given, "text_config": {**given["text_config"], **text}})
    torch.manual_seed(7)
    model = AutoModelForImageTextToText.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def entry_of(folder: Path, **more: Any) -> dict[str, Any]:
    """Return an entry for a folder."""
    return {
        "model_name": folder.name,
        "backend": "huggingface_local",
        "huggingface_id": str(folder),
        "premade_chat_template": True,
        "eos_to_cull": "</s>",
        "multimodality": {"single_image": True, "multiple_images": True},
        "device_map": "cpu",
        **more,
    }


class Reference:
    """transformers alone: its processor and its `generate`, one conversation at a time."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()

    def inputs(self, messages: Sequence[Mapping[str, Any]], images: Sequence[Any]) -> Any:
        """Return what `apply_chat_template` makes of messages with bare image parts, and opened pictures."""
        return self.processor.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"images": list(images)} if images else {},
        )

    def answer(self, inputs: Any, tokens: int) -> tuple[int, ...]:
        """Return the new ids, greedily and past end tokens."""
        import torch
        from transformers import GenerationConfig

        self.model.generation_config = GenerationConfig()
        options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "eos_token_id": None}
        with torch.inference_mode():
            whole = self.model.generate(**inputs, pad_token_id=0, **options)
        return tuple(whole[0, inputs["input_ids"].shape[1] :].tolist())
