"""The decks: whole without a network, short, with words for every figure, and no number typed."""

import json
import re
from copy import copy
from urllib.parse import urlparse

import pytest
from bs4 import BeautifulSoup

from benchmarks.lab import CHROMIUM, browser_page
from teaching import lecture, slides

pytestmark = pytest.mark.integration

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in slides.DECKS.items()}
WORDS = 45  # on one slide, title and tables included; outputs, formulas and numbers are not


@pytest.fixture(scope="module")
def pages():
    return {name: slides.built(slides.text_of_deck(name)) for name in (*TEXTS, "lecture")}


def faults(page, most=20):
    """Sentences on what a page of slides breaks, as far as it can be seen without a browser."""
    soup = BeautifulSoup(page, "html.parser")
    for node in soup.select("[src], link[href], [data-src], [data-background-image]"):
        source = node.get("src") or node.get("href") or "something"
        if not source.startswith("data:"):
            yield f"loads {source}"
    for node in soup.select("img"):
        if len(node.get("alt", "")) < 30:
            yield "a picture without words"
    for style in soup.select("style"):
        yield from (f"loads {found}" for found in re.findall(r"@import|url\((?!data:)", style.text))
    for place in soup.select("[data-figure]"):
        if len(place.parent.get("aria-label", "")) < 30:
            yield "a figure without words"
    found = [each for each in soup.select("section") if not each.select("section")]
    if not 10 <= len(found) <= most:
        yield f"{len(found)} slides"
    for slide in found:
        yield from faults_of_slide(slide)


def faults_of_slide(slide):
    title = slide.select_one("h1, h2")
    if title is None:
        yield "a slide without a title"
        return
    # reveal.js shows the notes of a fragment only once that fragment is there.
    if slide.select(".fragment aside.notes"):
        yield f"{title.text}: notes wait for a key"
    notes = " ".join(each.extract().text for each in slide.select("aside.notes"))
    yield from faults_before_the_first_key(slide)
    if not notes.strip():
        yield f"{title.text}: no notes"
    elif title.name == "h2" and not re.search(r"(?i)\bask\b", notes):
        yield f"{title.text}: nothing to ask the class"
    for kind in ("[data-figure]", "math[display=block]", "pre"):
        if len(slide.select(kind)) > 1:
            yield f"{title.text}: more than one {kind}"
    if "$" in slide.text or "{{" in slide.text or "\\" in slide.text:
        yield f"{title.text}: something was not rendered"
    for other in slide.select("pre, .printed, math, .figure, .drawing, .from"):
        other.extract()
    words = re.findall(r"\S*[^\W\d]\S*", slide.text)
    if len(words) > WORDS:
        yield f"{title.text}: {len(words)} words"


def faults_before_the_first_key(slide):
    """What a class sees while it is asked: a question, if an answer waits, and no title alone."""
    slide = copy(slide)
    waits = [each.extract() for each in slide.select(".fragment")]
    name = slide.select_one("h1, h2").text
    if waits and "?" not in slide.text:
        yield f"{name}: no question before the answer"
    for each in slide.select("h1, h2, .from"):
        each.extract()
    if waits and not slide.text.strip() and not slide.select("[data-figure], img, svg"):
        yield f"{name}: nothing but its title"


def typed_numbers(markdown):
    """Decimals and numbers above 9 that are neither fetched nor part of a formula or a name."""
    rest = re.sub(
        r"\{\{.*?\}\}|\{%.*?%\}|\$\$?.+?\$\$?|95 %|^\d+ minutes?\.", "", markdown, flags=re.M
    )
    rest = re.sub(r"\b0\d[ab]?\b|\bCIFAR-10\b", "", rest)  # lessons, a name
    return re.findall(r"\d+[.,]\d+|\d{2,}", rest)


@pytest.mark.parametrize("name", TEXTS)
def test_a_deck_keeps_the_rules(pages, name):
    assert list(faults(pages[name])) == []
    assert typed_numbers(TEXTS[name]) == []


