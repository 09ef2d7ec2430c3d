"""When something is wrong with the agent itself, the page says so above everything else; and when the agent is gone, that."""

from looking import GLOBAL
from world import exposition


def check(checks, world, browser):
    exporter = world.exporter(exposition(50))
    jobs = f"{GLOBAL}- {{job_name: a, static_configs: [{{targets: [\"{exporter.address}\"]}}]}}\n"
    world.bucket.down = True
    agent = world.agent("outage", jobs)
    tab = browser.open(agent)
    tab.wait("g.stage.bad", "Upload")
    tab.wait("#destination dd.bad")
    checks.that("a store that refuses is in the picture, with the reason", "503" in tab.text("#destination"), tab.text("#destination"))
    tab.until("/^[1-9]/.test(document.querySelectorAll('g.stage .figure')[3].textContent)")
    checks.that("objects that wait are counted", True)
    tab.picture("outage")
    world.bucket.down = False
    tab.wait("#destination time")
    checks.that("a delivery is seen", True)
    agent.kill()
    tab.wait("#reasons .notice", "does not answer")
    checks.equal("an agent that is gone is not called ready", tab.text("#readiness"), "no answer")
    checks.that("what was known stays", tab.page.locator("tr.target").count() == 2)
    tab.close()
