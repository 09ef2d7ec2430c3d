//! A store in memory that does what its script says.

use tokio::sync::Notify;

use super::*;

/// What the store does with one PUT.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Ok,
    /// Stores the object, but the answer is lost.
    Lost,
    /// Neither stores nor answers.
    Hang,
    /// Stores and does not answer.
    StoreThenHang,
    Fail(Next),
    /// Something on the way sends it twice, and the second answer is the one that comes.
    Twice,
}

/// A store in memory that follows a script, then accepts everything.
#[derive(Debug)]
pub(super) struct Scripted {
    inner: Mutex<Memory>,
    started: Instant,
    /// Told of every PUT that has been answered.
    pub(super) answered: Notify,
}

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) puts: VecDeque<Step>,
    /// What listing and looking are answered with, unless they work.
    pub(super) list: Option<Next>,
    pub(super) head: Option<Next>,
    /// Of the server, when the store was made.
    pub(super) clock: i64,
    pub(super) objects: BTreeMap<String, Body>,
    /// When each was stored, by the server's clock.
    pub(super) times: BTreeMap<String, i64>,
    /// Keys in the order in which they arrived.
    pub(super) arrived: Vec<String>,
    /// Every PUT: key, condition, seconds since the store was made.
    pub(super) attempts: Vec<(String, Condition, u64)>,
    pub(super) refreshes: usize,
    /// How many of these bring nothing; and whether the others give back the permission to list and look.
    pub(super) vain: usize,
    pub(super) heals: bool,
    /// Where it is now, and what it had at the places before.
    pub(super) bucket: &'static str,
    pub(super) elsewhere: Vec<BTreeMap<String, Body>>,
    /// Whether it takes no notice of conditions.
    pub(super) careless: bool,
    /// Seconds since it was made of every request of any kind.
    pub(super) requests: Vec<u64>,
}

impl Scripted {
    pub(super) fn new(puts: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let memory = Memory {
            puts: puts.into_iter().collect(),
            list: None,
            head: None,
            clock: NOW,
            objects: BTreeMap::new(),
            times: BTreeMap::new(),
            arrived: Vec::new(),
            attempts: Vec::new(),
            refreshes: 0,
            vain: 0,
            heals: false,
            bucket: "a",
            elsewhere: Vec::new(),
            careless: false,
            requests: Vec::new(),
        };
        Arc::new(Self { inner: Mutex::new(memory), started: Instant::now(), answered: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.inner.lock().unwrap()
    }

    pub(super) fn attempts(&self) -> Vec<(String, Condition, u64)> {
        self.lock().attempts.clone()
    }

    pub(super) fn elapsed(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

impl Memory {
    /// From now on objects go there, where there is nothing yet.
    pub(super) fn move_to(&mut self, bucket: &'static str) {
        self.bucket = bucket;
        let before = std::mem::take(&mut self.objects);
        self.elsewhere.push(before);
    }
}

impl Scripted {
    fn take(&self, key: &str, body: &Body, condition: Condition) -> (Step, Result<Receipt, Error>) {
        let elapsed = self.elapsed();
        let mut memory = self.lock();
        memory.requests.push(elapsed);
        memory.attempts.push((key.to_owned(), condition, elapsed));
        let step = memory.puts.pop_front().unwrap_or(Step::Ok);
        if let Step::Fail(next) = step {
            return (step, Err(failure(next)));
        }
        if matches!(step, Step::Hang) {
            return (step, Err(failure(Next::Unknown)));
        }
        if condition == Condition::Absent && !memory.careless && memory.objects.contains_key(key) {
            return (step, Err(failure(Next::Exists)));
        }
        memory.objects.insert(key.to_owned(), body.clone());
        let time = memory.clock + elapsed as i64;
        memory.times.insert(key.to_owned(), time);
        memory.arrived.push(key.to_owned());
        let answer = match step {
            Step::Lost => Err(failure(Next::Unknown)),
            Step::Twice => Err(failure(Next::Exists)),
            _ => Ok(Receipt::default()),
        };
        (step, answer)
    }
}

fn failure(next: Next) -> Error {
    Error { next, class: "scripted", text: format!("scripted {next:?}") }
}

impl Store for Scripted {
    async fn ready(&self) {}

    fn location(&self) -> Option<Location> {
        Some(Location { bucket: self.lock().bucket.to_owned(), prefix: "p".to_owned() })
    }

    fn is_hopeless(&self) -> bool {
        false
    }

    async fn server_time(&self) -> Result<i64, Error> {
        Ok(self.lock().clock + self.elapsed() as i64)
    }

    async fn put(&self, key: &str, body: &Body, condition: Condition) -> Result<Receipt, Error> {
        let (step, answer) = self.take(key, body, condition);
        if matches!(step, Step::Hang | Step::StoreThenHang) {
            std::future::pending::<()>().await;
        }
        self.answered.notify_waiters();
        answer
    }

    async fn head(&self, key: &str) -> Result<Option<Stored>, Error> {
        let elapsed = self.elapsed();
        let mut memory = self.lock();
        memory.requests.push(elapsed);
        let stored = |body: &Body| Stored {
            size: body.bytes.len() as u64,
            crc32: Some(body.crc32),
            modified: memory.times.get(key).copied(),
        };
        memory.head.map_or_else(|| Ok(memory.objects.get(key).map(stored)), |next| Err(failure(next)))
    }

    async fn largest_key_in(&self, _: &str, after: &str) -> Result<Option<String>, Error> {
        let elapsed = self.elapsed();
        let mut memory = self.lock();
        memory.requests.push(elapsed);
        let largest = memory.objects.keys().rfind(|key| key.as_str() > after).cloned();
        memory.list.map_or(Ok(largest), |next| Err(failure(next)))
    }

    async fn refresh(&self) -> bool {
        let mut memory = self.lock();
        memory.refreshes += 1;
        if memory.heals {
            (memory.list, memory.head) = (None, None);
        }
        memory.refreshes > memory.vain
    }
}
