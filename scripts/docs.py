"""Build the API page and the tutorial: python scripts/docs.py [FOLDER], without one in build/api."""

import pkgutil
import sys
import types
import warnings
from pathlib import Path

import wavenet

try:
    from pdoc import doc, docstrings, render
except ModuleNotFoundError as error:
    sys.exit(f'{error}; it comes with pip install "wavenet[docs]"')

TUTORIAL = Path(__file__).resolve().parents[1] / "data" / "tutorial" / "from-conv1d-to-wavenet.md"
FIRST = ["generation", "checkpoint", "model", "distributions", "conditioning", "nn", "audio", "data"]
INNER = ["benchmark", "checks", "cli", "kinds", "machine", "untrusted", "writing"]  # nobody's but the package's own


def main() -> None:
    """Write a page for the package, one for the tutorial and one for each room; a warning ends it."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")
    wavenet.__dict__.update((name, getattr(wavenet, name)) for name in wavenet.__all__)  # pdoc only looks
    tutorial = types.ModuleType("wavenet.tutorial", docstrings.embed_images(TUTORIAL.read_text("utf-8"), TUTORIAL))
    tutorial.__dict__["__docformat__"] = "markdown"
    rooms = [module.name for module in pkgutil.iter_modules(wavenet.__path__) if module.name not in (*FIRST, *INNER)]
    pages = {"wavenet": doc.Module(wavenet), "wavenet.tutorial": doc.Module(tutorial)}
    pages |= {f"wavenet.{room}": doc.Module.from_name(f"wavenet.{room}") for room in FIRST + rooms}
    render.configure(docformat="google", show_source=False, template_directory=Path(__file__).with_name("docs"))
    warnings.simplefilter("error")  # what pdoc says; whatever it imports is imported now
    made = {f"{name.replace('.', '/')}.html": render.html_module(page, pages) for name, page in pages.items()}
    made |= {"index.html": render.html_index(pages), "search.js": render.search_index(pages)}
    (folder / "wavenet").mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (folder / name).write_text(content, encoding="utf-8")
    print(f"{len(pages)} pages; open {folder}/index.html")


if __name__ == "__main__":
    main()
