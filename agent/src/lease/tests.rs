//! The state machine, case by case.

use std::time::Duration;

use pipeline::kubernetes::{Ask, Lease};
use pipeline::model::object::Tenure;
use tokio::time::Instant;

use super::machine::{Around, Held, Lost, Machine, Now};

/// Microseconds since the Unix epoch at which these stories begin.
const START: i64 = 1_795_348_800_000_000;
const SECOND: i64 = 1_000_000;

/// Well, with nothing to do.
const WELL: Around = Around { wants_turn: false, settled: true, drained: true };

/// One agent, and the Lease as it stands in the API server.
struct Story {
    base: Instant,
    machine: Machine,
    lease: Option<Lease>,
}

impl Story {
    fn new(undecided: Option<Tenure>, lease: Option<Lease>) -> Self {
        Self { base: Instant::now(), machine: Machine::new("me", undecided), lease }
    }

    fn now(&self, seconds: f64) -> Now {
        let elapsed = Duration::from_secs_f64(seconds);
        Now::new(self.base + elapsed, START / 1_000 + i64::try_from(elapsed.as_millis()).unwrap())
    }

    /// Looks at the Lease; gives what it wants to write.
    fn look(&mut self, seconds: f64, around: Around) -> Option<Lease> {
        let now = self.now(seconds);
        self.machine.decide(now, self.lease.as_ref(), around)
    }

    /// The same, and what it writes is written.
    fn round(&mut self, seconds: f64, around: Around) -> Option<Lease> {
        let wanted = self.look(seconds, around)?;
        self.machine.wrote(&wanted, self.now(seconds));
        self.lease = Some(wanted.clone());
        Some(wanted)
    }

    fn held(&self) -> Held {
        self.machine.held.expect("the lease")
    }
}

fn theirs(renewed: i64) -> Lease {
    Lease {
        holder: Some("other".to_owned()),
        duration: Duration::from_secs(10),
        acquired: START - 3_600 * SECOND,
        renewed,
        transitions: 4,
        ..Lease::default()
    }
}

#[test]
fn a_lease_that_nobody_made_is_made() {
    let mut story = Story::new(None, None);
    let made = story.round(0.0, WELL).unwrap();
    assert_eq!((made.holder.as_deref(), made.transitions, made.acquired), (Some("me"), 0, START));
    assert_eq!(story.held().deadline(), story.base + Duration::from_secs(6));
    assert_eq!(story.held().ours_until, START + 10 * SECOND);
    let renewed = story.round(2.0, WELL).unwrap();
    assert_eq!((renewed.acquired, renewed.renewed, renewed.transitions), (START, START + 2 * SECOND, 0));
    assert_eq!(story.held().deadline(), story.base + Duration::from_secs(8));
    let at = |seconds| story.now(seconds).at;
    assert!(story.machine.is_certain(at(7.9)) && !story.machine.is_certain(at(8.0)));
}

/// However its clock is set: what counts is for how long it has not changed.
#[test]
fn a_holder_is_gone_when_its_lease_has_not_changed_for_ten_seconds() {
    for renewed in [START - 3_600 * SECOND, START, START + 3_600 * SECOND] {
        let mut story = Story::new(None, Some(theirs(renewed)));
        assert_eq!(story.look(0.0, WELL), None);
        assert_eq!(story.look(9.9, WELL), None);
        // It lives.
        story.lease = Some(theirs(renewed + 1_000));
        assert_eq!(story.look(10.0, WELL), None);
        assert_eq!(story.look(19.9, WELL), None);
        // One who was asleep has seen nothing change either, and nothing is what it knows.
        let taken = story.round(20.0, WELL).unwrap();
        assert_eq!((taken.holder.as_deref(), taken.transitions), (Some("me"), 5));
    }
}

#[test]
fn the_next_turn_begins_where_the_last_one_ends() {
    // The Lease, when it is taken, and from when on scrapes are the taker's; seconds from the start.
    let check = |lease: Lease, seconds: f64, expected: i64| {
        let mut story = Story::new(None, Some(lease));
        story.look(0.0, Around { settled: false, ..WELL });
        let taken = story.round(seconds, WELL).unwrap();
        assert_eq!((taken.acquired - START) / 1_000, expected, "{taken:?}");
        assert_eq!(story.held().from.unwrap().time, taken.acquired / 1_000);
    };
    let given_back = |renewed| Lease { holder: None, ..theirs(renewed) };
    check(theirs(START), 10.5, 10_000);
    check(theirs(START - 2 * SECOND), 12.0, 8_000);
    // It might have been taken long ago; the holder was told that it may scrape on.
    check(theirs(START), 40.0, 40_000);
    // Its clock is ahead by some seconds, and so are its scrapes.
    check(theirs(START + 5 * SECOND), 11.0, 15_000);
    // Its clock is wrong.
    check(theirs(START + 3_600 * SECOND), 11.0, 11_000);
    check(given_back(START - SECOND), 0.5, -1_000);
    check(given_back(START - 25 * SECOND), 0.5, -25_000);
    check(given_back(START - 60 * SECOND), 0.5, 500);
}

