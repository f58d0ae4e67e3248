"""Images are looked at by their headers, or decoded whole; what cannot be read is counted with examples."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from workloads.data.files.image_source import zip_reference
from workloads.data.files.images import decode
from workloads.data.files.zip_members import zip_members
from workloads.data.sources.image_survey import look_at_images
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]


def test_formats_sizes_and_faults_come_from_headers(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(noise(40, 30), "JPEG"))
    (tmp_path / "b.png").write_bytes(encode(noise(400, 300), "PNG"))
    (tmp_path / "cut.jpg").write_bytes(encode(noise(50, 60), "JPEG")[:-200])
    (tmp_path / "none.jpg").write_bytes(b"none")
    names = ["a.jpg", "b.png", "cut.jpg", "none.jpg", "absent.jpg", "../outside.jpg"]
    facts = look_at_images(str(tmp_path), names)
    assert (facts["looked_at"], facts["how"]) == (6, "from headers")
    assert facts["formats"] == {"JPEG": 2, "PNG": 1}
    assert (facts["smallest"], facts["largest"]) == ((40, 30), (400, 300))
    assert facts["unreadable"]["count"] == 3
    assert facts["unreadable"]["examples"][0] == "none.jpg: its header is none of an image"
    decoded = look_at_images(str(tmp_path), names, decode_all=True)
    assert (decoded["how"], decoded["unreadable"]["count"]) == ("decoded", 4)
    assert decoded["formats"] == {"JPEG": 1, "PNG": 1}


def test_a_png_that_goes_on_behind_its_end_is_found_by_decoding(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(40, 30), "PNG") + b"more")
    decoded = look_at_images(str(tmp_path), ["a.png"], decode_all=True)
    assert decoded["unreadable"]["count"] == 1
    assert "4 bytes behind its end" in decoded["unreadable"]["examples"][0]


def test_of_an_archive_some_two_thousand_are_looked_at(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    content = encode(noise(8, 8), "PNG")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for number in range(4500):
            archive.writestr(f"{number}.png", content)
    references = [zip_reference("z.zip", member) for member in zip_members(tmp_path / "z.zip")]
    assert look_at_images(str(tmp_path), references)["looked_at"] == 1500
    assert look_at_images(str(tmp_path), references, decode_all=True)["formats"] == {"PNG": 4500}


@pytest.mark.parametrize("content", [b"GIF89a nothing", b"\x00" * 50])
def test_the_reason_of_a_refused_image_is_the_same_in_every_run(content: bytes) -> None:
    reasons = set()
    for _ in range(3):
        kept = io.BytesIO(content)  # moves the next one's address
        with pytest.raises(RecordError) as caught:
            decode(content)
        reasons.add(str(caught.value))
        del kept
    assert reasons == {"the image does not decode: cannot identify image file"}
