"""Build the API pages, the tutorial and the architecture page: python scripts/docs.py [FOLDER=build/api]."""

import pkgutil
import sys
import types
import warnings
from pathlib import Path

import wavenet
from wavenet.extras import install_command

try:
    from pdoc import doc, docstrings, render
except ModuleNotFoundError as error:
    sys.exit(f"{error}; it comes with {install_command('docs')}")

TEXTS = Path(__file__).resolve().parents[1] / "data" / "tutorial"
PAGES = {"tutorial": TEXTS / "from-conv1d-to-wavenet.md", "architecture": TEXTS / "architecture.md"}
FIRST = ["generation", "checkpoint", "model", "distributions", "conditioning", "nn", "audio", "data"]
# used inside only
INNER = ["atomic_files", "checks", "cli", "extras", "machine", "model_table", "package_data", "progress", "types"]
INNER += ["version"]


def main() -> None:
    """Write a page for the package, one for each text and one for each subpackage; a warning is an error."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")
    wavenet.__dict__.update((name, getattr(wavenet, name)) for name in wavenet.__all__)  # for pdoc
    others = [module.name for module in pkgutil.iter_modules(wavenet.__path__) if module.name not in (*FIRST, *INNER)]
    pages = {"wavenet": doc.Module(wavenet)}
    for name, path in PAGES.items():
        page = types.ModuleType(f"wavenet.{name}", docstrings.embed_images(path.read_text("utf-8"), path))
        page.__dict__["__docformat__"] = "markdown"
        pages[page.__name__] = doc.Module(page)
    pages |= {f"wavenet.{name}": doc.Module.from_name(f"wavenet.{name}") for name in FIRST + others}
    render.configure(docformat="google", show_source=False, template_directory=Path(__file__).with_name("docs"))
    warnings.simplefilter("error")  # pdoc's own warnings; all imports have been made by now
    files = {f"{name.replace('.', '/')}.html": render.html_module(page, pages) for name, page in pages.items()}
    files |= {"index.html": render.html_index(pages), "search.js": render.search_index(pages)}
    (folder / "wavenet").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    print(f"{len(pages)} pages; open {folder}/index.html")


if __name__ == "__main__":
    main()
