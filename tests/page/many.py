"""Five thousand targets that refuse connections: the first view stays small, and so does every other."""

import json
import time

from processes import http_get
from world import file_sd

TARGETS = 5000
# Page, style, scripts, status and fifty targets; with all targets it would be megabytes.
FIRST_VIEW_BYTES_MAX = 110_000
# One look afterwards: status and fifty targets.
LOOK_BYTES_MAX = 40_000


def check(checks, world, browser):
    # Loopback is a whole network, of which nobody listens on port 1.
    address = [f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:1" for n in range(TARGETS)]
    labels = {"__meta_note": "x" * 400}
    file_sd(world.work / "many.json", [
        {"targets": address[n:n + 100], "labels": {**labels, "rack": f"rack-{n // 100}"}} for n in range(0, TARGETS, 100)
    ])
    jobs = f"""global: {{scrape_interval: 10s, scrape_timeout: 5s}}
scrape_configs:
- job_name: many
  file_sd_configs: [{{files: ["{world.work}/many.json"]}}]
"""
    agent = world.agent("many", jobs, "internal_metrics: false\n")
    tab = browser.open(agent)
    tab.wait("tr.target")
    # Everything of the first look has arrived.
    tab.until("document.querySelectorAll('g.stage').length === 6")
    first = tab.bytes
    checks.that(f"the first view takes {first} bytes, at most {FIRST_VIEW_BYTES_MAX}", 10_000 < first <= FIRST_VIEW_BYTES_MAX)
    tab.wait("button[data-health=down] .count", "5,000")
    checks.equal("a page shows fifty", tab.page.locator("tr.target").count(), 50)
    checks.equal("and says of how many", tab.text("#range"), "1–50 of 5,000 targets")
    checks.that("the picture counts all of them", "5,000 targets" in tab.value("document.querySelector('g.stage').getAttribute('aria-label')"))
    check_looks(checks, tab)
    tab.page.click("#next")
    tab.wait("#range", "51–100 of 5,000")
    checks.that("the page is in the address", "page=2" in tab.page.url, tab.page.url)
    began = time.monotonic()
    tab.page.fill("#search", "rack-31 127.1.12.199")
    tab.wait("#range", "1–1 of 1 target")
    took = time.monotonic() - began
    checks.that(f"one of 5,000 is found ({took:.2f} s)", "127.1.12.199:1" in tab.text("tr.target"))
    check_answers(checks, agent)
    tab.check_clean(checks, "five thousand")
    tab.close()


def check_looks(checks, tab):
    before, asked = tab.bytes, len(tab.asked)
    tab.page.wait_for_timeout(6000)
    looks = max(1, (len(tab.asked) - asked) / 2)
    each = (tab.bytes - before) / looks
    checks.that(f"each look afterwards takes {each:.0f} bytes, at most {LOOK_BYTES_MAX}", 1000 < each <= LOOK_BYTES_MAX)


def check_answers(checks, agent):
    """The API by itself: all pages together are all targets, each once; an answer without a limit is bounded and says so."""
    found, warned = [], True
    while warned:
        status, text = http_get(f"{agent.url}api/v1/targets?state=active&labels=false&offset={len(found)}", 20)
        answer = json.loads(text)
        checks.that(f"an answer from {len(found)} has {len(text)} bytes, at most 1000 targets",
                    status == 200 and len(answer["data"]["activeTargets"]) <= 1000)
        found += [target["id"] for target in answer["data"]["activeTargets"]]
        warned = "warnings" in answer
    checks.equal("all pages together are all targets", (len(found), len(set(found))), (TARGETS, TARGETS))
