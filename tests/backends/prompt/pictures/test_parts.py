"""Pictures in messages: found in each form, in the order in which they are shown."""

from __future__ import annotations

import pytest

from playbill.backends import MessageError
from playbill.backends.prompt.pictures import PicturePart, TextPart, has_pictures, parts_of
from playbill.backends.prompt.pictures.taken import check_pictures_taken

TEXT = {"type": "text", "text": "a"}
URL = "https://e.org/a.png"


def shown(message):
    """The texts and sources of a message's parts."""
    return [p.text if isinstance(p, TextPart) else f"<{p.source}>" for p in parts_of(message, "messages[0]")]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "a"}, ["a"]),
        ({"content": ""}, [""]),
        ({"content": "a", "image": "p.png"}, ["<p.png>", "a"]),
        ({"content": "See <image> this", "image": ["p.png", URL]}, ["<p.png>", f"<{URL}>", "See this"]),
        ({"content": "", "image": "p.png"}, ["<p.png>"]),
        ({"content": [TEXT, {"type": "image", "path": "p.png"}]}, ["a", "<p.png>"]),
        ({"content": [{"type": "image_url", "image_url": {"url": URL}}, TEXT]}, [f"<{URL}>", "a"]),
        ({"content": [{"type": "image_url", "image_url": URL}]}, [f"<{URL}>"]),
        (
            {"content": [{"type": "image", "image": "p.png"}, TEXT, {"type": "image", "url": URL}]},
            ["<p.png>", "a", f"<{URL}>"],
        ),
        ({"content": [{"type": "image", "source": {"type": "url", "url": URL}}]}, [f"<{URL}>"]),
        (
            {"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]},
            ["<data:image/png;base64,QQ==>"],
        ),
        ({"content": [TEXT], "image": "p.png"}, ["<p.png>", "a"]),
    ],
)  # fmt: skip
def test_parts_keep_their_order_and_pictures_of_clembench_come_first(message, expected):
    """The mark that clembench's games write into a text goes only where the picture comes by the key."""
    assert shown({"role": "user", **message}) == expected
    assert has_pictures([{"role": "user", **message}]) is any(part.startswith("<") for part in expected)


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"content": "a", "image": 7}, r"messages\[0\].image\[0\]: is no path"),
        ({"content": "a", "image": ["p.png", None]}, r"messages\[0\].image\[1\]: is no path"),
        ({"content": [{"type": "image"}]}, r"messages\[0\].content\[0\]: names no picture"),
        (
            {"content": [TEXT, {"type": "audio", "path": "a.wav"}]},
            r"content\[1\]: a part of type 'audio' can't be sent",
        ),
    ],
)
def test_what_names_no_picture_is_told_with_its_place(message, place):
    """Nothing is passed over."""
    with pytest.raises(MessageError, match=place):
        parts_of({"role": "user", **message}, "messages[0]")


def test_a_picture_part_knows_its_place():
    """By which errors and records name it."""
    parts = parts_of(
        {"role": "user", "content": [TEXT, {"type": "image", "path": "p.png"}], "image": "q.png"}, "messages[3]"
    )
    places = [part.place for part in parts if isinstance(part, PicturePart)]
    assert places == ["messages[3].image[0]", "messages[3].content[1]"]


@pytest.mark.parametrize(
    ("entry", "pictures", "problem"),
    [
        ({"multimodality": {"single_image": True}}, 1, None),
        ({"multimodality": {"single_image": True}}, 2, "allows one a message"),
        ({"multimodality": {"single_image": True, "multiple_images": True}}, 2, None),
        (
            {"multimodality": {"single_image": False, "multiple_images": False}},
            1,
            "doesn't say that the model takes any",
        ),
        ({"multimodal": True}, 2, None),
        ({"multimodal": False}, 1, "doesn't say"),
        ({}, 1, "doesn't say"),
        ({}, 0, None),
    ],
)
def test_only_as_many_pictures_go_as_the_entry_says(entry, pictures, problem):
    """By `multimodality`, or by clemcore's short word for it."""
    messages = [{"role": "user", "content": "a", "image": ["p.png"] * pictures}]
    if problem is None:
        check_pictures_taken(entry, messages)
        return
    with pytest.raises(MessageError, match=rf"^messages\[0\].*{problem}"):
        check_pictures_taken(entry, messages)
