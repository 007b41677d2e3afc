"""Pictures from files, data URLs and addresses: bounded, judged by their bytes, and only from where they may come."""

from __future__ import annotations

import base64
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from playbill.backends import MessageError
from playbill.backends.prompt.pictures import LARGEST_PICTURE, PicturePart, read_picture
from playbill.backends.prompt.pictures.fetching import fetch, is_public
from playbill.backends.prompt.pictures.header import read_header
from support.pictures import chunk, png_url, tiny_png

GIF = (
    b"GIF89a"
    + struct.pack("<HH", 3, 2)
    + b"\x00\x00\x00"
    + b"\x2c"
    + struct.pack("<HHHH", 0, 0, 3, 2)
    + b"\x00\x02\x01\x00\x00\x3b"
)
JPEG = (
    b"\xff\xd8\xff\xe0\x00\x04AB"
    + b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 5, 7) + b"\x01\x01\x11\x00"
    + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x12\xff\x00\x34\xff\xd0\x56" + b"\xff\xd9"
)  # fmt: skip
WEBP = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\x08\0\0" + b"\x04\0\0"


def read(source, folder=None, **options):
    """Read a picture by how a message names it."""
    return read_picture(PicturePart(source, "messages[0].image[0]"), folder, **options)


def url_of(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("content", "kind", "size"),
    [
        (tiny_png(4, 3), "image/png", (4, 3)),
        (GIF, "image/gif", (3, 2)),
        (JPEG, "image/jpeg", (7, 5)),
        (WEBP, "image/webp", (9, 5)),
    ],
    ids=["png", "gif", "jpeg", "webp"],
)
def test_bytes_say_what_they_are_and_where_they_end(content, kind, size):
    """What is behind the picture's end is found in every format, and none is found where there is none."""
    header = read_header(content)
    assert (header.media_type, (header.width, header.height), header.end) == (kind, size, len(content))
    assert read_header(content + b"PK\x03\x04hidden").end == len(content)


@pytest.mark.parametrize("content", [tiny_png(), GIF, JPEG, WEBP], ids=["png", "gif", "jpeg", "webp"])
def test_no_truncated_header_breaks_the_reader(content):
    """Each beginning is a header, no picture, or a ValueError that says so."""
    for length in range(len(content)):
        with suppress(ValueError):
            assert read_header(content[:length]) is None or read_header(content[:length]).end is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (url_of(tiny_png(0, 5)), "is 0 x 5 pixels, so there is nothing to see"),
        (url_of(tiny_png(30_000, 2, lines=0)), "is 30000 x 2 pixels; at most .* 16384 a side"),
        (url_of(tiny_png(16_000, 16_000, lines=0)), "is 16000 x 16000 pixels; at most 50 million"),
        (url_of(tiny_png()[:20]), "the picture is broken: it ends before it states its size"),
        (url_of(b"<svg/>", "image/svg+xml"), "is neither PNG, JPEG, GIF nor WebP"),
        ("data:image/png;base64," + "A" * (LARGEST_PICTURE * 4 // 3 + 8), "is larger than 20 MiB"),
        ("data:image/png;base64,%%%", "no base64"),
        ("data:text/html;base64,AAAA", "of the form"),
        ("https://e.org/a.png", "nothing is fetched unless you allow it: --fetch-pictures"),
        ("gone.png", "there is no file"),
        ("\0.png", "can't read the picture"),
    ],
)
def test_what_can_not_be_opened_is_refused_before_it_is_decoded(tmp_path, source, problem):
    """By its place, and with the reason; a few bytes that claim gigabytes cost nothing."""
    with pytest.raises(MessageError, match=rf"^messages\[0\].image\[0\]: .*{problem}"):
        read(source, tmp_path)


def test_what_is_odd_is_said_and_read_all_the_same():
    """A wrong media type, and bytes behind the end: the picture is taken for what it is."""
    picture = read(url_of(tiny_png() + b"more", "image/jpeg"))
    assert picture.media_type == "image/png"
    assert picture.notes == (
        "messages[0].image[0] is called image/jpeg and is image/png; it is taken for what it is",
        "messages[0].image[0] has 4 bytes after its end, which show nothing",
    )
    assert read(png_url()).notes == ()


