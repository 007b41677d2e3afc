"""Expand a rendered prompt with a checkpoint's own processor: an image token for each patch, and pixel values.

The ids are those of transformers' `apply_chat_template(tokenize=True, return_dict=True)`: the processor adds its
special tokens unless the prompt begins with BOS. Pictures are handed over opened, so the processor opens and
fetches nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.engines.checkpoint.vision.counting import picture_tokens, what_was_made
from playbill.backends.engines.checkpoint.vision.torchvision import torchvision_facts
from playbill.backends.errors import BackendUnavailable, MessageError
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture
from playbill.backends.prompt.pictures.opening import OpenedPicture, open_picture

__all__ = ["CheckpointProcessor"]

_NO_FEATURES = ("input_ids", "attention_mask")


class CheckpointProcessor:
    """A processor of transformers, called by one thread at a time: its tokenizer changes its state on every call."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._lock = threading.Lock()
        self._replaced: list[str] = []
        self._watch_replacements()
        self.placeholder: str = processor.image_token
        self._tokens = picture_tokens(processor)
        others = (getattr(processor, f"{kind}_token", None) for kind in ("video", "audio"))
        self.markers = tuple(dict.fromkeys([self.placeholder, *self._tokens, *(o for o in others if o)]))

    @property
    def chat_template(self) -> Any:
        """The processor's chat template, or several by name; it may stand in a file that a tokenizer doesn't read."""
        return getattr(self._processor, "chat_template", None)

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        opened = [open_picture(picture) for picture in pictures]
        tokenizer = self._processor.tokenizer
        options: dict[str, Any] = {"return_tensors": "pt"}
        if tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token):
            options["add_special_tokens"] = False
        with self._lock:
            self._replaced = []
            made = self._called(text, [each.image for each in opened], pictures, options)
            replaced = self._replaced
        ids = tuple(made["input_ids"][0].tolist())
        features = {name: value for name, value in made.items() if name not in _NO_FEATURES}
        facts = what_was_made(replaced, features, tokenizer, self._tokens, ids, len(opened))
        noted = tuple({**fact, **_notes(each)} for fact, each in zip(facts, opened, strict=True))
        return ExpandedPrompt(ids, features, noted)

    def rendered_ids(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt whose pictures are placeholders still, begun as the processor begins it."""
        tokenizer = self._processor.tokenizer
        begun = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        with self._lock:
            return tuple(tokenizer(text, **({"add_special_tokens": False} if begun else {})).input_ids)

    def _watch_replacements(self) -> None:
        """Note what placeholders are replaced with: how many tokens each picture gets stands there alone."""
        replace: Any = getattr(self._processor, "get_text_with_replacements", None)
        if replace is None:
            return

        def watched(*args: Any, **kwargs: Any) -> Any:
            text, offsets = replace(*args, **kwargs)
            found = [str(each["replacement"]) for row in offsets for each in row if each.get("type") == "image"]
            self._replaced = found
            return text, offsets

        self._processor.get_text_with_replacements = watched

    def _called(self, text: str, images: list[Any], pictures: Sequence[Picture], options: dict[str, Any]) -> Any:
        try:
            return self._processor(text=text, images=[images] if images else None, **options)
        except ImportError as e:
            raise BackendUnavailable(f"the model's processor needs a package: {' '.join(str(e).split())[:200]}") from e
        except Exception as e:
            if not images:
                raise
            sizes = ", ".join(f"{p.place} of {p.width} x {p.height}" for p in pictures)
            said = " ".join(str(e).split())[:300]
            raise MessageError(
                f"{pictures[0].place}: the model's processor refuses the pictures ({sizes}): {type(e).__name__}: {said}"
            ) from e

    def facts(self) -> Mapping[str, Any]:
        eyes = self._processor.image_processor
        return {
            "class": type(self._processor).__name__,
            "image_processor": type(eyes).__name__,
            "image_backend": getattr(eyes, "backend", None),
            "pillow": installed_version("pillow"),
            **torchvision_facts(),
        }


def _notes(opened: OpenedPicture) -> dict[str, Any]:
    return {"notes": list(opened.notes)} if opened.notes else {}
