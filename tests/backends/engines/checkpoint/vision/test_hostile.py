"""Hostile pictures end in a clear error, or are stated and read as one picture; nothing else is harmed."""

from __future__ import annotations

import base64
import io
import resource
import struct
import subprocess
import sys
import zlib

import pytest

pytest.importorskip("PIL", reason="needs the extra `vision`")

from PIL import Image

from playbill.backends import MessageError
from playbill.backends.prompt.pictures import PicturePart, read_picture
from playbill.backends.prompt.pictures.opening import open_picture
from support.pictures import chunk, tiny_png


def opened(content, kind="image/png"):
    """Read and open bytes as a message's picture: the size, and what was said on the way."""
    url = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    picture = read_picture(PicturePart(url, "messages[0].image[0]"), None)
    found = open_picture(picture)
    return found.image.size, [*picture.notes, *found.notes]


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def text_bomb():
    """A PNG whose compressed text chunk holds 200 MB."""
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 200_000_000, 9))
    png = tiny_png(4, 4)
    return png[:33] + bomb + png[33:]


def interlaced(passes):
    """A PNG of 8 x 8 grey pixels in so many of its seven passes."""
    rows = [1, 1, 1, 2, 2, 4, 4]
    columns = [1, 1, 2, 2, 4, 4, 8]
    data = b"".join((b"\0" + b"\x55" * columns[i]) * rows[i] for i in range(passes))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def scanned(times):
    """A progressive JPEG of a million pixels whose last scan, which shows nothing new, stands there so many times."""
    content = saved(Image.new("RGB", (1000, 1000)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * times + content[-2:]


COLOURLESS = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 9, 0, 0, 0))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (tiny_png(100, 100)[:80], "can't be decoded|is broken"),
        (tiny_png(100, 100, lines=10), "can't be decoded: it has 10 of its 100 rows"),
        (saved(Image.new("RGB", (200, 200)), "JPEG")[:300], "can't be decoded|is broken"),
        (tiny_png(7000, 7100, lines=1), "can't be decoded"),
        (COLOURLESS, "can't be decoded|is broken"),
        (b"GIF89a" + struct.pack("<HH", 9, 9) + b"\x80\0\0" + b"\0" * 6 + b"\x2c", "can't be decoded|is broken"),
        (text_bomb(), "can't be decoded"),
        (interlaced(6), "can't be decoded: it has 54 % of its pixels"),
        (scanned(2000), r"has \d+ scans of 1000 x 1000 pixels; at most 1500 million pixels are decoded"),
    ],
    ids=["cut png", "few lines", "cut jpeg", "claims 50 MP", "wrong colour type", "empty gif", "text bomb",
         "interlaced", "scans"],
)  # fmt: skip
def test_what_is_broken_is_refused(content, problem):
    """With its place; decoders' own words follow."""
    with pytest.raises(MessageError, match=rf"^messages\[0\].image\[0\]: the picture ({problem})"):
        opened(content)


def test_an_animation_is_read_as_its_first_frame():
    """And that is said."""
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        size, notes = opened(content, f"image/{kind.lower()}")
        assert size == (20, 10)
        assert notes == ["messages[0].image[0] holds several frames; the first is shown"]


def test_an_orientation_is_followed_and_said():
    """As transformers' own loading does; a picture that lies on its side is turned upright. Numbers that mean nothing
    turn nothing, and nothing is said."""
    for orientation in range(11):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size, notes = opened(saved(Image.new("RGB", (40, 20)), "JPEG", exif=exif), "image/jpeg")
        assert size == ((20, 40) if 5 <= orientation <= 8 else (40, 20))
        turned = ["messages[0].image[0] is turned upright, as its EXIF orientation says"]
        assert notes == (turned if 2 <= orientation <= 8 else [])


def test_what_is_whole_and_odd_is_read():
    """An interlaced PNG, a JPEG in four colours with a profile that is none, and one of some hundred scans."""
    assert opened(interlaced(7)) == ((8, 8), [])
    ink = saved(Image.new("CMYK", (40, 20)), "JPEG", icc_profile=b"no profile" * 100)
    assert opened(ink, "image/jpeg") == ((40, 20), [])
    assert opened(scanned(100), "image/jpeg") == ((1000, 1000), [])


def test_what_rgb_can_not_show_is_said():
    """Transparency, and more than eight bits."""
    assert opened(saved(Image.new("RGBA", (4, 4))))[1][0].endswith("whose transparency is left out")
    assert opened(saved(Image.new("I;16", (4, 4))))[1][0].endswith("of which 8 are kept")


BOUNDED = """
import resource, sys, base64
from playbill.backends import MessageError
from playbill.backends.prompt.pictures import PicturePart, read_picture
from playbill.backends.prompt.pictures.opening import open_picture
picture = read_picture(PicturePart(sys.argv[1], "messages[0].image[0]"), __import__("pathlib").Path(sys.argv[2]))
print(open_picture(picture).image.size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_the_largest_picture_stays_within_its_bounds(tmp_path):
    """50 million pixels in a few kilobytes: opened within 20 seconds and 1.5 GB, whatever its mode."""
    for mode in ("RGBA", "P", "CMYK"):
        kind = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (8000, 6250)).save(tmp_path / f"large.{kind}")
        arguments = [sys.executable, "-c", BOUNDED, f"large.{kind}", str(tmp_path)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=True)
        size, memory = done.stdout.split("\n")[:2]
        assert size == "(8000, 6250)"
        assert int(memory) * (1 if sys.platform == "darwin" else 1024) < 1.5e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


AT_ONCE = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from playbill.backends.prompt.pictures import PicturePart, read_picture
from playbill.backends.prompt.pictures.opening import open_picture

def size(_):
    return open_picture(read_picture(PicturePart("large.png", "image"), Path(sys.argv[1]))).image.size

with ThreadPoolExecutor(6) as threads:
    print(set(threads.map(size, range(12))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_large_pictures_at_once_take_little_more_than_one(tmp_path):
    """Six threads open the largest one twice each: decoders go one after the other, and keep their memory once."""
    Image.new("RGBA", (8000, 6250)).save(tmp_path / "large.png")
    done = subprocess.run([sys.executable, "-c", AT_ONCE, str(tmp_path)], capture_output=True, text=True, check=True)
    sizes, memory = done.stdout.split("\n")[:2]
    assert sizes == "{(8000, 6250)}"
    assert int(memory) * (1 if sys.platform == "darwin" else 1024) < 1.5e9
