"""The page in a real browser: images as a query, weights, filters, more results, and exports."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from tests.support.browser import (
    DESKTOP,
    PHONE,
    Site,
    address_of,
    ask,
    card,
    labels,
    open_page,
    query_of,
    save_screenshot,
    settle,
    start_page,
    wait_for,
    wait_for_query,
    wait_for_status,
)
from tests.support.page import HOSTILE_NOTE, image_folder
from tests.support.program import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

    from tests.support.prepared import Fork

# Hands a file to the page as the clipboard or the mouse does.
PASTE = """bytes => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "rocket.jpg", { type: "image/jpeg" }));
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""
DRAG = """([bytes, type, kind]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "name", { type }));
    const options = { dataTransfer: data, bubbles: true, cancelable: true };
    document.querySelector(".cards").dispatchEvent(new DragEvent(kind, options));
}"""


def test_chosen_image_finds_itself_and_has_a_permalink(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.set_input_files("#image input", image_folder() / "coffee.png")
    wait_for_status(page, "your image")
    assert labels(page)[0] == "coffee cup"
    assert float(page.locator(".cards .score").first.inner_text()) > 0.999
    assert page.input_value("#text input") == ""
    page.wait_for_function("document.querySelector('.tokens img').naturalWidth > 0")
    found = labels(page)
    other = page.context.new_page()
    other.goto(address_of(page))
    wait_for(other, "results")
    assert labels(other) == found
    page.go_back()
    wait_for(page, "start")


def test_images_join_the_words_in_the_box_and_leave_by_backspace(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.fill("#text input", "at night")  # typed, not searched for
    page.set_input_files("#image input", image_folder() / "coffee.png")
    wait_for_status(page, "“at night” + your image")
    page.fill("#text input", "at night -people")
    page.evaluate(PASTE, list((image_folder() / "rocket.jpg").read_bytes()))
    wait_for_status(page, "“at night” − “people” + your image + your image")
    assert page.locator(".parts li").count() == 4
    page.evaluate(PASTE, list((image_folder() / "rocket.jpg").read_bytes()))  # the query has it already
    page.wait_for_function("!document.body.classList.contains('searching')")
    assert page.locator("#bar .tokens li").count() == 2
    save_screenshot(page, "desktop-tokens")
    page.focus("#text input")
    page.keyboard.press("Home")
    page.keyboard.press("Backspace")
    wait_for_status(page, "“at night” − “people” + your image")
    page.wait_for_function("document.querySelectorAll('#bar .tokens li').length === 1")
    page.click("#bar .tokens a")
    wait_for_query(page, q="at night -people")
    assert page.input_value("#text input") == "at night -people"


def test_typed_words_outlast_a_filter_a_card_a_reload_and_back(page: Page, site: Site) -> None:
    rocket = site.collection.ids["rocket"]
    open_page(page, site, f"?q=id:{rocket}&fold=0")
    page.fill("#text input", "ground")
    page.click(f"{card('moon')} .use")
    wait_for_query(page, q=f"ground id:{rocket} id:{site.collection.ids['moon']}", fold="0")
    page.fill("#text input", "dark ground")
    page.click(".toggle")
    page.click(".values label:has-text('thing')")
    wait_for_query(
        page, q=f"dark ground id:{rocket} id:{site.collection.ids['moon']}", fold="0", filter='kind == "thing"'
    )
    page.fill("#text input", "not asked for")
    page.reload()
    wait_for(page, "results")
    assert page.input_value("#text input") == "not asked for"
    page.locator(".cards .similar").first.click()
    wait_for_status(page, "for image")
    assert page.input_value("#text input") == ""
    page.go_back()
    wait_for_status(page, "dark ground")
    assert page.input_value("#text input") == "not asked for"


def test_back_and_reload_come_back_to_the_place(page: Page, site: Site) -> None:
    page.set_viewport_size(PHONE)
    open_page(page, site, "?q=cat&fold=0")
    settle(page)
    page.evaluate("scrollTo(0, 120)")
    page.locator(".cards .similar").nth(8).evaluate("link => link.click()")
    wait_for_status(page, "for image")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    wait_for_status(page, "“cat”")
    page.wait_for_function("Math.abs(scrollY - 120) <= 1")  # heights of rows are fractions of a pixel
    page.reload()
    wait_for(page, "results")
    page.wait_for_function("Math.abs(scrollY - 120) <= 1")


def test_dropped_image(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    image = list((image_folder() / "rocket.jpg").read_bytes())
    page.evaluate(DRAG, [image, "image/jpeg", "dragover"])
    assert page.evaluate("getComputedStyle(document.body, '::after').content") == '"Drop the image to search with it"'
    page.evaluate(DRAG, [image, "image/jpeg", "drop"])
    wait_for_status(page, "your image")
    assert labels(page)[0] == "rocket"
    assert page.evaluate("getComputedStyle(document.body, '::after').content") == "none"
    page.evaluate(DRAG, [[1, 2, 3], "text/html", "drop"])
    page.wait_for_selector(".toast:not([hidden])")
    assert page.inner_text(".toast") == "This file is not an image."


def test_unreadable_image_is_explained(page: Page, site: Site, tmp_path: Path) -> None:
    open_page(page, site, kind="start")
    shown = page.locator(".cards .label").count()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of use")
    page.set_input_files("#image input", tmp_path / "broken.png")
    page.wait_for_selector(".said .mistake")
    message = page.inner_text(".said .mistake")
    assert message.startswith("This image cannot be read: it is damaged")
    assert "/" not in message
    assert page.locator(".cards .label").count() == shown > 0  # the previous results stay
    save_screenshot(page, "desktop-error")
    ask(page, "a cat")
    assert page.locator(".mistake").count() == 0
    open_page(page, site, f"?image={'0' * 32}", kind="error")
    assert "no longer kept" in page.inner_text(".message h2")


def test_images_and_words_are_weighed_and_removed(page: Page, site: Site) -> None:
    rocket = site.collection.ids["rocket"]
    open_page(page, site, "?q=a+dark+sky")
    assert not page.locator(".parts").is_visible()  # a query of words alone is shown in the box
    page.click(f"{card('rocket')} .use")
    wait_for_query(page, q=f"a dark sky id:{rocket}")
    assert page.input_value("#text input") == "a dark sky"
    assert "rocket" not in labels(page)
    part = page.locator(".parts li").nth(1)
    for written in (f"a dark sky 0.5*id:{rocket}", f"a dark sky -0.5*id:{rocket}", f"a dark sky -id:{rocket}"):
        part.locator(".less").click()
        wait_for_query(page, q=written)
        assert page.evaluate("document.activeElement.dataset.key") == "less 1"  # the focus stays where it was
    assert "“a dark sky” − image “rocket”" in page.inner_text(".status")
    assert part.locator(".weight").inner_text() == "−1"
    page.evaluate("document.activeElement.blur()")
    save_screenshot(page, "desktop-parts")
    page.set_viewport_size(PHONE)
    save_screenshot(page, "phone-parts")
    page.locator(".parts li").first.locator(".greater").click()
    wait_for_query(page, q=f'1.5*"a dark sky" -id:{rocket}')
    assert page.input_value("#text input") == '1.5*"a dark sky"'
    page.locator(".parts li").first.locator(".remove").click()
    wait_for_query(page, q=f"-id:{rocket}")
    page.click(".parts .plain")
    wait_for(page, "start")


def test_filters_are_the_collections_columns(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground&fold=0")
    page.click(".toggle")
    legends = page.locator(".panel legend").all_inner_texts()
    assert [text.lower() for text in legends] == [
        "label", "year", "kind", "outdoors", "note", "shot on", "folder",
    ]  # fmt: skip
    page.click(".values label:has-text('thing')")
    wait_for_query(page, q="ground", fold="0", filter='kind == "thing"')
    page.fill("[data-column=year] .low", "2004")
    page.press("[data-column=year] .low", "Enter")
    wait_for_query(page, q="ground", fold="0", filter='year >= 2004 and kind == "thing"')
    page.click("[data-column=outdoors] .values label:has-text('yes')")
    wait_for_query(page, q="ground", fold="0", filter='year >= 2004 and kind == "thing" and outdoors == true')
    assert page.locator(".cards li").count() == 3  # the CSV's rows 4, 10 and 16
    assert page.inner_text(".toggle .count") == "3"
    save_screenshot(page, "desktop-filters")
    page.fill(".conditions input", 'not (label startswith "m") or year > 2050')
    page.press(".conditions input", "Enter")
    page.wait_for_function("document.querySelector('.toggle .count').textContent === '4'")
    count = page.locator(".cards li").count()
    page.reload()
    page.wait_for_selector("[data-kind]")
    wait_for(page, "results" if count else "nothing")
    page.click(".toggle")
    assert page.input_value("[data-column=year] .low") == "2004"
    assert page.input_value(".conditions input") == 'not (label startswith "m") or year > 2050'
    assert page.locator(".values input:checked").count() == 2
    page.click(".clear")
    wait_for_query(page, q="ground", fold="0")
    assert page.locator(".cards li").count() == 17


def test_days_are_chosen_from_the_first_to_the_last(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground")
    page.click(".toggle")
    page.fill("[data-column='shot on'] .low", "2020-06-05")
    wait_for_query(page, q="ground", filter='`shot on` >= "2020-06-05"')
    page.fill("[data-column='shot on'] .high", "2020-06-07")
    wait_for_query(page, q="ground", filter='`shot on` >= "2020-06-05" and `shot on` < "2020-06-08"')
    assert page.locator(".cards li").count() == 3
    page.reload()
    page.wait_for_selector("[data-kind]")
    wait_for(page, "results")
    assert page.input_value("[data-column='shot on'] .high") == "2020-06-07"


def test_text_and_hostile_filters_say_what_they_mean(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground&fold=0")
    page.click(".toggle")
    page.fill("[data-column=label] .words", 'text%" or id > 0')
    page.press("[data-column=label] .words", "Enter")
    wait_for(page, "nothing")
    assert "No images for “ground”" in page.inner_text(".message")
    page.fill("[data-column=label] .words", "textur")
    page.press("[data-column=label] .words", "Enter")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 3")
    assert labels(page) == ["texture"] * 3
    page.fill("[data-column=year] .high", "many")
    page.press("[data-column=year] .high", "Enter")
    page.wait_for_selector("[data-column=year] .mistake")
    assert page.inner_text("[data-column=year] .mistake") == "“many” is not a number."
    assert page.input_value("[data-column=year] .high") == "many"  # to be corrected
    assert labels(page) == ["texture"] * 3
    page.fill("[data-column=year] .high", "")
    page.fill(".conditions input", "yeer > 2")
    page.press(".conditions input", "Enter")
    page.wait_for_selector(".conditions .mistake")
    assert page.inner_text(".conditions .mistake").startswith("There is no column “yeer”. The columns are: path, ")
    assert labels(page) == ["texture"] * 3
    open_page(page, site, "?q=ground&filter=yeer+%3E+2", kind="error")
    assert "There is no column “yeer”" in page.inner_text(".message")


def test_each_condition_is_a_chip_that_removes_it(page: Page, site: Site) -> None:
    conditions = (
        'year >= 2003 and `shot on` >= "2020-06-04" and kind in ["animal", "thing"] and `shot on` < "2020-07-01"'
        ' and not (note == "x")'
    )
    open_page(page, site, f"?q=ground&fold=0&min=0.001&filter={quote_plus(conditions)}")
    chips = page.locator(".active a span")
    assert chips.all_inner_texts() == [
        "year ≥ 2003", "shot on: 4 Jun 2020 – 30 Jun 2020", "kind: animal, thing", 'not (note == "x")',
        "score 0.001 or more",
    ]  # fmt: skip
    assert page.inner_text(".toggle .count") == "5"
    page.fill("#text input", "sky")
    page.get_by_role("link", name="Remove shot on: 4 Jun 2020 – 30 Jun 2020").click()
    left = 'year >= 2003 and kind in ["animal", "thing"] and not (note == "x")'
    wait_for_query(page, q="sky", fold="0", min="0.001", filter=left)  # with the words that were typed
    chips.last.click()
    wait_for_query(page, q="sky", fold="0", filter=left)
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        save_screenshot(page, f"{'phone' if size == PHONE else 'desktop'}-chips")
    for _ in range(3):
        chips.first.click()
        page.wait_for_function("!document.body.classList.contains('searching')")
    wait_for_query(page, q="sky", fold="0")
    assert not page.locator(".active").is_visible()
    open_page(page, site, "?q=sky&filter=%28+no", kind="error")
    chips.click()
    wait_for_query(page, q="sky")


def test_mistakes_are_told_in_the_readers_language(browser: Browser, site: Site, tmp_path: Path) -> None:
    page = browser.new_page(locale="de-DE")
    open_page(page, site, "?q=cat")
    assert re.fullmatch(r"-?0,\d{3}", page.locator(".cards .score").first.text_content() or "")
    page.click(".toggle")
    page.fill(".conditions input", "year ==")
    page.press(".conditions input", "Enter")
    page.wait_for_selector(".conditions .mistake")
    assert page.inner_text(".conditions .mistake").startswith("Der Filter ist ab Zeichen 8 nicht lesbar. Expected a")
    assert page.get_attribute(".conditions .mistake small", "lang") == "en"
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of use")
    page.set_input_files("#image input", tmp_path / "broken.png")
    page.wait_for_selector(".said .mistake")
    told = "Dieses Bild ist nicht lesbar: Es ist beschädigt, oder seine Art wird nicht unterstützt."
    assert page.inner_text(".said .mistake").strip() == told
    page.close()


def test_minimum_score_and_near_duplicates(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    labels_before = page.locator(".cards li:has(.alike:not([hidden])) .label").all_inner_texts()
    folded = [int(text) for text in page.locator(".alike:not([hidden])").all_inner_texts()]
    assert sum(folded) > 0
    assert page.locator(".cards li").count() == 17 - sum(folded)
    page.locator(".alike:not([hidden])").first.click()
    wait_for_query(page, q=f"id:{site.collection.ids[labels_before[0]]}", min="0.95", fold="0")
    assert page.locator(".cards li").count() == folded[0]
    page.go_back()
    wait_for_status(page, "“cat”")
    page.click(".toggle")
    page.uncheck(".fold input")
    wait_for_query(page, q="cat", fold="0")
    assert page.locator(".cards li").count() == 17
    scores = [float(text) for text in page.locator(".cards .score").all_inner_texts()]
    page.locator(".score input").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true }));"
        " slider.dispatchEvent(new Event('change', { bubbles: true })) }", "0.2",
    )  # fmt: skip
    wait_for_query(page, q="cat", fold="0", min="0.2")
    assert page.inner_text(".score output") == "0.2"
    assert page.locator(".cards li").count() == sum(score >= 0.2 for score in scores) < len(scores)


def test_more_results_follow_without_repeats(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat&fold=0")
    everything = labels(page)
    open_page(page, site, "?q=cat&k=12&fold=0")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 17")
    assert labels(page) == everything
    assert page.inner_text(".status").startswith("17 images for “cat”")
    wait_for_query(page, q="cat", k="12", fold="0")
    page.click(f"{card(everything[16])} .image")
    assert page.inner_text("dialog strong") == everything[16]
    page.reload()
    wait_for(page, "results")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 17")
    assert labels(page) == everything


def test_link_and_files_to_take_along(page: Page, site: Site) -> None:
    open_page(page, site, "?q=coins&k=12&fold=0")
    page.wait_for_function("document.querySelectorAll('.cards li').length === 17")
    page.click(".copy")
    page.wait_for_selector(".toast:not([hidden])")
    assert page.evaluate("navigator.clipboard.readText()") == address_of(page)
    with page.expect_download() as download:
        page.click(".save[data-format=CSV]")
    assert download.value.suggested_filename == "coins.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    with page.expect_download() as download:
        page.click(".save[data-format=JSON]")
    assert download.value.suggested_filename == "coins.json"
    found = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 18)]
    assert [row["id"] for row in rows] == [str(hit["id"]) for hit in found]
    assert [row["label"] for row in rows] == [hit["label"] for hit in found]
    notes = {hit["note"] for hit in found}
    if HOSTILE_NOTE in notes:  # a spreadsheet would run it
        assert "'" + HOSTILE_NOTE in {row["note"] for row in rows}
    assert [Path(row["path"]).suffix in (".png", ".jpg", ".bmp") for row in rows] == [True] * 17
    assert query_of(page) == {"q": ["coins"], "k": ["12"], "fold": ["0"]}


def test_filters_alone_are_browsed_in_any_order(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.click(".toggle")
    page.click(".values label:has-text('thing')")
    wait_for_query(page, filter='kind == "thing"')
    assert page.inner_text(".status") == "6 of 17 images"
    page.select_option(".order select", "year")
    wait_for_query(page, filter='kind == "thing"', sort="year")
    wait_for(page, "results")
    rising = labels(page)
    page.click(".order .turn")
    wait_for_query(page, filter='kind == "thing"', sort="year:desc")
    assert labels(page) == rising[::-1]
    page.click(".panel .shut")
    ask(page, "ground")
    assert page.inner_text(".status") == "6 of 17 images for “ground”"
    page.go_back()
    wait_for_query(page, filter='kind == "thing"', sort="year:desc")
    assert labels(page) == rising[::-1]


def test_values_folders_and_months_are_offered_with_their_counts(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.click(".toggle")
    page.wait_for_selector("[data-column='shot on'] .tree .row")
    assert page.locator("[data-column=kind] .values small").all_inner_texts() == ["6", "6", "5"]
    page.locator("[data-column=path] .tree button:not(.opener)").first.click()
    page.wait_for_function("location.search.includes('path+under')")
    assert int(page.inner_text(".status").split()[0]) == page.locator(".cards li").count() < 17
    page.click(".panel .clear")
    wait_for(page, "start")
    page.wait_for_selector("[data-column='shot on'] .tree .row button:text-matches('2020.*16')")  # counted again
    page.click("[data-column='shot on'] .tree .opener")
    page.locator("[data-column='shot on'] .tree .leaf button").first.click()
    wait_for_query(page, filter='`shot on` >= "2020-06-01" and `shot on` < "2020-07-01"')
    save_screenshot(page, "desktop-facets")


def test_counts_that_do_not_come_are_asked_for_again(page: Page, site: Site) -> None:
    page.route("**/api/facets?filter=*", lambda route: route.fulfill(body="cut off"), times=1)
    open_page(page, site, kind="start")
    page.click(".toggle")
    page.wait_for_selector("[data-column=kind] .values small")


def test_counts_of_a_filter_that_was_left_meanwhile_are_not_shown(page: Page, site: Site) -> None:
    counts = "[data-column=outdoors] .values small"
    open_page(page, site, kind="start")
    page.click(".toggle")
    page.wait_for_selector(counts)
    before = page.locator(counts).all_inner_texts()
    held: list[Route] = []
    page.route("**/api/facets?filter=kind*", lambda route: held.append(route))
    with page.expect_request("**/api/facets?filter=kind*"):
        page.click(".values label:has-text('thing')")
    page.click(".panel .clear")
    wait_for(page, "start")
    with page.expect_response("**/api/facets?filter=kind*") as response:
        held[0].continue_()
    late = next(column for column in response.value.json()["columns"] if column["name"] == "outdoors")
    assert [str(value["count"]) for value in late["values"]] != before
    page.evaluate("new Promise(requestAnimationFrame)")
    assert page.locator(counts).all_inner_texts() == before
    page.unroute_all()


def test_a_mistyped_value_gets_the_nearest_one(page: Page, site: Site) -> None:
    open_page(page, site, "?q=ground&filter=kind+%3D%3D+%22animul%22", kind="nothing")
    page.click(".nearest a:has-text('animal')")
    wait_for_query(page, q="ground", filter='kind == "animal"')
    wait_for(page, "results")


def test_recent_searches_and_labels_are_suggested(page: Page, site: Site) -> None:
    open_page(page, site, kind="start")
    page.evaluate("localStorage.removeItem('recent')")
    ask(page, "a rocket at night")
    ask(page, "something else")
    page.fill("#text input", "rocket")
    page.wait_for_selector(".suggestions li")
    assert page.locator(".suggestions li").all_inner_texts() == ["a rocket at night"]
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#text input", "aria-activedescendant") == "suggestion-0"
    page.keyboard.press("Enter")
    wait_for_status(page, "“a rocket at night”")
    assert not page.locator(".suggestions").is_visible()
    page.fill("#text input", "motorc")
    page.wait_for_selector(".suggestions .label")
    page.click(".suggestions li:has-text('motorcycle')")
    wait_for_query(page, q="motorcycle")


def test_words_of_an_address_get_no_suggestions(page: Page, site: Site) -> None:
    open_page(page, site, "?q=motorc")
    page.wait_for_load_state("networkidle")
    assert not page.locator(".suggestions").is_visible()
    page.click("#text input")
    page.wait_for_selector(".suggestions li")


def test_question_mark_shows_the_keys(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys[open]")
    save_screenshot(page, "desktop-keys")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.keys:not([open])", state="attached")
    page.click("#header .help")
    page.wait_for_selector("dialog.keys[open]")


def test_address_of_an_image_is_searched_for_and_refused_on_private_networks(page: Page, site: Site) -> None:
    open_page(page, site, "?q=cat")
    page.fill("#text input", f"{site.address}/thumb/{site.collection.ids['coins']}")
    page.press("#text input", "Enter")
    page.wait_for_selector(".said .mistake")
    assert page.inner_text(".said .mistake").startswith("This address is on a private network.")
    assert page.input_value("#text input").startswith("http://")  # to be corrected


def test_lost_server_is_said_and_what_was_typed_is_asked_when_it_is_back(
    browser: Browser, site: Site, tmp_path: Path, programs: list[Fork]
) -> None:
    uri = site.collection.copy_to(tmp_path)
    port = str(free_port())
    program, address = start_page(tmp_path, "--uri", uri, "--port", port)
    programs.append(program)
    page = browser.new_page(locale="de-DE")
    page.goto(f"{address}/?q=cat")
    wait_for(page, "results")
    program.send_signal(signal.SIGKILL)
    program.wait()
    page.wait_for_selector(".lost-server:not([hidden])")
    assert page.inner_text(".lost-server").startswith("Der Server antwortet nicht.")
    assert not page.locator(".toast-wrap").is_visible()  # Gradio's own message
    page.fill("#text input", "a rocket")
    page.press("#text input", "Enter")
    save_screenshot(page, "desktop-away")
    programs.append(start_page(tmp_path, "--uri", uri, "--port", port)[0])
    wait_for_query(page, q="a rocket")
    wait_for(page, "results")
    assert page.input_value("#text input") == "a rocket"
    page.close()