#[test]
fn what_is_scraped_after_a_takeover_is_lost() {
    let check = |transitions: i64, acquired: i64, expected: i64| {
        let mut story = Story::new(None, None);
        story.round(0.0, WELL);
        let tenure = story.held().tenure;
        story.lease = Some(Lease { transitions, acquired, ..theirs(START + 12 * SECOND) });
        assert_eq!(story.look(13.0, Around { settled: false, ..WELL }), None);
        assert_eq!(story.machine.lost, Some(Lost { tenure, ours_until: START + expected * SECOND }));
        assert!(story.machine.held.is_none());
    };
    check(1, START + 12 * SECOND, 12);
    check(1, START + 10 * SECOND, 10);
    // Several have taken over: when the first did is not known.
    check(2, START + 12 * SECOND, 10);
    // It was deleted, and somebody else has made it.
    check(0, START + 12 * SECOND, 10);
}

#[test]
fn a_lease_that_was_deleted_is_made_again_by_who_holds_it() {
    let mut story = Story::new(None, None);
    story.round(0.0, WELL);
    story.lease = None;
    let made = story.round(2.0, WELL).unwrap();
    assert_eq!((made.holder.as_deref(), made.transitions, made.acquired), (Some("me"), 0, START));
    // Others, who had seen a holder, leave it the time to do so.
    let mut story = Story::new(None, Some(theirs(START)));
    story.look(0.0, WELL);
    story.lease = None;
    assert_eq!(story.look(9.0, WELL), None);
    assert!(story.look(10.0, WELL).is_some());
}

#[test]
fn who_comes_back_to_its_spool_goes_on() {
    let mine = |transitions| Lease { holder: Some("me".to_owned()), transitions, ..theirs(START - SECOND) };
    let of = |lease: &Lease| Tenure { transitions: lease.transitions, acquired: lease.acquired };
    let mut story = Story::new(Some(of(&mine(4))), Some(mine(4)));
    story.round(0.0, WELL).unwrap();
    assert_eq!((story.held().tenure, story.machine.lost), (of(&mine(4)), None));
    assert!(story.held().from.is_none(), "nobody else's scrapes are made up for");
    // Somebody has taken over since, or more than one.
    for (transitions, expected) in [(5, theirs(0).acquired), (6, i64::MIN)] {
        let mut story = Story::new(Some(of(&mine(4))), Some(Lease { transitions, ..theirs(START) }));
        assert_eq!(story.look(0.0, WELL), None);
        assert_eq!(story.machine.lost, Some(Lost { tenure: of(&mine(4)), ours_until: expected }));
    }
}

#[test]
fn what_was_scraped_before_has_to_be_settled_before_a_new_turn() {
    let mut story = Story::new(None, Some(Lease { holder: None, ..theirs(START) }));
    assert_eq!(story.look(0.0, Around { settled: false, ..WELL }), None);
    assert!(story.look(1.0, WELL).is_some());
}

/// Who has objects asks; the holder hands the Lease over once it has stopped to scrape and nothing of its own is left.
#[test]
fn the_lease_is_handed_over_to_one_who_asks_and_lives() {
    let ask = |count| Some(Ask { identity: "asker".to_owned(), count });
    let mut story = Story::new(None, None);
    story.round(0.0, WELL);
    let asked = |story: &mut Story, count| story.lease.as_mut().unwrap().ask = ask(count);
    asked(&mut story, 1);
    story.round(2.0, WELL);
    assert!(story.machine.handing_over.is_none(), "it may be dead");
    asked(&mut story, 2);
    story.round(4.0, Around { drained: false, ..WELL });
    assert!(story.machine.handing_over.is_none(), "the holder's own objects go first");
    let renewed = story.round(4.5, WELL).unwrap();
    assert_eq!(renewed.holder.as_deref(), Some("me"));
    assert!(story.machine.handing_over.is_some());
    assert_eq!(story.held().ours_until, START + 4_500_000, "what is scraped from now on is the asker's");
    asked(&mut story, 3);
    story.round(5.0, Around { settled: false, ..WELL });
    assert_eq!(story.held().ours_until, START + 4_500_000);
    let tenure = story.held().tenure;
    let given = story.look(5.5, WELL).unwrap();
    assert_eq!((given.holder.as_deref(), given.transitions, given.ask.as_ref()), (Some("asker"), 1, None));
    assert_eq!(given.acquired, START + 4_500_000);
    assert!(!story.machine.is_certain(story.now(5.5).at), "not while it may be the other's already");
    story.machine.wrote(&given, story.now(5.5));
    assert_eq!(story.machine.lost, Some(Lost { tenure, ours_until: START + 4_500_000 }));
    // The asker takes what it was given, and scrapes from there.
    let mut asker = Story { machine: Machine::new("asker", None), lease: Some(theirs(START)), ..story };
    asker.look(5.0, WELL);
    asker.lease = Some(given);
    asker.round(6.0, WELL).unwrap();
    assert_eq!(asker.held().from.unwrap().time, (START + 4_500_000) / 1_000);
}

