"""The report page in a real browser: it loads from a file, filters, searches, and shows hostile text as text.

Needs Chromium with its driver (Debian: `apt-get install chromium chromium-driver`).
"""

import shutil

import pytest

from playbill.runs.report import write_report
from support.audited import USER, chatml, record
from support.report_runs import HOSTILE, make_run

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSER = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with a driver is here"),
]

SECOND = [
    {"role": "user", "content": USER},
    {"role": "assistant", "content": "A tall building."},
    {"role": "user", "content": "Go on."},
]
RECORDS = [
    record(id="sound"),
    record(id="sound", turn=1, messages=SECOND, text="Stairs.", raw="Stairs.<|im_end|>",
           prompt=chatml(("user", USER), ("assistant", "A tall building."), ("user", "Go on."))),
    record(id="leak", text="Walls.<|im_end|>", raw="Walls.<|im_end|>"),
    record(id="hostile", text=HOSTILE, raw=HOSTILE + "<|im_end|>"),
    record(id="failed", outcome="error", text="", raw="", finish_reason=None,
           error={"type": "EngineError", "message": "the line is dead"}),
    *(record(id=f"more-{n:05}") for n in range(3000)),
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run"), *RECORDS)
    return write_report(folder).as_uri()


@pytest.fixture
def browse(request):
    """A function that opens an address at a window's size; at the end no console may hold an error."""
    open_ones = []

    def open_at(address, width=1300, height=900):
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        if width < 600:
            metrics = {"width": width, "height": height, "pixelRatio": 1}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        options.add_argument(f"--window-size={width},{height}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        open_ones.append(driver)
        driver.get(address)
        return driver

    yield open_at
    logs = [entry for driver in open_ones for entry in driver.get_log("browser")]
    for driver in open_ones:
        driver.quit()
    assert logs == []


def text(driver, selector):
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def choose(driver, name, value):
    script = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))"
    )
    driver.execute_script(script, name, value)


def test_it_loads_from_a_file_and_holds_few_rows(browse, page):
    """The models are there, the first dialogue is shown, and of 3,004 rows only those in sight are in the page."""
    driver = browse(page)
    assert text(driver, "#count") == "3,004 dialogues"
    assert text(driver, "#detail h3") == "sound"
    assert 0 < driver.execute_script("return document.querySelectorAll('.row').length") < 60
    assert "PB401 eos-leak" in text(driver, "#findings")


def test_filters(browse, page):
    """By outcome, by finding, and both; a button clears them."""
    driver = browse(page)
    choose(driver, "by-finding", "PB401")
    assert text(driver, "#count") == "1 of 3,004 dialogues"
    assert text(driver, ".row .id") == "leak"
    choose(driver, "by-outcome", "error")
    assert "No dialogue fits" in text(driver, "#list")
    driver.execute_script("document.getElementById('clear').click()")
    choose(driver, "by-outcome", "error")
    assert text(driver, ".row .id") == "failed"
    driver.execute_script("document.querySelector('.row').click()")
    assert "the line is dead" in text(driver, "#detail")


def test_search_finds_texts_and_not_the_names_of_fields(browse, page):
    """In answers, messages and prompts, with quotes and angle brackets too."""
    driver = browse(page)
    for needle, found in (("stairs", 1), ("GO ON.", 1), ('<img src=x onerror="', 1), ("outcome", 0), ("tall", 3001)):
        driver.execute_script("document.getElementById('search').value = arguments[0]", needle)
        choose(driver, "by-model", "")
        assert text(driver, "#count").startswith(f"{found:,} of "), needle


def test_hostile_text_is_shown_as_text(browse, page):
    """Tags stay text, escapes and characters that turn the reading order are written out, nothing has run."""
    driver = browse(f"{page}#m/hostile/0")
    body = text(driver, "#detail .answer .body")
    assert '</script><script>document.title="broken"</script><img' in body
    assert "\\u001b[2J\\u202e" in body
    assert driver.execute_script("return document.images.length") == 0
    assert driver.title == driver.execute_script("return document.getElementById('title').textContent") + " · Playbill"


def test_a_link_leads_to_one_dialogue_and_its_exact_prompt(browse, page):
    """With special tokens marked, and what cleaning removed struck through; the second turn's prompt is whole."""
    driver = browse(f"{page}#m/sound/0")
    driver.execute_script("document.querySelectorAll('#detail details').forEach(d => { d.open = true })")
    shown = "[...document.querySelectorAll('#detail .code')].map(e => e.textContent).filter(t => t.includes('Go on'))"
    prompts = driver.execute_async_script(f"setTimeout(() => arguments[0]({shown}), 200)")
    assert prompts == [RECORDS[1]["prompt"].replace("\n", "⏎\n")]
    assert text(driver, "#detail .gone .tok") == "<|im_end|>"


def test_it_is_used_by_keyboard(browse, page):
    """j and k go through the list, / goes to the search, Escape leads back."""
    driver = browse(page)
    keys = webdriver.ActionChains(driver)
    keys.send_keys("j").send_keys("j").send_keys("k").perform()
    assert text(driver, "#detail h3") == "leak"
    webdriver.ActionChains(driver).send_keys("/").send_keys("stairs").send_keys(webdriver.Keys.ENTER).perform()
    assert driver.switch_to.active_element.get_attribute("id") == "search"
    webdriver.ActionChains(driver).send_keys(webdriver.Keys.ESCAPE).perform()
    assert driver.switch_to.active_element.get_attribute("id") == "list"


@pytest.mark.parametrize("width", [360, 390, 768, 1300])
def test_nothing_is_wider_than_the_window(browse, page, width):
    """At phone width a dialogue takes the place of the list, and a button leads back."""
    driver = browse(f"{page}#m/leak/0", width)
    script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert driver.execute_script(script) <= 0
    if width < 860:
        assert driver.execute_script("return document.querySelector('.listing').offsetParent === null")
        driver.execute_script("document.querySelector('.back').click()")
        assert driver.execute_script("return document.querySelector('.listing').offsetParent !== null")


def test_dark_and_light(browse, page):
    """A button changes between them."""
    driver = browse(page)
    color = "return getComputedStyle(document.body).backgroundColor"
    before = driver.execute_script(color)
    driver.execute_script("document.getElementById('theme').click()")
    assert driver.execute_script(color) != before
