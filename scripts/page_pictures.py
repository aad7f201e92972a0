"""Take screenshots of pages for the README: python scripts/page_pictures.py RUN [FOLDER].

It needs Chromium and Playwright. The pages are TensorBoard's audio and image tabs of a run, and the page of
`wavenet demo`, as it is without settings, with two seconds of generated speech.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from tensorboard.program import TensorBoard

CARDS = {"audio": "tf-audio-loader audio", "images": "tf-image-loader img"}  # selector of each tab's content


def main() -> None:
    """Serve the run's log and the demo, and take the screenshots."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run, folder = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "data/figures")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 700})
        tensorboard(page, run, folder)
        page.set_viewport_size({"width": 800, "height": 900})
        demo(page, folder)
        browser.close()


def tensorboard(page: Page, run: str, folder: Path) -> None:
    """Take screenshots of both tabs once their first cards are loaded."""
    board = TensorBoard()
    board.configure(argv=["", "--logdir", run, "--port", "0", "--load_fast", "false"])
    url = board.launch()
    for tab, card in CARDS.items():
        page.goto(f"{url}#{tab}")
        page.locator(card).nth(1).wait_for(timeout=60_000)
        page.wait_for_timeout(2000)  # for the other cards
        page.screenshot(path=folder / f"tensorboard-{tab}.png")
        print(folder / f"tensorboard-{tab}.png")


def demo(page: Page, folder: Path) -> None:
    """Take a screenshot of the demo after it generated two seconds of the last speaker."""
    command = [sys.executable, "-m", "wavenet.cli.demo", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        page.goto(url)
        page.get_by_label("Speaker").locator("option").last.wait_for(state="attached")
        page.get_by_label("Speaker").select_option(index=page.get_by_label("Speaker").locator("option").count() - 1)
        page.get_by_label("Seconds").fill("2")
        page.get_by_role("button", name="Generate").click()
        page.get_by_text(re.compile(r"^Generated \d")).wait_for(timeout=60_000)
        page.wait_for_timeout(3000)  # until it is played to the end
        page.screenshot(path=folder / "demo.png", full_page=True)
        print(folder / "demo.png")
        server.terminate()


if __name__ == "__main__":
    main()
