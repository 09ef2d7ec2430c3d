//! One program with every fuzz target: `tests/fuzz/run.py` builds it with counters in our own crates and runs it.
//!
//! Takes the target's name as the last argument, behind `-ignore_remaining_args=1`, and libFuzzer's arguments before it.
//! What a target checks stands beside the code that it checks: `pipeline::fuzz`, `sinks::fuzz`, `agent::fuzz`. In an
//! ordinary build this program does nothing; there the crates' own tests read the kept corpus.
#![cfg_attr(fuzzing, no_main)]

/// Without counters there is nothing to guide a fuzzer.
#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without instrumentation: run tests/fuzz/run.py");
}

#[cfg(fuzzing)]
mod targets {
    use std::sync::OnceLock;

    /// A target takes any bytes and panics where something is not as it must be.
    type Target = fn(&[u8]);

    static CHOSEN: OnceLock<Target> = OnceLock::new();

    /// Every target by its name, which is that of its corpus too.
    const TARGETS: [(&str, Target); 14] = [
        ("exposition", pipeline::fuzz::exposition),
        ("relabel", pipeline::fuzz::relabel),
        ("lists", pipeline::fuzz::lists),
        ("watch", pipeline::fuzz::watch),
        ("kube_events", pipeline::fuzz::kube_events),
        ("host", pipeline::fuzz::host),
        ("journal", pipeline::fuzz::journal),
        ("selector", pipeline::fuzz::selector),
        ("vector", pipeline::fuzz::vector),
        ("spool", sinks::fuzz::spool),
        ("grant", sinks::fuzz::grant),
        ("answer", sinks::fuzz::answer),
        ("configuration", agent::fuzz::configuration),
        ("migration", agent::migrate::fuzz::migration),
    ];

    /// The target that the last argument names.
    fn chosen() -> Target {
        let name = std::env::args().next_back().unwrap_or_default();
        match TARGETS.iter().find(|(known, _)| *known == name) {
            Some((_, target)) => *target,
            None => {
                let known: Vec<_> = TARGETS.iter().map(|(known, _)| *known).collect();
                eprintln!("no target {name:?}: the last argument is one of {}", known.join(", "));
                std::process::exit(2);
            }
        }
    }

    libfuzzer_sys::fuzz_target!(|data: &[u8]| CHOSEN.get_or_init(chosen)(data));
}