def test_the_lecture_keeps_them_too(pages):
    assert list(faults(pages["lecture"], most=30)) == []
    assert typed_numbers(lecture.OPENING) == []


def slide(body, notes="1 minute. Ask: why?"):
    return f"## A title\n\n{body}\n\nNotes:\n{notes}\n"


def deck(*bodies, fill=10):
    """A small deck: a title, slides with these bodies, and others up to `fill`."""
    bodies = [*bodies, *["some words"] * (fill - 1 - len(bodies))]
    return "\n---\n".join(["# Deck\n\nNotes:\n1 minute. x\n", *map(slide, bodies)])


def test_each_rule_can_be_broken():
    assert list(faults(slides.built(deck()))) == []
    wrong = deck(
        "<img src='https://example.org/x.png'>",
        "words " * 46,
        "$$a$$\n\n$$b$$",
        "left $open",
        '<div class="figure"><div data-figure="0"></div></div>',
        fill=21,
    )
    wrong = wrong.replace("Ask: why?", "Go on.", 1)
    said = " ".join(faults(slides.built(wrong)))
    for words in ("loads https", "words", "more than one math", "not rendered", "without words"):
        assert words in said
    assert "21 slides" in said and "nothing to ask the class" in said
    assert "loads @import" in " ".join(faults("<style>@import url(x.css)</style>"))
    assert list(faults(slides.built(deck(fill=9)))) == ["9 slides"]
    whole = slides.built(deck())
    for old, new, words in (
        ("<h2>A title</h2>", "", "a slide without a title"),
        ('<aside class="notes">', "<aside>", "A title: no notes"),
        ("1 minute. Ask: why?", " ", "A title: no notes"),
        ("Ask: why?", "This is a task.", "A title: nothing to ask the class"),
    ):
        before, found, after = whole.rpartition(old)
        assert found and list(faults(before + new + after)) == [words]
    for body, fault in (
        ("A claim.\n\n. . .\n\nIts answer.", "A title: no question before the answer"),
        (". . .\n\nThe answer.", "A title: nothing but its title"),
        ("![x](data:image/png;base64,AAAA)", "a picture without words"),
    ):
        assert fault in list(faults(slides.built(deck(body)))), body
    asked = slides.built(deck("Why?\n\n. . .\n\nSo."))
    assert list(faults(asked)) == []
    late = BeautifulSoup(asked, "html.parser")
    fragment = late.select_one(".fragment")
    fragment.append(fragment.find_parent("section").select_one("aside.notes").extract())
    assert list(faults(str(late))) == ["A title: notes wait for a key"]
    assert typed_numbers("53.1 points, in 36 heads; lesson 05, 95 %, $x_{12}$") == ["53.1", "36"]


def test_what_is_not_there_is_a_sentence(monkeypatch):
    for call, words in (
        ('{{ figure("nothing") }}', "no lesson has a cell tagged 'slide:nothing'"),
        ('{{ figure("significance") }}', "keeps 0 figures"),
        ('{{ figure("claim", hide="no such words") }}', "'no such words', to be hidden, is not in"),
        ('{{ said("significance", "no such (words)") }}', "is 0 times in slide:significance"),
        ('{{ said("significance", "([0-9])") }}', "times in slide:significance"),
        ('{{ printed("significance", "no such") }}', "no line of slide:significance"),
        ('{{ table("claim") }}', "slide:claim prints no table"),
        ('{{ heads("twin") }}', "no line on the heads"),
        ('{{ gains("no_base") }}', "'no_base' is not one of torch_default"),
    ):
        with pytest.raises(ValueError, match=words):
            slides.built(deck(call))
    with pytest.raises(ValueError, match="minutes"):
        slides.slides_of("## A title\n\nNotes:\nno minutes")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="fewer than two final"):
        patch.setattr(slides, "final_runs", lambda *_: [])
        slides.built(deck('{{ gains("torch_default") }}'))
    without_words = {"layout": {"title": {"text": "x"}, "height": 300}}
    with pytest.raises(ValueError, match="no alternative text"):
        slides.Figures().place(without_words)


