//! The objects of one watch, as they are now, and who wants to know when they change. The watch lives as long as its readers.
//!
//! Takes what the watch brings, gives objects by name and a mark for each one that became different. An object that came
//! again without a difference that matters here is no change.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashMap;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::kubernetes::object::{Name, NameRef, Object, mark};
use crate::kubernetes::watch::Keep;

/// Where the marks of changed objects are collected for one reader.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    changed: Mutex<HashSet<u64>>,
    /// Rung after each change, and when the state of a watch changes.
    bell: Notify,
}

impl Inbox {
    /// Waits for the next change.
    pub(super) async fn wait(&self) {
        self.bell.notified().await;
    }

    /// The marks that came since the last time.
    pub(super) fn take(&self) -> HashSet<u64> {
        std::mem::take(&mut *lock(&self.changed))
    }

    fn put(&self, marks: &[u64]) {
        lock(&self.changed).extend(marks);
        self.bell.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The objects of one watch.
#[derive(Debug)]
pub(super) struct Store<T> {
    inner: Mutex<Inner<T>>,
    /// The watch that fills it, which ends with it; `Ending` says if it does before.
    watch: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Inner<T> {
    objects: HashMap<Name, Arc<T>>,
    /// Whether a whole list has come once.
    synced: bool,
    /// What keeps the watch from going on, in words.
    problem: Option<String>,
    /// Whether the watch has ended although it is read.
    ended: bool,
    inboxes: Vec<Weak<Inbox>>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let (objects, inboxes) = (HashMap::new(), Vec::new());
        let inner = Inner { objects, synced: false, problem: None, ended: false, inboxes };
        Self { inner: Mutex::new(inner), watch: Mutex::default() }
    }
}

/// Says that a watch has ended, however it did.
struct Ending<T>(Weak<Store<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            let mut inner = lock(&store.inner);
            inner.ended = true;
            inner.tell(&[]);
        }
    }
}

impl<T: Object> Store<T> {
    /// Has `watch` fill the store for as long as somebody reads it.
    pub(super) fn fill_by(self: &Arc<Self>, watch: impl Future<Output = ()> + Send + 'static) {
        let ending = Ending(Arc::downgrade(self));
        lock(&self.watch).spawn(async move {
            let _ending = ending;
            watch.await;
        });
    }

    /// Whether the watch has ended although somebody reads what it brings, which is a defect.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.inner).ended
    }

    /// From now on changes are told to `inbox`, for as long as it is there.
    pub(super) fn subscribe(&self, inbox: &Arc<Inbox>) {
        let mut inner = lock(&self.inner);
        inner.inboxes.push(Arc::downgrade(inbox));
        inbox.bell.notify_one();
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        lock(&self.inner).objects.get(&NameRef(namespace, name)).cloned()
    }

    /// Calls `see` with every object.
    pub(super) fn for_each(&self, mut see: impl FnMut(&Name, &Arc<T>)) {
        lock(&self.inner).objects.iter().for_each(|(name, object)| see(name, object));
    }

    pub(super) fn is_synced(&self) -> bool {
        lock(&self.inner).synced
    }

    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.inner).problem.clone()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.inner).objects.len()
    }

    /// Notes what keeps the watch from going on, or that nothing does any more.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        let mut inner = lock(&self.inner);
        if inner.problem != problem {
            inner.problem = problem;
            inner.tell(&[]);
        }
    }

    /// Takes an object that came or changed. Returns whether it is different.
    pub(super) fn apply(&self, object: T) -> bool {
        let mut inner = lock(&self.inner);
        let key = object.meta().key();
        if inner.objects.get(&key).is_some_and(|known| **known == object) {
            return false;
        }
        let changed = mark(T::RESOURCE, &key.namespace, &key.name);
        inner.objects.insert(key, Arc::new(object));
        inner.tell(&[changed]);
        true
    }

    /// Forgets an object. Returns whether it was there.
    pub(super) fn delete(&self, key: &Name) -> bool {
        let mut inner = lock(&self.inner);
        let was_there = inner.objects.remove(key).is_some();
        if was_there {
            inner.tell(&[mark(T::RESOURCE, &key.namespace, &key.name)]);
        }
        was_there
    }

    /// Takes a whole list: what it lacks is gone. Returns how many objects are different.
    pub(super) fn replace(&self, listed: HashMap<Name, T>) -> u64 {
        let mut inner = lock(&self.inner);
        let mut changed = Vec::new();
        let mut objects = HashMap::with_capacity(listed.len());
        for (key, object) in listed {
            match inner.objects.remove(&key) {
                Some(known) if *known == object => {
                    objects.insert(key, known);
                }
                _ => {
                    changed.push(mark(T::RESOURCE, &key.namespace, &key.name));
                    objects.insert(key, Arc::new(object));
                }
            }
        }
        changed.extend(inner.objects.keys().map(|key| mark(T::RESOURCE, &key.namespace, &key.name)));
        inner.objects = objects;
        inner.synced = true;
        inner.tell(&changed);
        changed.len() as u64
    }
}

/// A store as a watch fills it, unless nobody reads it any more.
#[derive(Debug)]
pub(super) struct Kept<T> {
    store: Weak<Store<T>>,
    /// Of the list that is coming.
    listed: HashMap<Name, T>,
}

impl<T> Kept<T> {
    pub(super) fn new(store: &Arc<Store<T>>) -> Self {
        Self { store: Arc::downgrade(store), listed: HashMap::new() }
    }
}

impl<T: Object> Keep<T> for Kept<T> {
    async fn begin(&mut self) {
        self.listed = HashMap::new();
    }

    async fn list(&mut self, object: T) {
        self.listed.insert(object.meta().key(), object);
    }

    async fn end(&mut self) -> u64 {
        let listed = std::mem::take(&mut self.listed);
        self.store.upgrade().map_or(0, |store| store.replace(listed))
    }

    async fn apply(&mut self, object: T) -> bool {
        self.store.upgrade().is_some_and(|store| store.apply(object))
    }

    async fn delete(&mut self, key: &Name, _: Option<T>) -> bool {
        self.store.upgrade().is_some_and(|store| store.delete(key))
    }

    fn set_problem(&mut self, problem: Option<String>) {
        if let Some(store) = self.store.upgrade() {
            store.set_problem(problem);
        }
    }

    fn len(&self) -> usize {
        self.store.upgrade().map_or(0, |store| store.len())
    }
}

impl<T> Inner<T> {
    fn tell(&mut self, changed: &[u64]) {
        self.inboxes.retain(|inbox| {
            inbox.upgrade().is_some_and(|inbox| {
                inbox.put(changed);
                true
            })
        });
    }
}
