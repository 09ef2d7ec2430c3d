//! A changed configuration while the agent runs: taken up whole or refused whole, and no sample is lost on the way.

use support::agent::Running;
use support::exporter::Exporter;

use crate::world::{World, body};

fn write(world: &World, config: &str) {
    std::fs::write(world.dir.path().join("config.yaml"), config).expect("to write the configuration");
}

/// How many reloads the log says went well, and how many not.
fn reloads(agent: &Running) -> (usize, usize) {
    let log = agent.stderr();
    (log.matches("\"configuration reloaded\"").count(), log.matches("configuration not reloaded").count())
}

fn last_was_successful(agent: &mut Running) -> bool {
    agent.metric("agent_config_last_reload_successful", &[]) > 0.0
}

#[test]
fn a_signal_takes_up_what_is_sound_and_refuses_the_rest() {
    let world = World::new();
    let (one, two) = (Exporter::limited(12, body), Exporter::limited(4, |n| body(100 + n)));
    let config = world.config(&[one.address()]);
    let mut agent = world.start_with(&config);
    one.wait_for_scrapes_after(2);
    assert!(last_was_successful(&mut agent));

    // A second job, and the first one scraped differently.
    let both =
        world.config(&[one.address(), two.address()]).replacen("job0,", "job0, sample_limit: 1000,", 1);
    write(&world, &both);
    agent.hang_up();
    two.wait_for_scrapes_after(2);
    assert_eq!(reloads(&agent), (1, 0));
    assert!(agent.get("/api/v1/status/config").1.contains("job1"), "the configuration in force is shown");

    // Refused whole: everything that is wrong is said, and the configuration in force stays.
    write(&world, &both.replace("500ms", "500 apples").replace("job_name", "jobname"));
    agent.hang_up();
    agent.wait_until("a refusal", |agent| reloads(agent) == (1, 1));
    let log = agent.stderr();
    let refusal = log.lines().find(|line| line.contains("configuration not reloaded")).expect("a line");
    for part in ["global.scrape_interval", "global.scrape_timeout", "scrape_configs[0]", "scrape_configs[1]"]
    {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    assert!(!last_was_successful(&mut agent));
    assert!(agent.get("/api/v1/status/config").1.contains("job1"));

    // Sound, and not to be changed while it runs.
    write(
        &world,
        &config.replace("max_age: 1s", "max_age: 2s").replace("max_bytes: 64MiB", "max_bytes: 32MiB"),
    );
    agent.hang_up();
    agent.wait_until("a second refusal", |agent| reloads(agent) == (1, 2));
    let log = agent.stderr();
    let refusal = log.lines().rfind(|line| line.contains("configuration not reloaded")).expect("a line");
    assert!(
        refusal.contains("batch: is read at the start only") && refusal.contains("spool: is read"),
        "{refusal}"
    );

    // As it was: the second job is gone.
    write(&world, &config);
    agent.hang_up();
    agent.wait_until("a second reload", |agent| reloads(agent) == (2, 2));
    assert!(last_was_successful(&mut agent));
    assert!(!agent.get("/targets").1.contains("job1"));
    one.wait_for_scrapes_after(12);
    world.finish_even(agent, &[&one, &two]);
}

#[test]
fn a_request_reloads_where_that_is_enabled() {
    let world = World::new();
    let (one, two) = (Exporter::limited(2, body), Exporter::limited(2, |n| body(100 + n)));
    let config = world.config(&[one.address()]);
    let mut agent = world.start_with(&config);
    let (status, text) = agent.post("/-/reload");
    assert!(status == 403 && text.contains("reload.enable_lifecycle"), "{status} {text}");
    assert_eq!(agent.get("/-/reload").0, 405);
    one.wait_for_scrapes_after(1);
    world.finish(agent);

    let enabled = |config: &str| format!("{config}reload: {{enable_lifecycle: true}}\n");
    let mut agent = world.start_with(&enabled(&config));
    one.wait_for_scrapes_after(2);
    write(&world, &enabled(&config.replace("scrape_configs:", "scrape_confs:")));
    let (status, text) = agent.post("/-/reload");
    assert!(status == 500 && text.contains("scrape_confs"), "{status} {text}");
    write(&world, &enabled(&world.config(&[one.address(), two.address()])));
    assert_eq!(agent.post("/-/reload"), (200, "reloaded\n".to_owned()));
    two.wait_for_scrapes_after(2);
    world.finish_even(agent, &[&one, &two]);
}

#[test]
fn a_file_that_changes_is_taken_up_by_itself() {
    let world = World::new();
    let (one, two) = (Exporter::limited(6, body), Exporter::limited(2, |n| body(100 + n)));
    let watching = |config: &str| format!("{config}reload: {{auto_reload_interval: 50ms}}\n");
    let agent = world.start_with(&watching(&world.config(&[one.address()])));
    one.wait_for_scrapes_after(1);
    // As an operator's editor does it, and a ConfigMap: another file in its place.
    let next = world.dir.path().join("next.yaml");
    std::fs::write(&next, watching(&world.config(&[one.address(), two.address()]))).expect("to write");
    std::fs::rename(&next, world.dir.path().join("config.yaml")).expect("to rename");
    two.wait_for_scrapes_after(2);
    one.wait_for_scrapes_after(3);
    // A file that is gone is said once.
    std::fs::remove_file(world.dir.path().join("config.yaml")).expect("to remove");
    let mut agent = agent;
    agent.wait_until("a refusal", |agent| reloads(agent) == (1, 1));
    // Half a second later, and ten looks.
    one.wait_for_scrapes_after(one.scrapes().len() + 1);
    assert_eq!(reloads(&agent), (1, 1));
    world.finish_even(agent, &[&one, &two]);
}
