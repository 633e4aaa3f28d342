"""Every picture here is made here; what Pillow writes, ours must read."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from zoo.data.vqa.examples import ImageFiles
from zoo.data.vqa.image_files import decode_picture
from zoo.errors import InputError
from zoo.visual.images import as_image, for_drawing

# Red above, blue below.
PIXELS = np.zeros((8, 8, 3), np.uint8)
PIXELS[:4, :, 0] = 255
PIXELS[4:, :, 2] = 255


def saved(tmp_path, picture, name="picture.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp.png", "no_suffix"])
def test_the_pixels_of_a_lossless_picture_are_kept(tmp_path, name):
    kind = "WEBP" if name.endswith("webp") else "PNG"
    path = saved(tmp_path, Image.fromarray(PIXELS), name, format=kind, lossless=True)
    np.testing.assert_array_equal(as_image(path, 8, 8), PIXELS)
    np.testing.assert_array_equal(for_drawing(path), PIXELS)


def test_a_jpeg_is_read_and_a_large_one_too(tmp_path):
    large = Image.fromarray(PIXELS).resize((800, 400), Image.Resampling.NEAREST)
    for number, picture in enumerate([large, large.convert("CMYK")]):
        path = saved(tmp_path, picture, f"{number}.jpg", quality=95)
        found = as_image(path, 8, 8).astype(int)
        np.testing.assert_allclose(found[[0, -1]], PIXELS[[0, -1]], atol=12)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "PA"])
def test_every_mode_is_rgb_in_the_end(tmp_path, mode):
    grey = np.repeat(np.array([0, 255], np.uint8), 32).reshape(8, 8)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(grey).convert("P" if mode == "PA" else mode)
    if mode == "PA":
        path = saved(tmp_path, picture, transparency=3)
    else:
        path = saved(tmp_path, picture)
    np.testing.assert_array_equal(as_image(path, 8, 8), grey[..., None].repeat(3, -1))


def test_16_bits_of_grey_are_scaled_and_not_clipped(tmp_path):
    picture = Image.fromarray(np.array([[0, 1000, 32768, 65535]], np.uint16))
    found = as_image(saved(tmp_path, picture), 1, 4)
    assert found[0, :, 0].tolist() == [0, 3, 128, 255]


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = [255, 0, 0, 255]
    pixels[1, 1] = [0, 0, 0, 128]
    found = as_image(saved(tmp_path, Image.fromarray(pixels)), 2, 2)
    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[0, 1].tolist() == found[1, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [127, 127, 127]


def test_a_transparent_palette_or_colour_is_white_too(tmp_path):
    palette = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("P")
    for transparency in (0, b"\x00\xff"):
        path = saved(tmp_path, palette, transparency=transparency)
        assert (as_image(path, 1, 2) == 255).all()
    key = Image.fromarray(PIXELS)
    found = as_image(saved(tmp_path, key, transparency=(255, 0, 0)), 8, 8)
    assert (found[:4] == 255).all()
    np.testing.assert_array_equal(found[4:], PIXELS[4:])


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_upright(tmp_path, kind, orientation):
    # Written by hand: how the first row and the first column of the file are seen.
    first = ["top left", "top right", "bottom right", "bottom left"]
    first += ["left top", "right top", "right bottom", "left bottom"]
    row, column = first[orientation - 1].split()
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255  # the upper left quarter is white
    stored = upright if row in ("top", "bottom") else upright.swapaxes(0, 1)
    stored = stored[::-1] if row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column in ("right", "bottom") else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {"quality": 95}
    path = saved(tmp_path, Image.fromarray(stored), f"a.{kind}", exif=exif, **options)
    np.testing.assert_allclose(as_image(path, 32, 48).astype(int), upright, atol=25)
    assert for_drawing(path).shape == (32, 48, 3)


def test_any_size_is_squashed_without_borders_or_cuts(tmp_path):
    wide = Image.fromarray(PIXELS).resize((400, 10), Image.Resampling.NEAREST)
    found = as_image(saved(tmp_path, wide), 20, 30)
    assert found.shape == (20, 30, 3)
    assert (found[0] == [255, 0, 0]).all()
    assert (found[-1] == [0, 0, 255]).all()
    dot = saved(tmp_path, Image.new("RGB", (1, 1), "red"))
    assert (as_image(dot, 20, 30) == [255, 0, 0]).all()


def test_an_array_and_a_training_file_become_the_same_image(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise))
    found = as_image(path, 16, 24)
    np.testing.assert_array_equal(as_image(noise, 16, 24), found)
    np.testing.assert_array_equal(ImageFiles([path], (16, 24, 3))[0], found)


def test_a_drawing_keeps_proportions_and_is_not_made_larger(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (300, 100)))
    assert for_drawing(path, longest=150).shape == (50, 150, 3)
    assert for_drawing(path).shape == (100, 300, 3)


def refusal(path):
    with pytest.raises(InputError) as caught:
        as_image(path, 8, 8)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_truncated_picture_is_refused(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path, Image.fromarray(noise), f"whole.{kind}").read_bytes()
    path = tmp_path / f"a.{kind}"
    for size in (len(whole) // 2, 40):
        path.write_bytes(whole[:size])
        assert refusal(path).endswith("; save it again as PNG, JPEG or WebP")


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a" + bytes(50), bytes(99)])
def test_a_file_that_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert refusal(path).startswith("no picture that we can read; save it")


def test_another_format_is_refused_whatever_its_name(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.png", format="TIFF")
    assert refusal(path).startswith("no picture that we can read; save it")


def chunk(kind, data):
    """Returns a part of a PNG file: length, kind, data, checksum."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


