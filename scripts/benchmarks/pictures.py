"""A picture that is no photograph: flat areas, thin lines, gradients, letters, and transparency."""

import random

import pyvips

DRAWN_SHORT_EDGE_PX = 1600
_LETTERS = "img.pro - every pixel as it should be, and quickly 0123456789"


def graphic(short_edge_px: int) -> pyvips.Image:
    """A page of a program, 4:3, sRGB with alpha, whose corners and shadow are transparent. Always the same picture."""
    random.seed(1)
    shapes = [
        '<rect x="20" y="20" width="760" height="560" rx="24" fill="#000" opacity="0.25"/>',
        '<rect x="10" y="10" width="760" height="560" rx="24" fill="#f7f8fa"/>',
        '<path d="M10 34a24 24 0 0 1 24-24h712a24 24 0 0 1 24 24v36H10z" fill="url(#bar)"/>',
        '<rect x="10" y="70" width="170" height="490" fill="#22303f"/>',
        *(_letters(28, 100 + 26 * row, 14, "#c8d3df", _LETTERS[row : row + 16]) for row in range(16)),
        *(_letters(200, 100 + 15 * row, 10, "#222", _LETTERS * 2) for row in range(16)),
        *(_bar(column) for column in range(24)),
        *(f'<path d="M200 {380 + 20 * row}.5h560" stroke="#ccc"/>' for row in range(9)),
    ]
    gradient = (
        '<linearGradient id="bar"><stop offset="0" stop-color="#3b82f6"/>'
        '<stop offset="1" stop-color="#9333ea"/></linearGradient>'
    )
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 600" width="800" height="600"><defs>{gradient}'
    )
    document += f"</defs>{''.join(shapes)}</svg>"
    image = pyvips.Image.svgload_buffer(document.encode(), scale=short_edge_px / 600)
    return image.copy_memory()


def _letters(x: int, y: int, size_px: int, colour: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="{size_px}" fill="{colour}">{text}</text>'


def _bar(column: int) -> str:
    height = random.randrange(20, 160)
    colour = random.choice(("#3b82f6", "#10b981", "#f59e0b", "#ef4444"))
    return f'<rect x="{205 + 23 * column}" y="{550 - height}" width="16" height="{height}" fill="{colour}"/>'
