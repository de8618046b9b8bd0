"""The web page in a browser: it sorts, filters, opens grids, asks the network for nothing and reports no error."""

from __future__ import annotations

import re
import shutil

import pytest
from PIL import Image

from tests.scoretables import fail, random_decide, score_table
from unlearnbench.board.cells import OF_SETS
from unlearnbench.board.columns import COLUMNS
from unlearnbench.board.data import Identified
from unlearnbench.board.gallery import Picture, pictures
from unlearnbench.board.losses import EditLoss, LossCurve
from unlearnbench.board.make import make_board
from unlearnbench.published import table
from unlearnbench.render import render
from unlearnbench.results.table import CAPTION_METRICS
from unlearnbench.store import Store, write_json

METHODS = ("unedited", "prompt-swap", "alphaedit", "uce", "esd")
STILL = dict(zip(METHODS, [0.9, 0.0, 0.2, 0.35, 0.5], strict=True))
RETAIN = dict(zip(METHODS, [0.95, 0.95, 0.9, 0.8, 0.7], strict=True))
CONCEPTS = ["apple", "bicycle", "cactus", "dog", "engraving", "flamingo", "guitar", "house", "iguana"]
PIXEL = "data:image/webp;base64,UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
HOSTILE = "evil\x1b[31m</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e{{ 7*7 }}"


def scores():
    return score_table(METHODS, CONCEPTS, random_decide(1, STILL, RETAIN), neighbours={"dog": ["flamingo"]})


def board_of(rows, **options):
    model = Identified(id="emojiworld-sd", fingerprint="ub1:" + "ab" * 32)
    columns = ("forget", "retain", "harmonic_mean", "forget_indirect", "edit_seconds")
    return make_board(rows, **{"title": "Tiny board", "columns": columns, "model": model, "draws": 50} | options)


def some_pictures(sensitive=("dog",)):
    return [
        Picture(m, e, e, f"{e}/direct/1", f"a picture of {e}", 0, m == "unedited", 0.8, "", e in sensitive, PIXEL)
        for e in CONCEPTS[:4]
        for m in METHODS
    ]


def some_losses():
    falling = tuple(1.0 / (1 + step) for step in range(1000))
    layers = ((4.0, 3.0, 2.0), (2.0, 1.5, float("nan")))
    return [EditLoss("esd", concept, LossCurve("", "", (falling,))) for concept in CONCEPTS] + [
        EditLoss("alphaedit", concept, LossCurve("", concept, layers)) for concept in CONCEPTS
    ]


@pytest.fixture(scope="module")
def page_text():
    board = board_of(scores(), published=[table("seed-2025")])
    return render(board, "html", pictures=some_pictures(), losses=some_losses())


def test_the_page_holds_every_value_and_nothing_from_elsewhere(page_text):
    board = board_of(scores())
    for row in board.rows:
        for column in board.columns:
            value = row.cells[column.name].value
            assert value is None or f'data-value="{value!r}"' in page_text
    assert "Published" in page_text
    assert "not ranked with it" in page_text
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page_text)
    assert all(link.startswith(("#", "data:")) for link in links), links
    assert "default-src 'none'" in page_text


def test_a_page_shows_what_is_hostile_as_text():
    rows = scores().replace({"uce": HOSTILE})
    rows = fail(rows, (rows["method"] == HOSTILE) & (rows["forget"] == "apple"), HOSTILE)
    pictured = [
        Picture(HOSTILE, "apple", "apple", "apple/direct/1", HOSTILE, 0, False, 0.1, HOSTILE, False, PIXEL),
        Picture("unedited", "apple", "apple", "apple/direct/1", HOSTILE, 0, None, None, "", False, PIXEL),
    ]
    text = render(
        board_of(rows, title=HOSTILE, notes=[HOSTILE], provenance={HOSTILE: HOSTILE}), "html", pictures=pictured
    )
    assert text.count("<script>") == text.count("</script>") == 1
    assert "<img src=x" not in text
    assert not [c for c in text if c in "\x1b\u202e"]
    assert "{{ 7*7 }}" in text
    assert r"\x1b" in text