#[test]
fn a_hand_over_that_does_not_succeed_is_given_up() {
    let mut story = Story::new(None, None);
    story.round(0.0, WELL);
    for (seconds, count) in [(1.0, 1), (2.0, 2)] {
        story.lease.as_mut().unwrap().ask = Some(Ask { identity: "asker".to_owned(), count });
        story.round(seconds, WELL);
    }
    assert!(story.machine.handing_over.is_some());
    for (seconds, count) in [(4.0, 3), (6.0, 4), (8.0, 5), (10.5, 6)] {
        story.lease.as_mut().unwrap().ask = Some(Ask { identity: "asker".to_owned(), count });
        story.round(seconds, Around { drained: false, ..WELL });
    }
    assert!(story.machine.handing_over.is_none(), "the store does not take what is left");
    assert_eq!(story.held().from.unwrap().time, START / 1_000 + 2_000, "what was due since is made up for");
    assert_eq!(story.held().ours_until, START + 20_500_000);
    story.lease.as_mut().unwrap().ask = Some(Ask { identity: "asker".to_owned(), count: 7 });
    story.round(12.0, WELL);
    assert!(story.machine.handing_over.is_none(), "not again at once");
}

#[test]
fn who_waits_with_objects_asks_and_takes_it_back() {
    let wants = Around { wants_turn: true, ..WELL };
    let mut story = Story::new(None, Some(theirs(START)));
    let first = story.round(0.0, wants).unwrap();
    assert_eq!(first, Lease { ask: Some(Ask { identity: "me".to_owned(), count: 1 }), ..theirs(START) });
    assert_eq!(story.look(1.0, wants), None);
    assert_eq!(story.round(2.0, wants).unwrap().ask.unwrap().count, 2);
    assert_eq!(story.round(2.5, WELL).unwrap(), theirs(START));
    // Another one asks: it is first, for as long as it lives.
    story.lease.as_mut().unwrap().ask = Some(Ask { identity: "third".to_owned(), count: 9 });
    assert_eq!(story.look(5.0, wants), None);
    assert_eq!(story.look(5.5, WELL), None);
    story.lease.as_mut().unwrap().renewed += 1_000;
    assert_eq!(story.look(12.0, wants).unwrap().ask.unwrap().identity, "me");
}

#[test]
fn who_ends_gives_the_lease_back_as_of_its_last_scrape() {
    let mut story = Story::new(None, None);
    story.round(0.0, WELL);
    story.machine.stop(story.now(3.0));
    assert_eq!(story.held().ours_until, START + 3 * SECOND);
    // Still uploading.
    story.round(4.0, Around { drained: false, ..WELL });
    assert_eq!(story.held().ours_until, START + 3 * SECOND);
    let back = story.machine.give_back(story.lease.as_ref().unwrap()).unwrap();
    assert_eq!((back.holder.as_deref(), back.renewed, back.transitions), (None, START + 3 * SECOND, 0));
    // What is somebody else's is not given back.
    assert_eq!(story.machine.give_back(&theirs(START)), None);
    story.machine.wrote(&back, story.now(5.0));
    assert!(story.machine.held.is_none());
    story.lease = Some(back);
    assert_eq!(story.look(6.0, WELL), None, "nor sought again");
}

/// Objects out of the journal come when the machine has looked already, and before it may win anything.
#[test]
fn a_turn_that_is_learned_of_after_the_start_is_settled_like_one_known_before() {
    let of = Tenure { transitions: 3, acquired: START - 7_200 * SECOND };
    let mut story = Story::new(None, Some(theirs(START)));
    story.look(0.0, Around { settled: false, ..WELL });
    assert_eq!(story.machine.lost, None);
    story.machine.learn_undecided(Some(of));
    story.look(1.0, WELL);
    let lost = Lost { tenure: of, ours_until: START - 3_600 * SECOND };
    assert_eq!(story.machine.lost, Some(lost));
    // Once it is decided about it is not learned again, and nothing is beside a turn of our own.
    story.machine.learn_undecided(Some(of));
    story.round(11.0, WELL).unwrap();
    story.machine.learn_undecided(Some(of));
    story.look(12.0, WELL);
    assert!(story.machine.held.is_some());
    assert_eq!(story.machine.lost, None);
}
