from PIL import Image

from xmcgan.inference.image_grid import image_grid


def test_a_grid_is_filled_row_by_row():
    images = [Image.new("RGB", (4, 3), (50 * number, 0, 0)) for number in range(5)]
    sheet = image_grid(images, 3)
    assert sheet.size == (3 * 6 - 2, 2 * 5 - 2)
    assert sheet.getpixel((6, 5)) == (200, 0, 0)
    assert sheet.getpixel((12, 5)) == (255, 255, 255)
    assert image_grid(images[:2], 4).size == (10, 3)
    assert image_grid(images[:4], 2, gap=0).size == (8, 6)
