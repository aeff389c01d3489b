"""What the tests of pages look with: a reader of HTML, and a browser without a network."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


class Reader(HTMLParser):
    """Tags that open and close in order, what they say, and what lies in the cells of the table."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.faults, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), "/".join(self.open)))
        if len(dict(attrs)) != len(attrs):
            self.faults.append(f"an attribute twice in {tag}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), "/".join(self.open)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self.words.append(("/".join(self.open), data))

    def said(self, place):
        return [words for where, words in self.words if where.endswith(place)]


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def chromium(folder, address, *flags):
    """One look of a browser without a window and without a network."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *flags)
    offline = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}")
    command = [CHROMIUM, *flags, *offline, address.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def framed(tmp_path, text, script, widths=(800,), flags=()):
    """What a script finds in the page, in frames: a window is never as narrow as a telephone."""
    outer = tmp_path / "outer.html"
    frames = "".join(
        f'<iframe srcdoc="{html.escape(text)}" style="border:0" width="{width}" height="800">'
        "</iframe>"
        for width in widths
    )
    outer.write_text(
        '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<pre></pre>{frames}<script>onload = () => {{ const look = (page) => {{ {script} }};"
        "document.querySelector('pre').textContent = JSON.stringify("
        "[...document.querySelectorAll('iframe')].map((each) => look(each.contentDocument)));"
        "}</script>",
        "utf-8",
    )
    found = re.search(r"<pre>(.*?)</pre>", chromium(tmp_path, outer, "--dump-dom", *flags), re.S)
    return json.loads(html.unescape(found[1]))
