//! Asks many things of which some may never answer, such as the file systems of a server that is away.
//!
//! Takes questions, gives the answers that came in time. A call into the kernel cannot be taken back: a thread that hangs in one
//! is left alone, and nobody asks the same again until it returns. So there are never more threads than things that hang.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Questions that may hang at a time; beyond them nothing is asked.
const HANGING_MAX: usize = 32;

/// Who was asked and has not answered yet.
#[derive(Debug)]
pub(super) struct Asked<K>(Arc<Mutex<BTreeSet<K>>>);

impl<K> Default for Asked<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Ord + Send + 'static> Asked<K> {
    /// Asks everybody who is not still busy with an earlier question, by so many threads, and waits for so long.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        questions: Vec<(K, impl FnOnce() -> T + Send + 'static)>,
        threads: usize,
        patience: Duration,
    ) -> BTreeMap<K, T> {
        let end = Instant::now() + patience;
        let (queue, free) = {
            let busy = lock(&self.0);
            let idle: VecDeque<_> = questions.into_iter().filter(|(key, _)| !busy.contains(key)).collect();
            (idle, HANGING_MAX.saturating_sub(busy.len()))
        };
        let count = queue.len();
        let queue = Arc::new(Mutex::new(queue));
        // Nobody waits to be heard, even if nobody listens any more.
        let (answers, heard) = sync_channel(count);
        for _ in 0..threads.min(free).min(count) {
            let (queue, busy, answers) = (Arc::clone(&queue), Arc::clone(&self.0), answers.clone());
            let work = move || {
                loop {
                    let Some((key, question)) = lock(&queue).pop_front() else { return };
                    let busy = Busy::new(&busy, key.clone());
                    let answer = question();
                    drop(busy);
                    if answers.send((key, answer)).is_err() {
                        return;
                    }
                }
            };
            // Without a thread fewer are asked.
            if thread::Builder::new().name("host".to_owned()).spawn(work).is_err() {
                break;
            }
        }
        drop(answers);
        let mut found = BTreeMap::new();
        while found.len() < count
            && let Ok((key, answer)) = heard.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            found.insert(key, answer);
        }
        // Nobody would hear the answers of those who were not asked yet.
        lock(&queue).clear();
        found
    }
}

/// Stands in the set while a question is under way, and also leaves it if that panics.
struct Busy<'a, K: Ord> {
    all: &'a Mutex<BTreeSet<K>>,
    key: K,
}

impl<'a, K: Clone + Ord> Busy<'a, K> {
    fn new(all: &'a Mutex<BTreeSet<K>>, key: K) -> Self {
        lock(all).insert(key.clone());
        Self { all, key }
    }
}

impl<K: Ord> Drop for Busy<'_, K> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, SyncSender};

    type Question = Box<dyn FnOnce() -> u32 + Send>;

    /// A question that hangs until the sender is dropped; it says when it was asked.
    fn hanging(asked: &SyncSender<()>, held: Receiver<()>) -> Question {
        let asked = asked.clone();
        Box::new(move || {
            let _ = asked.send(());
            let _ = held.recv();
            7
        })
    }

    fn answer(number: u32) -> Question {
        Box::new(move || number)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn everybody_answers() {
        let questions = (0..10_u32).map(|n| (n, answer(n * n))).collect();
        let found = Asked::default().ask(questions, 3, LONG);
        assert_eq!(found, (0..10).map(|n| (n, n * n)).collect());
        assert!(Asked::<u32>::default().ask(Vec::<(u32, Question)>::new(), 3, LONG).is_empty());
    }

    /// Who hangs costs only themselves, and is asked again only once they have answered.
    #[test]
    fn one_that_hangs_is_left_alone() {
        let asked = Asked::default();
        let (note, notes) = sync_channel(9);
        let (hold, held) = sync_channel::<()>(0);
        let round = |first: Question, patience| {
            let found = asked.ask(vec![("stuck", first), ("well", answer(2))], 2, patience);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(round(hanging(&note, held), Duration::from_millis(200)), [("well", 2)]);
        notes.recv().unwrap();
        // It is not asked a second time, and nobody waits for it.
        assert_eq!(round(answer(1), LONG), [("well", 2)]);
        drop(hold);
        // The moment at which the thread has noticed.
        while lock(&asked.0).contains("stuck") {
            thread::yield_now();
        }
        assert_eq!(round(answer(1), LONG), [("stuck", 1), ("well", 2)]);
    }

    #[test]
    fn those_that_hang_are_bounded() {
        let asked = Asked::default();
        let (note, _notes) = sync_channel(100);
        let mut holds = Vec::new();
        let mut questions = Vec::new();
        for n in 0..HANGING_MAX {
            let (hold, held) = sync_channel::<()>(0);
            holds.push(hold);
            questions.push((n, hanging(&note, held)));
        }
        assert!(asked.ask(questions, 100, Duration::from_millis(200)).is_empty());
        while lock(&asked.0).len() < HANGING_MAX {
            thread::yield_now();
        }
        assert!(asked.ask(vec![(99, answer(1))], 1, LONG).is_empty());
    }

    #[test]
    fn one_that_panics_costs_only_itself() {
        let asked = Asked::default();
        let both = Arc::new(Barrier::new(2));
        let other = Arc::clone(&both);
        let panics: Question = Box::new(move || {
            other.wait();
            panic!("a defect")
        });
        let well: Question = Box::new(move || {
            both.wait();
            1
        });
        let found = asked.ask(vec![("panics", panics), ("well", well)], 2, LONG);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("well", 1)]);
        assert!(lock(&asked.0).is_empty());
    }
}
