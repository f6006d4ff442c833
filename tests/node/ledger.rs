//! Whose figure is whose, while pods come and go faster than anybody can look.
//!
//! Each pod has a number, and is sent so many frames of a protocol nobody speaks: nothing else makes its
//! kernel count `rx_dropped`. Numbers fall from pod to pod. So a figure that a pod inherits from one before
//! it is too great, and a figure of a later pod under the name of an earlier one is too small. The memory
//! limit of a pod's container is its number too, in pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use podvitals::host::clock;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;

/// Far above what any program of a test needs.
const LEAST_LIMIT: u64 = 512 << 20;
const PAGE: u64 = 4096;

/// From here down to one, and again.
const NUMBERS: u64 = 1_000;

/// All pods of a test, by UID.
pub(crate) struct Ledger {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    entered: AtomicU64,
    wrong: Mutex<Vec<String>>,
    checked: AtomicU64,
}

/// One pod.
pub(crate) struct Entry {
    pub(crate) number: u64,
    /// The inode of its netns; 0 while the test does not know it.
    netns: AtomicU64,
    /// From this instant on every figure must be whole.
    whole_since: AtomicU64,
    /// Figures that were whole.
    whole: AtomicU64,
    /// Memory limits that were its own.
    limits: AtomicU64,
}

/// What was checked.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) pods: usize,
    /// Pods whose whole number was served at least once.
    pub(crate) served_whole: usize,
    /// Pods whose own memory limit was.
    pub(crate) served_limit: usize,
    /// Pods in documents that were checked.
    pub(crate) checked: u64,
    pub(crate) wrong: Vec<String>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            entered: AtomicU64::new(0),
            wrong: Mutex::default(),
            checked: AtomicU64::new(0),
        }
    }

    /// A pod that is about to be made: its UID, and what is remembered of it.
    pub(crate) fn enter(&self) -> (String, Arc<Entry>) {
        let uid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
        let number = NUMBERS - self.entered.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        let entry = Entry {
            number,
            netns: AtomicU64::new(0),
            whole_since: AtomicU64::new(u64::MAX),
            whole: AtomicU64::new(0),
            limits: AtomicU64::new(0),
        };
        let entry = Arc::new(entry);
        self.entries.lock().unwrap().insert(uid.clone(), entry.clone());
        (uid, entry)
    }

    /// Checks what is served of the pods in here.
    pub(crate) fn check(&self, list: &PodList) {
        for pod in &list.pods {
            let Some(entry) = self.entries.lock().unwrap().get(&pod.runtime_uid).cloned() else { continue };
            self.checked.fetch_add(1, Ordering::Relaxed);
            if let Err(wrong) = entry.check(pod) {
                self.wrong
                    .lock()
                    .unwrap()
                    .push(format!("sweep {}: pod {}: {wrong}", list.tick, entry.number));
            }
        }
    }

    pub(crate) fn account(&self) -> Account {
        let entries = self.entries.lock().unwrap();
        let count = |of: fn(&Entry) -> &AtomicU64| {
            entries.values().filter(|entry| of(entry).load(Ordering::Relaxed) > 0).count()
        };
        Account {
            pods: entries.len(),
            served_whole: count(|entry| &entry.whole),
            served_limit: count(|entry| &entry.limits),
            checked: self.checked.load(Ordering::Relaxed),
            wrong: self.wrong.lock().unwrap().clone(),
        }
    }
}

impl Entry {
    pub(crate) fn memory_limit(&self) -> u64 {
        LEAST_LIMIT + self.number * PAGE
    }

    /// The pod's netns is that of this process.
    pub(crate) fn lives_in_netns_of(&self, pid: u32) {
        let netns =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(format!("/proc/{pid}/net/dev")).unwrap());
        self.netns.store(netns, Ordering::Relaxed);
    }

    /// All its frames have been sent and counted.
    pub(crate) fn is_whole(&self) {
        self.whole_since.store(clock::pair().wall.as_unix_nanos(), Ordering::Relaxed);
    }

    fn check(&self, pod: &Pod) -> Result<(), String> {
        let netns = self.netns.load(Ordering::Relaxed);
        let served = pod.sandbox.as_ref().and_then(|sandbox| sandbox.netns);
        // A process that is being started is in the node's for a moment, and is not read there.
        if netns != 0 && pod.network.is_some() && served != Some(netns) {
            return Err(format!("netns {served:?}, not {netns}"));
        }
        if let Some(network) = &pod.network {
            let eth0 = network.interfaces.iter().find(|interface| interface.name == "eth0");
            let whole = network.time_unix_nano > self.whole_since.load(Ordering::Relaxed);
            // A pod that is being stopped loses its link first: who had not read it by then never will.
            let whole = whole && eth0.is_some();
            let all = [Some(&network.total), network.raw.as_ref(), eth0.map(|eth0| &eth0.traffic)];
            for dropped in all.into_iter().flatten().filter_map(|traffic| traffic.rx_dropped) {
                if dropped > self.number || (whole && dropped != self.number) {
                    return Err(format!("{dropped} frames dropped (whole: {whole}): {network:?}"));
                }
            }
            self.whole.fetch_add(u64::from(whole), Ordering::Relaxed);
        }
        for limit in pod.containers.iter().filter_map(|container| container.memory.as_ref()?.limit_bytes) {
            if limit != self.memory_limit() {
                return Err(format!("a container's limit is {limit}, not {}", self.memory_limit()));
            }
            self.limits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
