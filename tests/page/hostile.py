"""Labels, lines and errors that somebody else wrote, as markup and as scripts: they are read, and nothing runs."""

from looking import GLOBAL
from world import exposition, file_sd

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    "\"><svg onload=alert(3)>",
    "javascript:alert(4)",
    "</td></tr></table><iframe src=javascript:alert(5)>",
    "{{constructor.constructor('alert(6)')()}}",
    "\u202egnp.exe",
]


def check(checks, world, browser):
    labels = {f"bad_{n}": text for n, text in enumerate(HOSTILE)}
    exporter = world.exporter(exposition(3) + 'x{a="' + HOSTILE[0] + '" 1\n')
    file_sd(world.work / "hostile.json", [
        {"targets": [exporter.address], "labels": labels},
        {"targets": ["127.0.0.1:1"], "labels": {**labels, "instance": HOSTILE[0], "__metrics_path__": "/" + HOSTILE[2],
                                                "__param_next": HOSTILE[3]}},
        {"targets": ["127.0.0.1:2"], "labels": {"__scheme__": "javascript", "bad": HOSTILE[1]}},
        {"targets": ["a/b@" + HOSTILE[0]], "labels": {}},
    ])
    job = "<b onmouseover=alert(7)>job</b>"
    jobs = f"""{GLOBAL}
- job_name: '{job}'
  file_sd_configs: [{{files: ["{world.work}/hostile.json"]}}]
"""
    agent = world.agent("hostile", jobs)
    tab = browser.open(agent)
    tab.wait("tr.target .badge", "up")
    tab.wait("tr.target .badge", "down")
    checks.equal("the job's name is a text", tab.texts("tr.group .job")[0], job)
    checks.that("an instance is a text", HOSTILE[0] in tab.texts("tr.target .instance"), tab.texts("tr.target .instance"))
    checks.that("a bad line is a text", HOSTILE[0] in " ".join(tab.texts("tr.target .warning")), tab.texts("tr.target .warning"))
    for position in range(2):
        tab.page.locator("tr.target button.open").nth(position).click()
        tab.wait("tr.detail .labels dt", "bad_6")
        shown = tab.texts("tr.detail .label-sets section:first-child dd")
        checks.that(f"labels are shown as they are ({position})", all(text in shown for text in HOSTILE), shown)
        tab.page.locator("tr.target button.open").nth(position).click()
        tab.until("document.querySelectorAll('tr.detail').length === 0")
    tab.page.click("button[data-health=dropped]")
    tab.wait("tr.target .warning", "javascript")
    checks.equal("what cannot be scraped is listed", tab.page.locator("tr.target").count(), 2)
    tab.page.fill("#search", HOSTILE[0])
    tab.until("location.search.includes('onerror')")
    tab.page.click("nav.views a[data-view=problems]")
    tab.wait("#problem-rows tr", "onerror")
    links = tab.value("[...document.querySelectorAll('a')].map((a) => a.protocol)")
    checks.equal("links lead to pages only", set(links), {"http:"})
    strange = tab.value("document.querySelectorAll('img, iframe, script:not([src]), table svg, [onerror], [onload], [onmouseover]').length")
    checks.equal("no label became an element", strange, 0)
    tab.check_clean(checks, "hostile labels")
    tab.close()
    check_policy(checks, browser, agent)


def check_policy(checks, browser, agent):
    """And if one became an element after all, the policy would not let it run: the judge itself is judged."""
    tab = browser.open(agent)
    tab.wait("tr.target")
    tab.value("document.querySelector('#none').innerHTML = '<img src=x onerror=\"window.ran = true\">'")
    tab.until("window.violations.length > 0")
    checks.that("the policy forbids scripts in elements", tab.value("window.ran !== true"), tab.value("window.violations"))
    tab.value("fetch('http://127.0.0.1:1/').catch(() => {})")
    tab.until("window.violations.some((one) => one.startsWith('connect-src'))")
    checks.that("the policy forbids to ask anybody else", True)
    tab.close()
