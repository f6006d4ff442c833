//! Whose the made-up pods under `/podvitals-NAME` are: that testbed's, or, where it does not run, this
//! process's, which takes the folder of that name. So `testbed down` finds them when we were killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;

use crate::guard::Guard;
use crate::state::{Lock, StateDir};

/// Held by each pod; the folder goes with the last.
pub(super) struct Owner {
    state: StateDir,
    lock: Option<Lock>,
    guard: Option<Guard>,
}

static OWNERS: Mutex<BTreeMap<String, Weak<Owner>>> = Mutex::new(BTreeMap::new());

impl Owner {
    /// `None` for a prefix that is not a testbed's: such pods are ended by their value alone.
    pub(super) fn of(prefix: &str) -> Result<Option<Arc<Self>>> {
        let first = prefix.trim_start_matches('/').split('/').next().unwrap_or_default();
        let Some(name) = first.strip_prefix("podvitals-") else { return Ok(None) };
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(name).and_then(Weak::upgrade) {
            return Ok(Some(owner));
        }
        let state = StateDir::new(name)?;
        // Taken already: by the testbed of that name, which takes ours down with its own.
        let lock = state.lock().ok();
        let guard = if lock.is_some() { Guard::start(&state)? } else { None };
        let owner = Arc::new(Self { state, lock, guard });
        owners.insert(name.to_owned(), Arc::downgrade(&owner));
        Ok(Some(owner))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // Not empty when a pod could not be stopped: then it stays, for `testbed down`.
        let _ = crate::cgroup::try_remove_empty(&self.state.cgroup_prefix());
        let left = crate::cgroup::pids(&self.state.cgroup_prefix()).unwrap_or_default();
        if left.is_empty() {
            let _ = std::fs::remove_dir(self.state.path());
            let _ = crate::cleanup::remove_shared_folders();
        }
        drop(lock);
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}