def test_a_file_is_read_below_the_folder_only(tmp_path):
    """Wherever a path or a link leads."""
    inside = tmp_path / "in"
    (inside / "deeper").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(tiny_png())
    (inside / "deeper" / "cat.png").write_bytes(tiny_png(5, 4))
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    picture = read("deeper/cat.png", inside)
    assert picture.to_dict() == {
        "place": "messages[0].image[0]", "source": "deeper/cat.png", "sha256": picture.sha256, "mime": "image/png",
        "bytes": len(tiny_png(5, 4)), "width": 5, "height": 4,
    }  # fmt: skip
    for path in ("../secret.png", "link.png", "/etc/hostname", str(tmp_path / "secret.png")):
        with pytest.raises(MessageError, match="is not below"):
            read(path, inside)
    with pytest.raises(MessageError, match="there is no file"):
        read("deeper", inside)


def test_a_service_is_given_an_address_as_it_is():
    """It fetches the picture itself, so nothing is known of it here."""
    assert read("https://e.org/a.png", urls="pass").to_dict() == {
        "place": "messages[0].image[0]", "url": "https://e.org/a.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_private_addresses_are_none_to_fetch_from(address):
    """Of this machine, its networks, its cloud's metadata; also where they are written as others."""
    assert not is_public(address)


def test_public_addresses_are():
    """Those that anybody reaches."""
    assert all(map(is_public, ("93.184.216.34", "2606:2800:220:1::1")))


class Pages(BaseHTTPRequestHandler):
    """A server with a picture, redirects, and answers without an end."""

    def do_GET(self):
        if self.path == "/picture.png":
            self.answer(200, tiny_png())
        elif self.path.startswith("/to?"):
            self.answer(302, b"", Location=self.path.partition("?")[2])
        elif self.path == "/endless":
            self.answer(200, b"", length=None)
            try:
                while True:
                    self.wfile.write(b"x" * 4096)
            except OSError:
                return
        elif self.path == "/slow":
            self.answer(200, b"", length=100)
            time.sleep(1.5)
        else:
            self.answer(404, b"no")

    def answer(self, status, body, length=-1, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    """The server's address on the loopback."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def anywhere(address):
    return True


def test_a_picture_is_fetched_through_redirects(server):
    """A bounded number of them."""
    assert fetch(f"{server}/to?/picture.png", 1000, may_connect=anywhere) == tiny_png()
    with pytest.raises(OSError, match="more than 4 redirects"):
        fetch(f"{server}/to?/to?/to?/to?/to?/picture.png", 1000, may_connect=anywhere)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/gone", "status 404"),
        ("/endless", "it is larger than"),
        ("/slow", "time|longer"),
        ("/to?file:///etc/passwd", "file is no way to fetch"),
        ("/to?ftp://127.0.0.1/x", "ftp is no way"),
        ("/to?http://u:p@127.0.0.1/x", "has a user or password"),
    ],
)
def test_a_fetch_is_bounded_in_bytes_time_and_ways(server, path, problem):
    """Whatever a server does."""
    with pytest.raises(OSError, match=problem):
        fetch(server + path, 100_000, seconds=0.7, may_connect=anywhere)


def test_a_redirect_to_a_private_address_is_not_followed(server):
    """Each hop is judged anew, by the address that its name resolves to; here the first alone may be connected to."""
    judged = []

    def first_only(address):
        judged.append(address)
        return len(judged) == 1

    with pytest.raises(OSError, match=r"localhost is at .* no public address"):
        fetch(f"{server}/to?http://localhost:{urlsplit(server).port}/picture.png", 1000, may_connect=first_only)
    with pytest.raises(OSError, match=r"is at 127\.0\.0\.1, which is no public address"):
        fetch(f"{server}/picture.png", 1000)


def test_a_fetched_picture_is_judged_as_any_other(server):
    """An address of this machine is refused as a message's fault, with its place."""
    with pytest.raises(MessageError, match=r"messages\[0\].image\[0\]: can't fetch the picture: 127.0.0.1 is at"):
        read(f"{server}/picture.png", urls="fetch")


def test_chunks_of_a_png_are_what_they_say():
    """The helper that makes them is right, or the tests above would prove nothing."""
    assert chunk(b"IEND", b"") == b"\0\0\0\0IEND\xaeB`\x82"