def test_the_browser_obeys_a_policy_that_names_the_only_script(page_text):
    import base64
    import hashlib

    script = re.search(r"<script>(.*)</script>", page_text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page_text or f"script-src 'sha256-{digest}'" in page_text


def test_every_column_can_be_shown():
    text = render(board_of(scores(), columns=["forget"]), "html")
    measured_elsewhere = {"peak_mem_mb", "delta", "delta_corrected", "delta_floor", "shown", "nearest_distance"}
    measured_elsewhere |= {"forget_adversarial", "err5"}
    shown = {name for name, column in COLUMNS.items() if f">{column.title}<i" in text}
    assert shown == set(COLUMNS) - measured_elsewhere - OF_SETS - set(CAPTION_METRICS)


# ---------------------------------------------------------------- images of the store
@pytest.fixture
def store(tmp_path):
    """Return a store with the images of every cell of `scores`."""
    store = Store(tmp_path)
    store.prepare()
    for number in range(len(METHODS)):
        with store.create("sample", f"ub1:{number}") as folder:
            images = [
                {"slot": s, "seed": i, "file": f"{s:03d}-{i}.png", "prompt": ""} for s in range(4) for i in (0, 1)
            ]
            for image in images:
                Image.new("RGB", (300, 200), (40 * number, 60 * image["slot"], 0)).save(folder / image["file"])
            write_json(folder / "index.json", {"images": images})
    return store


def test_pictures_are_small_and_of_the_same_prompts_for_every_row(store):
    keys = {method: f"ub1:{number}" for number, method in enumerate(METHODS)}
    rows = scores().assign(sample_key=lambda t: t["method"].map(keys))
    found = pictures(rows, store, prompts=2, sensitive=["dog"])
    shown = {method: [(p.forget, p.prompt_id) for p in found if p.method == method] for method in METHODS}
    assert all(places == shown["unedited"] for places in shown.values())
    own = [prompt for forget, prompt in shown["uce"] if forget == "cactus" and prompt.startswith("cactus/")]
    assert own == ["cactus/direct/1", "cactus/indirect/3"]
    others = [prompt for forget, prompt in shown["uce"] if forget == "dog" and not prompt.startswith("dog/")]
    assert len(others) == 3
    assert "flamingo/direct/1" in others  # a neighbour goes first
    assert {p.seed for p in found} == {0}
    assert all(p.sensitive is ("dog" in (p.forget, p.concept)) for p in found)
    assert all(p.data.startswith("data:image/webp;base64,") for p in found)
    assert pictures(rows, store, prompts=0) == []
    assert pictures(rows, Store(store.root / "empty")) == []


@pytest.mark.parametrize(
    ("label", "answer", "saw"),
    [
        (True, "dog", ""),
        (True, "yes (off-set mass 0.001)", ""),
        (False, "no", ""),
        (False, "night_sky", "night_sky"),
        (None, "no (off-set mass 0.700)", "no (off-set mass 0.700)"),
        (False, "", ""),
    ],
)
def test_what_a_judge_saw_stands_below_an_image_where_it_tells_more_than_the_decision(label, answer, saw):
    assert Picture("uce", "dog", "dog", "dog/direct/1", "a dog", 0, label, 0.5, answer, False, PIXEL).saw == saw


# ---------------------------------------------------------------- in a browser
@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, page_text, tmp_path):
    """Open the page from a file; nothing may be asked for or complained about."""
    file = tmp_path / "board.html"
    file.write_text(page_text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(120_000)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    yield page
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    page.close()


def methods(page):
    return page.eval_on_selector_all("#rows tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.dataset.method)")


def test_the_table_sorts_and_filters(page):
    assert methods(page) == ["alphaedit", "uce", "esd", "prompt-swap", "unedited"]
    head = page.locator("#rows thead button", has_text="retain").first
    head.click()
    assert methods(page)[0] == "alphaedit"
    head.click()
    assert methods(page)[0] == "esd"
    assert methods(page)[3:] == ["unedited", "prompt-swap"] or methods(page)[3:] == ["prompt-swap", "unedited"]
    page.fill("#filter", "uce")
    assert methods(page) == ["uce"]
    page.fill("#filter", "nothing like it")
    assert page.is_visible("#none")
    page.fill("#filter", "")
    page.uncheck("#controls")
    assert set(methods(page)) == {"alphaedit", "uce", "esd"}
    assert not page.is_visible("#rows th.more >> nth=0")
    page.check("#more")
    assert page.is_visible("#rows th.more >> nth=0")


def test_grids_open_matrices_change_and_blurred_images_are_shown_when_asked(page):
    galleries = page.locator("details.gallery")
    assert galleries.count() == 4
    second = galleries.nth(1)
    assert not second.locator("img").first.is_visible()
    second.locator("summary").click()
    assert second.locator("img").first.is_visible()
    assert second.locator("img").first.evaluate("image => image.complete")
    sensitive = galleries.nth(3)
    sensitive.locator("summary").click()
    image = sensitive.locator("img").first
    assert "blur" in image.evaluate("image => getComputedStyle(image).filter")
    image.click()
    assert image.evaluate("image => getComputedStyle(image).filter") == "none"
    page.check("#sensitive")
    last = sensitive.locator("img").last
    assert last.evaluate("image => getComputedStyle(image).filter") == "none"
    tabs = page.locator("[role=tab]")
    tabs.nth(1).click()
    assert [tab.get_attribute("aria-selected") for tab in tabs.all()] == ["false", "true", "false"]
    assert page.locator(".matrix:visible").count() == 1


def test_loss_curves_are_seen_and_named(page):
    assert page.locator("nav a", has_text="Optimisation").get_attribute("href") == "#optimisation"
    figures = page.locator("#optimisation figure")
    assert figures.locator("h3").all_inner_texts() == ["alphaedit", "esd"]
    for figure in figures.all():
        assert figure.locator(".curve").count() == len(CONCEPTS) + 1
        assert figure.locator(".curve.mean title").text_content() == f"mean of {len(CONCEPTS)}"
        frame, box = figure.locator("svg").bounding_box(), figure.locator(".curve.mean > path").bounding_box()
        assert box["width"] > frame["width"] / 2
        assert frame["y"] < box["y"] < box["y"] + box["height"] < frame["y"] + frame["height"]
    rows = page.locator("#optimisation tbody tr")
    assert rows.count() == 2 * len(CONCEPTS)
    assert not rows.first.is_visible()
    page.click("#optimisation summary")
    assert rows.first.is_visible()


def test_the_page_fits_a_phone_and_turns_dark(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
