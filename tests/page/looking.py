"""What an operator does: look, see what fails and why, filter, sort, open, send a link, use the keyboard, listen."""

import pathlib

from axe_playwright_python.sync_playwright import Axe

from world import exposition, file_sd

# The interval is long enough for a target to be seen between two scrapes, and short enough for a suite.
GLOBAL = "global: {scrape_interval: 2s, scrape_timeout: 1s}\nscrape_configs:\n"


def labelled(exporters, **labels):
    """Groups of one target each, with what discovery in Kubernetes would say."""
    return [
        {
            "targets": [exporter if isinstance(exporter, str) else exporter.address],
            "labels": {
                **labels,
                "node": f"gpu-node-{n}",
                "__meta_kubernetes_namespace": "monitoring",
                "__meta_kubernetes_pod_name": f"exporter-{n}",
                "__meta_kubernetes_pod_node_name": f"gpu-node-{n}",
            },
        }
        for n, exporter in enumerate(exporters)
    ]


class Scene:
    """Exporters of three jobs, two of them in trouble, and the agent that scrapes them."""

    def __init__(self, world):
        self.good = [world.exporter(exposition(900)) for _ in range(6)]
        self.gpus = [world.exporter(exposition(220, "DCGM_FI_DEV_GPU_UTIL")) for _ in range(4)]
        self.sick, self.half = world.exporter("boom"), world.exporter(exposition(40) + "broken{ 1\n")
        self.sick.status = 500
        file_sd(world.work / "nodes.json", labelled([*self.good, "127.0.0.1:1"]))
        file_sd(world.work / "gpus.json", labelled(self.gpus, __meta_gpu="h100"))
        jobs = f"""{GLOBAL}
- job_name: node-exporter
  file_sd_configs: [{{files: ["{world.work}/nodes.json"]}}]
- job_name: dcgm
  basic_auth: {{username: reader, password: hush-hush}}
  file_sd_configs: [{{files: ["{world.work}/gpus.json"]}}]
  relabel_configs: [{{source_labels: [node], regex: gpu-node-3, action: drop}}]
- job_name: kube-state-metrics
  static_configs: [{{targets: ["{self.sick.address}", "{self.half.address}"]}}]
"""
        self.agent = world.agent("looking", jobs)


def check(checks, world, browser):
    scene = Scene(world)
    tab = browser.open(scene.agent)
    check_first_look(checks, scene, tab)
    check_live(checks, scene, tab)
    check_filters(checks, scene, tab)
    check_details(checks, scene, tab)
    check_other_views(checks, world, tab)
    tab.check_clean(checks, "looking")
    link = tab.page.url
    tab.close()
    check_links(checks, scene, browser, link)
    check_keyboard(checks, scene, browser)
    check_names(checks, scene, browser)
    check_schemes(checks, scene, browser)


def row(scene, address):
    """The row of a target."""
    return f"tr.target:has-text('{address}')"


def check_first_look(checks, scene, tab):
    tab.wait("tr.target .badge", "down")
    tab.wait("#readiness", "ready")
    tab.until("document.querySelectorAll('tr.target').length === 13 && !document.querySelector('tr.target .badge.idle')")
    checks.that("a failing target says why", "server returned HTTP status 500" in tab.text(row(scene, scene.sick.address)))
    checks.that("a refused connection says so", "connection refused" in tab.text(row(scene, "127.0.0.1:1")))
    checks.that("a line that cannot be read is shown", "broken{ 1" in tab.text(row(scene, scene.half.address)))
    checks.equal("jobs head their targets", tab.texts("tr.group .job"), ["node-exporter", "dcgm", "kube-state-metrics", "agent"])
    stages = tab.value("[...document.querySelectorAll('g.stage')].map((g) => g.getAttribute('aria-label').split(/[,:]/)[0])")
    expected = ["Discovery", "Scrape", "Worker", "Journal and spool", "Upload", "S3"]
    checks.equal("the pipeline is drawn in order", stages, expected)
    tab.wait("#destination", ".parquet")
    checks.that("credentials are counted down", tab.text("#credentials").replace("\n", " ").find("Expire in 59 min") > 0,
                tab.text("#credentials"))
    # Two readings make a rate: 6 good ones of 900, 3 of 220 and one of 40 every two seconds, and the agent's own.
    tab.until("/^[23](\\.\\d)? k samples/.test(document.querySelectorAll('g.stage .figure')[1].textContent)")
    checks.that("samples per second are those of the exporters", True)
    tab.picture("light")