# Between once and twice its limit, Pillow only warns.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, side):
    # A header that promises more pixels than Pillow's limit, and no pixels at all.
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert refusal(path) == "more than 89,478,485 pixels; make it smaller"


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert refusal(tmp_path / "none.png") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "no regular file; give the path of one"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd metadata
def test_odd_metadata_turn_no_whole_picture_away(tmp_path, kind):
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x0128: 2})
    file = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(file, kind, exif=exif, lossless=True)
    content = file.getvalue()
    entry = struct.pack(">HHIHH", 0x0128, 3, 1, 2, 0)  # two bytes, said to be text
    assert content.count(entry) == 1
    odd = content.replace(entry, struct.pack(">HHIHH", 0x0128, 2, 1, 2, 0))
    if kind == "PNG":  # whose parts have checksums
        at = content.index(b"eXIf")
        (length,) = struct.unpack(">I", content[at - 4 : at])
        data = odd[at + 4 : at + 4 + length]
        odd = odd[: at - 4] + chunk(b"eXIf", data) + odd[at + 8 + length :]
    path = tmp_path / "a"
    path.write_bytes(odd)
    assert decode_picture(io.BytesIO(odd), "a", 16).size == (8, 16)
    assert as_image(path, 4, 4).shape == (4, 4, 3)


def test_a_transparent_grey_of_16_bits_is_white(tmp_path):
    grey = np.array([[0, 65_535], [30_000, 0]], np.uint16)
    path = saved(tmp_path, Image.fromarray(grey), "a.png", transparency=0)
    shown = as_image(path, 2, 2)[..., 0]
    np.testing.assert_array_equal(shown, [[255, 255], [30_000 >> 8, 255]])


def test_decoding_leaves_the_warnings_of_other_threads_alone():
    seen = []

    class Watched(io.BytesIO):
        def read(self, *size):
            seen.append(list(warnings.filters))
            return super().read(*size)

    file = Watched()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    before = list(warnings.filters)
    decode_picture(file, "a.png", 8)
    assert seen
    assert all(filters == before for filters in seen)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd metadata
def test_flipped_bits_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.update({0x010F: "maker", 0x0131: "program", 0x011A: 72.0, 0x0128: 2})
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    path = tmp_path / "a"
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind, exif=exif)
        metadata = file.getvalue().index(b"MM\0*")
        for number in range(200):
            content = bytearray(file.getvalue())
            begin = metadata if number % 2 else 0
            for place in rng.integers(begin, min(len(content), begin + 200), 3):
                content[place] = rng.integers(0, 256)
            path.write_bytes(content)
            with contextlib.suppress(InputError):
                assert as_image(path, 8, 8).shape == (8, 8, 3)
