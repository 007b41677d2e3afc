"""Take the picture of a report that README and docs show, docs/report.png, with a headless Chromium.

playbill demo demo -m SmolLM2-135M-Instruct-Q4 -m 'warm={"model_name": "SmolLM2-135M-Instruct-Q4", "temperature": 0.9}'
python tools/picture_report.py demo/run/report.html [PNG]

Needs selenium, and Chromium with its driver (Debian: `apt-get install chromium chromium-driver`). A second and third
argument are the window's width and height, to look at the page at other sizes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from selenium import webdriver

PICTURE = Path(__file__).parents[1] / "docs" / "report.png"
SHOWN = ("twenty-questions-animal", 0)
OPEN = "for (const d of [...document.querySelectorAll('#detail details')].slice(0, 2)) d.open = true; scrollTo(0, 0)"


def main(page: Path, picture: Path, width: int, height: int) -> None:
    """Open the page at a dialogue, unfold its first answer, and save what a window of that size shows."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    if width < 600:
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": width, "height": height}})
    options.add_argument(f"--window-size={width},{height}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(page.resolve().as_uri())
        label = driver.execute_script("return JSON.parse(document.getElementById('data-summary').textContent)")
        name = label["models"][0]["label"]
        driver.get(f"{page.resolve().as_uri()}#{name}/{SHOWN[0]}/{SHOWN[1]}")
        driver.refresh()
        driver.execute_script(OPEN)
        driver.save_screenshot(str(picture))
    finally:
        driver.quit()


if __name__ == "__main__":
    asked = sys.argv[1:]
    if not asked:
        sys.exit(__doc__)
    size = (int(asked[2]), int(asked[3])) if len(asked) > 3 else (1280, 1500)
    main(Path(asked[0]), Path(asked[1]) if len(asked) > 1 else PICTURE, *size)
