//! Whatever a store answers, it is not asked more often than the budget allows.

use super::*;

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        Just(Next::Unknown),
        Just(Next::Wait),
        Just(Next::Refresh),
        Just(Next::Denied),
        Just(Next::Clock),
        Just(Next::Unconditional),
    ]
}

/// Most requests within any minute.
fn busiest_minute(requests: &[u64]) -> usize {
    let until = |from: u64| requests.iter().filter(|at| (from..from + 60).contains(*at)).count();
    requests.iter().map(|from| until(*from)).max().unwrap_or_default()
}

async fn storm(steps: Vec<Next>, list: Option<Next>, head: Option<Next>) -> (usize, usize) {
    let store = Scripted::new(steps.iter().cycle().take(3000).map(|next| Step::Fail(*next)));
    (store.lock().list, store.lock().head) = (list, head);
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), &store, &[1, 2, 3], HOUR).await;
    let memory = store.lock();
    (busiest_minute(&memory.requests), memory.requests.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn attempts_are_bounded_whatever_is_answered(
        steps in proptest::collection::vec(next(), 1..6),
        list in proptest::option::of(next()),
        head in proptest::option::of(next()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (busiest, all) = runtime.block_on(storm(steps, list, head));
        // The burst, a minute's pace, and what is asked first without a failure before it.
        let most = RETRIES_BURST as usize + 60 / RETRIES_APART.as_secs() as usize + 4;
        prop_assert!(busiest <= most, "{busiest} in a minute");
        prop_assert!(all > 20, "it goes on: {all}");
    }
}

/// Every other attempt succeeds, so that no series of failures grows: the worst for a backoff.
#[tokio::test(start_paused = true)]
async fn failures_that_alternate_with_successes_do_not_escape_the_budget() {
    let steps = [Step::Fail(Next::Clock), Step::Ok].into_iter().cycle().take(1000);
    let (dir, store) = (tempfile::tempdir().unwrap(), Scripted::new(steps));
    let sequences: Vec<u64> = (1..=500).collect();
    live(dir.path(), &store, &sequences, 24 * HOUR).await;
    let memory = store.lock();
    assert_eq!(memory.arrived.len(), 500);
    // Each failure takes one attempt out of the budget; each success is another object.
    let failures = RETRIES_BURST as usize + 60 / RETRIES_APART.as_secs() as usize;
    assert!(busiest_minute(&memory.requests) <= 2 * failures + 2, "{}", busiest_minute(&memory.requests));
}