def check_live(checks, scene, tab):
    """Without a reload: a target gets well, another one falls ill, a third appears."""
    tab.value("window.same = true")
    scene.sick.status, scene.sick.text = 200, exposition(7)
    tab.wait(row(scene, scene.sick.address) + " .badge.ok")
    scene.good[0].status = 503
    tab.wait(row(scene, scene.good[0].address) + " .error", "HTTP status 503")
    checks.that("what changes is seen without a reload", tab.value("window.same === true"))
    tab.page.click("#live")
    checks.equal("the button stops it", tab.page.get_attribute("#live", "aria-pressed"), "false")
    scene.good[0].status = 200
    asked = len(tab.asked)
    tab.page.wait_for_timeout(7000)
    checks.equal("nothing is asked for while it is off", len(tab.asked), asked)
    tab.page.click("#live")
    tab.wait(row(scene, scene.good[0].address) + " .badge.ok")


def check_filters(checks, scene, tab):
    scene.sick.status = 500
    tab.wait(row(scene, scene.sick.address) + " .badge.bad")
    tab.page.click("button[data-health=down]")
    tab.until("document.querySelectorAll('tr.target').length === 2")
    checks.equal("down shows those that are down", set(tab.texts("tr.target .badge")), {"down"})
    checks.that("the filter is in the address", "health=down" in tab.page.url, tab.page.url)
    tab.page.go_back()
    tab.until("document.querySelectorAll('tr.target').length === 13")
    tab.page.click("button[data-health=dropped]")
    tab.wait("tr.target", "dropped by relabel_configs")
    checks.equal("a dropped target is found with the reason", tab.page.locator("tr.target").count(), 1)
    tab.page.click("button[data-health='']")
    tab.page.fill("#search", "GPU-node-2")
    tab.until("document.querySelectorAll('tr.target').length === 2")
    tab.page.select_option("#job", "dcgm")
    tab.until("document.querySelectorAll('tr.target').length === 1")
    checks.that("search and job are in the address", "search=GPU-node-2" in tab.page.url and "job=dcgm" in tab.page.url)
    tab.page.fill("#search", "nobody")
    tab.wait("#none", "No target matches.")
    tab.page.fill("#search", "")
    tab.page.select_option("#job", "")
    tab.page.click("th[data-sort=samples] button")
    tab.wait("th[aria-sort=ascending]", "Samples")
    tab.page.click("th[data-sort=samples] button")
    tab.wait("th[aria-sort=descending]", "Samples")
    tab.wait("tr.target:first-child", "900")
    checks.equal("sorted by samples, no job heads its targets", tab.page.locator("tr.group").count(), 0)
    tab.page.click("th[data-sort=samples] button")
    tab.wait("tr.group")


def check_details(checks, scene, tab):
    address = scene.gpus[1].address
    tab.page.click(f"{row(scene, address)} button.open")
    tab.wait("tr.detail .labels dt", "__meta_gpu")
    sets = tab.texts("tr.detail .label-sets section")
    checks.that("labels are shown after and before relabelling", "gpu-node-1" in sets[0] and "__meta_gpu\nh100" in sets[1], sets)
    checks.that("its own labels lack those of discovery", "__meta" not in sets[0], sets[0])
    checks.equal("the URL is a link that tells nothing", tab.page.get_attribute("tr.detail a", "rel"), "noreferrer noopener")
    checks.that("the open target is in the address", "open=" in tab.page.url, tab.page.url)
    tab.picture("open", whole=True)


def check_other_views(checks, world, tab):
    back = tab.page.url
    tab.page.click("nav.views a[data-view=problems]")
    tab.wait("#problem-rows tr", "scrape failed")
    checks.that("a problem has its fields", "job=kube-state-metrics" in " ".join(tab.texts("#problem-rows .fields")))
    tab.page.click("nav.views a[data-view=configuration]")
    tab.wait("#configuration", "job_name: kube-state-metrics")
    shown = tab.text("#configuration")
    checks.that("defaults are filled in", "metrics_path: /metrics" in shown and "max_series" in shown)
    checks.that("secrets are starred", "password: <secret>" in shown and "username: reader" in shown, shown)
    everything = tab.value("document.documentElement.outerHTML")
    found = [secret for secret in [*world.cedana.secrets(), "hush-hush"] if secret in everything]
    checks.none("no secret stands in the page", found)
    tab.page.goto(back)


