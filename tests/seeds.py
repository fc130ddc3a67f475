"""Seeds for tests: that of the README, and others."""

import re
from pathlib import Path
from typing import Any

from conftest import Api
from images import make_image
from mailing import runtime

from imgpro_lite.services.seed_file import read_seed
from imgpro_lite.services.seeding import Library, Loaded, load_seed

ANN = {"Authorization": "Bearer img_live_00000000000000000000000000000001"}
BOB = {"Authorization": "Bearer img_live_00000000000000000000000000000002"}
README = Path(__file__).parent.parent / "README.md"


def write_seed(folder: Path, text: str, **files: bytes) -> Path:
    """A folder with this `seed.toml`, the files, and a small `a.png`."""
    folder.mkdir(exist_ok=True)
    (folder / "seed.toml").write_text(text, "utf-8")
    for name, content in {"a.png": make_image("png", 4, 3), **files}.items():
        (folder / name).write_bytes(content)
    return folder


def write_readme_seed(folder: Path) -> Path:
    """The example of the README, with pictures under its names."""
    text = README.read_text("utf-8").split("### Seeds")[1]
    match = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert match
    (folder / "icons").mkdir(parents=True)
    (folder / "icons" / "anchor.svg").write_bytes(make_image("svg", 20, 10))
    (folder / "lighthouse.jpg").write_bytes(make_image("jpeg", 40, 30))
    return write_seed(folder, match[1], **{"bottle.png": make_image("png", 30, 40)})


def load(api: Api, folder: Path) -> Loaded:
    """Load a seed into a running server's library, as its start does."""
    rt = runtime(api)
    loaded = Loaded()
    library = Library(rt.settings, rt.plans, rt.db, rt.maker)
    portal: Any = api.client.portal
    portal.call(load_seed, library, read_seed(folder), loaded)
    return loaded
