"""The rules for models that are shown pictures: PB230 on. `playbill.proof.checks.pictures` judges by them."""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of

__all__ = ["PICTURE_RULES"]

PICTURE_UNREAD = Rule(
    code="PB230",
    name="picture-unread",
    severity=Severity.ERROR,
    summary="The chat template leaves pictures out.",
    why="The model answers about a picture that it never saw, and nothing in its answer says so.",
    prevents="Text templates given to a vision model, whose every picture was passed over without a word.",
    mend="Set `custom_chat_template` to one that writes a placeholder for each part of type `image`.",
)
PICTURE_PLACES = Rule(
    code="PB231",
    name="picture-places",
    severity=Severity.ERROR,
    summary="A prompt has more places for pictures, or fewer, than the conversation has pictures.",
    why="The processor refuses such a prompt, or shows a picture in another one's place.",
    prevents="Templates that show pictures of the last message only, so that a dialogue forgets its first.",
    mend="Mend the template; the message says for which conversation.",
)
PICTURE_MOVED = Rule(
    code="PB232",
    name="picture-moved",
    severity=Severity.NOTE,
    summary="The chat template puts a message's pictures before its text, wherever they stand.",
    why="What a message says of its order, as `the first picture above`, is not what the model sees.",
    prevents="Two models compared on the order of pictures and text, of which one never sees it.",
    mend="Nothing, if the model was trained so.",
)
IMAGE_TOKENS = Rule(
    code="PB233",
    name="image-tokens",
    severity=Severity.ERROR,
    summary="The prompt doesn't hold as many image tokens as the processor gives a picture.",
    why="The model puts a picture's features in the places of these tokens: one too few, and it fails or sees another.",
    prevents="A tokenizer that doesn't know the image token, so that a picture becomes the letters of its name.",
    mend="Take tokenizer and processor from one repository; the message says for which size of picture.",
)

RUN_OTHERWISE = Rule(
    code="PB234",
    name="run-otherwise",
    severity=Severity.WARNING,
    summary="The engine is known to compute pictures of this kind of model otherwise than the model was trained.",
    why="Answers are those of a model that sees a little less, or a little beside; nothing in them says so.",
    prevents="A LLaVA under llama.cpp scored as LLaVA, though it never sees the first patch of a picture.",
    mend="Take the model's checkpoint under `huggingface_local`; waive it where llama.cpp's way is what you measure.",
)

PICTURE_RULES = table_of((PICTURE_UNREAD, PICTURE_PLACES, PICTURE_MOVED, IMAGE_TOKENS, RUN_OTHERWISE))
"""Rules of pictures by code."""
