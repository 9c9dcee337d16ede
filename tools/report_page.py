"""Looks at pages of the report in headless Chromium: `python3 tools/report_page.py PAGE...`.

At desktop and phone widths, light and dark: every picture has a size, nothing is wider than the window, no text of a
picture overlaps another or leaves it, no request leaves the page, the console is empty, a table can be sorted, and
without a script the page shows the same pictures. With SCREENSHOTS=FOLDER it keeps what it saw.

Needs playwright (PyPI) and Chromium (Debian: chromium; CHROMIUM names another).
"""

import os
import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}

OVERLAPS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("figure svg")) {
    const frame = svg.getBoundingClientRect();
    if (frame.width < 50 || frame.height < 50) found.push("no size: " + svg.getAttribute("aria-label").slice(0, 60));
    const texts = [...svg.querySelectorAll("text")]
      .map(text => [text.textContent.trim(), text.getBoundingClientRect()]);
    texts.forEach(([text, box], place) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1
          || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.push("outside: " + text);
      for (const [other, that] of texts.slice(place + 1)) {
        const wide = Math.min(box.right, that.right) - Math.max(box.left, that.left);
        const high = Math.min(box.bottom, that.bottom) - Math.max(box.top, that.top);
        if (wide > 1 && high > Math.min(box.height, that.height) * 0.35) found.push(`overlap: ${text} | ${other}`);
      }
    });
  }
  return found;
}"""

# Contrast of text with what is behind it (WCAG), for the texts of pictures that stand on the picture's own background.
CONTRAST = """() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const svg of document.querySelectorAll("figure svg")) {
    const paper = light(getComputedStyle(svg.querySelector(".paper")).fill);
    for (const text of svg.querySelectorAll("text")) {
      if (text.closest(".node")) continue;
      const ink = light(getComputedStyle(text).fill);
      const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(1)}: ${text.textContent.trim()}`);
    }
  }
  return found;
}"""


def look(browser, path, failures):
    name = path.stem
    pictures = None
    for device, (width, height) in WIDTHS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            problems = []
            page.on("console", lambda message: problems.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: problems.append(f"script: {error}"))
            page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            requests = []
            page.on("request", lambda request: requests.append(request.url))
            page.goto(path.as_uri())
            problems += [f"request: {url}" for url in requests[1:] if not url.startswith("data:")]
            problems += page.evaluate(OVERLAPS) + page.evaluate(CONTRAST)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                problems.append(f"the page is {wide} wide in a window of {width}")
            pictures = page.locator("figure svg").count()
            if page.locator("table.sortable th button").count():
                body = page.locator("table.sortable tbody").first
                cells = lambda body=body: body.locator("tr td:nth-child(1)").all_inner_texts()
                before = cells()
                page.locator("table.sortable th button").first.click()
                page.locator("table.sortable th button").first.click()
                if sorted(before) != sorted(cells()):
                    problems.append("sorting changed what is in the table")
                if len(set(before)) > 1:
                    ascending = cells()
                    page.locator("table.sortable th button").first.click()
                    if cells() != ascending[::-1]:
                        problems.append("a table is not sorted")
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=f"{folder}/{name}-{device}-{scheme}.png", full_page=True)
            failures += [f"{name}, {device}, {scheme}: {problem}" for problem in problems]
            context.close()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    if page.locator("figure svg").count() != pictures:
        failures.append(f"{name}: without a script there are other pictures")
    context.close()
    print(f"{name}: {pictures} pictures")


def main():
    pages = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    if not pages:
        sys.exit(__doc__)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("there is no Chromium: install Debian's chromium, or name one with CHROMIUM=PROGRAM")
    failures = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for path in pages:
            look(browser, path, failures)
        browser.close()
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


main()