def test_one_tag_is_on_one_cell(tmp_path):
    cell = {"cell_type": "markdown", "metadata": {"tags": ["slide:x"]}, "source": "", "id": "a"}
    notebook = {"cells": [cell, {**cell, "id": "b"}], "metadata": {}}
    notebook |= {"nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "00_x.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match="two cells have the tag 'slide:x'"):
        slides.tagged(tmp_path)


def test_every_tag_is_used_and_predictions_stay_out():
    used = set(
        re.findall(
            r'(?:figure|heads|said|printed|table|code)\("([\w-]+)"', " ".join(TEXTS.values())
        )
    )
    assert {f"slide:{tag}" for tag in used} == set(slides.tagged())
    for tag in used:
        assert "you said" not in slides.text_of(tag)
    assert slides.text_of("significance").startswith(" DeiT")


def test_a_table_has_what_the_cell_printed():
    """Cells against the printed text: nothing lost, each number in its column."""
    for tag in ("order", "arms-in-numbers", "small-print"):
        shown = BeautifulSoup(slides.table(tag), "html.parser")
        rows = [[cell.text for cell in row.select("th, td")] for row in shown.select("tr")]
        printed = slides.text_of(tag).splitlines()
        assert [" ".join(row).split() for row in rows] == [line.split() for line in printed]
        first = [re.split(r"\s{2,}", line.strip())[0] for line in printed]
        assert [row[0] for row in rows] == first


def minutes_stated(guide):
    return {name: int(n) for name, n in re.findall(r"`(\d_\w+)`[^|]*\|[^|]*\| (\d+) \|", guide)}


def test_the_guide_states_the_minutes():
    guide = (slides.ROOT / "teaching" / "guide.md").read_text(encoding="utf-8")
    minutes = {name: slides.minutes_of(name) for name in TEXTS}
    assert minutes_stated(guide) == minutes
    first = min(minutes)
    later = re.sub(rf"(`{first}`[^|]*\|[^|]*\|) \d+ \|", rf"\1 {minutes[first] + 1} |", guide)
    assert minutes_stated(later) != minutes
    assert minutes_stated(guide.replace(f"`{first}`", "")) != minutes


def lecture_faults(guide):
    """What the guide's lecture states and its slides do not."""
    try:
        text = lecture.markdown(TEXTS, guide)
    except ValueError as error:
        return [str(error)]
    spoken = [int(slides.MINUTES.match(notes)[1]) for _, notes in slides.slides_of(text)]
    rows = lecture.rows(guide)
    found = [
        f"{row.title}: {n}" for row, n in zip(rows, spoken[1:], strict=True) if n != row.minutes
    ]
    late = sum(row.minutes for row in rows if row.leave_out)
    total, rest = re.search(
        r"(\d+) minutes in all.*?: (\d+) minutes are left", guide, re.S
    ).groups()
    if (int(total), int(rest)) != (sum(spoken), sum(spoken) - late):
        found.append(f"{sum(spoken)} minutes, {sum(spoken) - late} when late")
    if sum(spoken) > 85:
        found.append("no time for questions")
    needed = ("What we did not show", "Where does it turn?", "What may we say?")
    kept = [row.title for row in rows if row.deck == 3 and not row.leave_out]
    return found + [f"{title}: left out" for title in needed if title not in kept]


def test_the_guides_lecture_is_made_of_slides_and_fits_into_90_minutes():
    guide = lecture.GUIDE.read_text(encoding="utf-8")
    assert lecture_faults(guide) == []
    for old, new, fault in (
        ("| 1-7 | In", "| 1-8 | In", "as 1-8"),
        ("| 1-7 | In", "| 4-7 | In", "as 4-7"),
        ("| 3-15 |", "| 3-95 |", "as 3-95"),
        (
            "In how many heads do you see a line? | 4",
            "In how many heads do you see a line? | 3",
            ": 4",
        ),
        (" minutes in all", "0 minutes in all", "minutes,"),
        (" minutes are left", "0 minutes are left", "minutes,"),
        ("| What we did not show | 3 | |", "| What we did not show | 3 | leave out |", "left out"),
    ):
        assert guide.count(old) == 1, old
        assert any(fault in each for each in lecture_faults(guide.replace(old, new))), old
    with pytest.raises(ValueError, match="no list of slides"):
        lecture.rows("")