def check_links(checks, scene, browser, link):
    """A link shows somebody else what one saw oneself."""
    tab = browser.open(scene.agent, "?" + link.partition("?")[2])
    tab.wait("tr.detail .labels dt", "__meta_gpu")
    checks.that("a link opens the target that was open", True)
    tab.close()
    tab = browser.open(scene.agent, "?search=metrics&job=node-exporter&sort=-samples&health=up")
    tab.until("document.querySelectorAll('tr.target').length === 6")
    found = (tab.page.input_value("#search"), tab.page.input_value("#job"), tab.page.get_attribute("button[data-health=up]", "aria-pressed"))
    checks.equal("a link sets filters", found, ("metrics", "node-exporter", "true"))
    tab.wait("th[aria-sort=descending]", "Samples")
    tab.close()
    tab = browser.open(scene.agent, "?view=nonsense&page=-3&sort=<b>&health=<b>")
    tab.wait("#reasons .notice", "invalid parameter")
    checks.that("a link that makes no sense says why", True)
    tab.close()


def check_keyboard(checks, scene, browser):
    tab = browser.open(scene.agent)
    tab.wait("tr.target")
    press = tab.page.keyboard.press
    press("Tab")
    checks.equal("the first stop skips to the list", tab.value("document.activeElement.className"), "skip")
    visible = tab.value("getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.getBoundingClientRect().top >= 0")
    checks.that("and is seen", visible)
    press("/")
    checks.equal("a slash goes to the search", tab.value("document.activeElement.id"), "search")
    tab.page.keyboard.type(scene.gpus[2].address)
    tab.until("document.querySelectorAll('tr.target').length === 1")
    reached = []
    for _ in range(20):
        press("Tab")
        reached.append(tab.value("document.activeElement.className || document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "open":
            break
    checks.equal("tabbing reaches the target", reached[-1], "open")
    outline = tab.value("getComputedStyle(document.activeElement).outlineStyle")
    checks.that("focus is seen", outline != "none", outline)
    press("Enter")
    tab.wait("tr.detail .labels dt", "__meta_gpu")
    checks.equal("Enter opens it", tab.value("document.activeElement.getAttribute('aria-expanded')"), "true")
    tab.page.wait_for_timeout(6000)
    checks.equal("an update leaves the focus where it is", tab.value("document.activeElement.className"), "open")
    press("Enter")
    tab.until("document.querySelectorAll('tr.detail').length === 0")
    press("/")
    press("Escape")
    tab.until("document.querySelectorAll('tr.target').length === 13")
    checks.that("Escape clears the search", "search" not in tab.page.url, tab.page.url)
    tab.check_clean(checks, "keyboard")
    tab.close()


def check_names(checks, scene, browser):
    """What a screen reader is told: axe-core finds nothing, regions have names, and updates do not chatter."""
    for query in ("", "?view=problems", "?view=configuration", "?health=dropped"):
        for scheme in ("light", "dark"):
            tab = browser.open(scene.agent, query, scheme)
            tab.wait("main tr td, #configuration:not(:empty)")
            found = [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in Axe().run(tab.page).response["violations"]]
            checks.none(f"axe-core finds nothing ({query or 'targets'}, {scheme})", found)
            tab.close()
    tab = browser.open(scene.agent)
    tab.wait("tr.target")
    roles = tab.page.locator("body").aria_snapshot()
    for part in ('heading "cedana-agent"', 'list "Stages of the pipeline"', 'navigation "Views"', 'table "Targets, one row each',
                 'searchbox "Search labels, URLs and errors"', 'combobox "Job"', 'button "Live" [pressed]'):
        checks.that(f"a screen reader finds: {part}", part in roles, roles[:1500])
    tab.value("window.spoken = []; new MutationObserver(() => window.spoken.push(document.getElementById('announcement').textContent))"
              ".observe(document.getElementById('announcement'), {childList: true, characterData: true, subtree: true})")
    tab.page.wait_for_timeout(11_000)
    checks.equal("two updates say nothing", tab.value("window.spoken"), [])
    tab.page.click("button[data-health=down]")
    tab.until("window.spoken.length > 0")
    checks.that("a filter says how many are found", "found" in tab.value("window.spoken.at(-1)"))
    tab.close()


def check_schemes(checks, scene, browser):
    grounds = {}
    for scheme in ("light", "dark"):
        tab = browser.open(scene.agent, "?view=targets", scheme)
        tab.wait("tr.target")
        ground = tab.value("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")
        grounds[scheme] = sum(map(int, ground)) / 3
        if scheme == "dark":
            tab.page.wait_for_timeout(20_000 if tab._screenshots else 0)
            tab.picture("dark")
        tab.close()
    checks.that("light is light and dark is dark", grounds["light"] > 200 and grounds["dark"] < 50, grounds)
    tab = browser.open(scene.agent, width=420)
    tab.wait("tr.target")
    too_wide = tab.value("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    checks.that("a telephone needs not scroll sideways", not too_wide)
    tab.picture("narrow", whole=True)
    tab.close()
