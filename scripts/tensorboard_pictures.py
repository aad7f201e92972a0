"""Draw TensorBoard's audio and image tabs for the README: python scripts/tensorboard_pictures.py RUN [FOLDER].

It needs Chromium and `pip install playwright`.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from tensorboard.program import TensorBoard

CARDS = {"audio": "tf-audio-loader audio", "images": "tf-image-loader img"}  # of each tab, when they are there


def main() -> None:
    """Serve a run's log, and photograph both tabs when their cards are there."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/figures")
    board = TensorBoard()
    board.configure(argv=["", "--logdir", str(run), "--port", "0", "--load_fast", "false"])
    url = board.launch()
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 700})
        for tab, card in CARDS.items():
            page.goto(f"{url}#{tab}")
            page.locator(card).nth(1).wait_for(timeout=60_000)
            page.wait_for_timeout(2000)  # for the others
            page.screenshot(path=folder / f"tensorboard-{tab}.png")
            print(folder / f"tensorboard-{tab}.png")


if __name__ == "__main__":
    main()