def test_every_deck_names_the_paper_and_a_false_claim_is_called_false(pages):
    for page in pages.values():
        first = BeautifulSoup(page, "html.parser").select_one("section section, section")
        assert slides.cited() in str(first)
    soup = BeautifulSoup(pages["3_evidence"], "html.parser")
    titles = [each.text for each in soup.select("h2")]
    assert titles[:2] == ["Do you believe this?", "The small print: what else differs?"]
    drawn = soup.select_one("#figures").string
    assert "ON PURPOSE" not in drawn and slides.said("claim", "(gains [0-9.]+ points)") in drawn
    small_print = soup.select("h2")[1].find_parent("section")
    assert "made wrong on purpose" in small_print.select_one(".fragment").text


# What does not lie on its slide: each block below the title, and each letter of a figure in it.
OUTSIDE = """number => {
  Reveal.slide(number, 0, 99);
  const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale();
  const page = slide.getBoundingClientRect(), found = [];
  const inside = (node, box, name, slack = 2) => {
    const at = node.getBoundingClientRect();
    if (at.width && (at.left < box.left - slack || at.right > box.right + slack
        || at.top < box.top - slack || at.bottom > box.bottom + slack))
      found.push(`slide ${number + 1}: ${name} is cut off`);
  };
  const below = new DOMRect(page.x, page.y + 80 * scale, page.width, page.height - 115 * scale);
  const blocks = "p:not(.from), ul, table, pre, math, .figure, .picture img, .drawing svg";
  for (const node of slide.querySelectorAll(blocks))
    if (!node.closest("aside, h1, h2")) inside(node, below, node.textContent.slice(0, 30));
  for (const node of slide.querySelectorAll("h1, h2")) inside(node, page, "the title");
  for (const node of slide.querySelectorAll("pre"))
    if (node.scrollWidth > node.clientWidth) found.push(`slide ${number + 1}: a line is cut off`);
  for (const figure of slide.querySelectorAll(".figure")) {
    const letters = figure.querySelectorAll("svg text");
    if (!letters.length) found.push(`slide ${number + 1}: nothing is drawn`);
    const box = figure.getBoundingClientRect();
    for (const text of letters) inside(text, box, "in the figure: " + text.textContent);
  }
  return found;
}"""


def opened(page, file):
    """Opens a deck with everything but that file refused; (what it asked for, what is cut off)."""
    asked = []

    def answer(route):
        url = route.request.url
        own = urlparse(url).scheme in ("data", "blob") or url.startswith(file.as_uri())
        asked.extend([] if own else [url])
        return route.continue_() if own else route.abort()

    page.route("**/*", answer)
    page.goto(file.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    number = page.evaluate("Reveal.getTotalSlides()")
    return asked, [each for n in range(number) for each in page.evaluate(OUTSIDE, n)]


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_in_a_browser_without_a_network_every_slide_shows_all_it_has(pages, tmp_path, monkeypatch):
    figure = '{{ figure("gain-of-waves") }}'
    bodies = (
        "<img src='https://example.org/x.png'>",
        f"<pre>{'x' * 200}</pre>",
        figure,
        "words " * 400,
    )
    with browser_page(1280, 720) as page:
        for name, text in pages.items():
            file = tmp_path / f"{name}.html"
            file.write_text(text, encoding="utf-8")
            assert opened(page, file) == ([], []), name
        monkeypatch.setattr(slides, "WIDTH", 2000)
        file.write_text(slides.built(deck(*bodies)), encoding="utf-8")
        asked, cut = opened(page, file)
    assert asked == ["https://example.org/x.png"]
    assert "slide 3: a line is cut off" in cut
    assert "slide 4: in the figure: mimetic, measured is cut off" in cut
    assert any(each.startswith("slide 5: words words") for each in cut)
