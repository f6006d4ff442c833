//! `/events`: what the difference of two sweeps is in Docker's words (pure).
//!
//! `start`: a container is there that was not. `die`: its cgroup is gone. `destroy`: nobody lists it any more.
//! A container that lived and ended between two sweeps is not told of. With `since` those come first that
//! started since then and still run; what has ended before is in nobody's memory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::native::pods::each;
use super::super::reply::Refusal;
use super::names::{Identity, State, items};
use super::query::{Filters, Query};
use crate::model::identity::ContainerId;
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Die,
    Destroy,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Die => "die",
            Self::Destroy => "destroy",
        }
    }
}

/// One client's view: which containers it was told of, and what it wants to hear.
#[derive(Debug)]
pub(super) struct Listener {
    since: Option<u64>,
    until: Option<u64>,
    filters: Filters,
    /// `None` before the first sweep.
    running: Option<BTreeMap<ContainerId, Identity>>,
    dead: Vec<Identity>,
}

impl Listener {
    /// Reads what was asked.
    ///
    /// # Errors
    /// 400 for a time or a filter that is none.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let (since, until) = (query.time("since")?, query.time("until")?);
        if let (Some(from), Some(to)) = (since, until)
            && from > to
        {
            let (from, to) = (query.get("since").unwrap_or_default(), query.get("until").unwrap_or_default());
            return Err(Refusal::bad_request(format!(
                "`since` time ({from}) cannot be after `until` time ({to})"
            )));
        }
        let filters = query.filters()?;
        Ok(Self { since, until, filters, running: None, dead: Vec::new() })
    }

    /// Whether all that was asked for has been told.
    pub(super) fn is_done(&self, snapshot: &Snapshot) -> bool {
        self.until.is_some_and(|until| until <= snapshot.clock.wall.as_unix_nanos())
    }

    /// One event a line, or nothing.
    pub(super) fn turn(&mut self, snapshot: &Snapshot) -> Vec<u8> {
        let mut lines = Vec::new();
        for (action, identity, at) in self.happened(snapshot) {
            let in_time = self.until.is_none_or(|until| at.as_unix_nanos() <= until);
            if in_time && self.wants(action, &identity) {
                lines.extend_from_slice(event(action, &identity, at).to_string().as_bytes());
                lines.push(b'\n');
            }
        }
        lines
    }

    fn happened(&mut self, snapshot: &Snapshot) -> Vec<(Action, Identity, WallTime)> {
        let now: BTreeMap<ContainerId, Identity> = items(snapshot, false)
            .into_iter()
            .filter(|item| item.state == State::Running)
            .map(|item| (item.identity.id.clone(), item.identity))
            .collect();
        let at = snapshot.clock.wall;
        let mut happened: Vec<(Action, Identity, WallTime)> = Vec::new();
        for (id, identity) in &now {
            let started_at = identity.started_at();
            let is_news = match &self.running {
                Some(running) => !running.contains_key(id),
                None => {
                    let told = self.since.zip(started_at);
                    told.is_some_and(|(since, started_at)| started_at.as_unix_nanos() >= since)
                }
            };
            if is_news {
                happened.push((Action::Start, identity.clone(), started_at.unwrap_or(at)));
            }
        }
        happened.sort_by_key(|(_, _, at)| *at);
        let there = there(snapshot);
        let mut running = now;
        for (id, identity) in self.running.take().unwrap_or_default() {
            if there.contains(&id) {
                // It lost its name alone, or was shown already.
                running.entry(id).or_insert(identity);
            } else {
                happened.push((Action::Die, identity.clone(), at));
                self.dead.push(identity);
            }
        }
        self.running = Some(running);
        let (listed, gone) = self.dead.drain(..).partition(|identity| is_listed(snapshot, identity));
        self.dead = listed;
        let gone: Vec<Identity> = gone;
        happened.extend(gone.into_iter().map(|identity| (Action::Destroy, identity, at)));
        happened
    }

    fn wants(&self, action: Action, identity: &Identity) -> bool {
        let labels = identity.labels();
        self.filters.any("type", |kind| kind == "container")
            && self.filters.any("scope", |scope| scope == "local")
            && self.filters.any("event", |event| event == action.word())
            && self.filters.any("image", |image| identity.image() == Some(image))
            && self.filters.any("container", |wanted| {
                identity.id.as_str().starts_with(wanted) || identity.name() == wanted.trim_start_matches('/')
            })
            && self.filters.labels(|name| labels.get(name).map(String::as_str))
    }
}

/// Every container and sandbox that lives, named or not.
pub(super) fn there(snapshot: &Snapshot) -> BTreeSet<ContainerId> {
    let mut there = BTreeSet::new();
    for pod in each(snapshot) {
        let target = pod.target;
        let children = pod.children(snapshot).map(|(_, child)| child);
        there.extend(children.chain(&target.sandbox).map(|child| child.container_id.clone()));
        let sandboxes = target.known.iter().flat_map(|known| &known.sandboxes);
        // Where a sandbox has no cgroup the runtime's word is all there is.
        let told = sandboxes.filter(|told| told.ready && target.sandbox.is_none());
        there.extend(told.map(|told| told.id.clone()));
    }
    there
}

fn is_listed(snapshot: &Snapshot, identity: &Identity) -> bool {
    let pods = snapshot.targets.pods.iter().filter_map(|target| target.known.as_deref());
    pods.into_iter().any(|known| identity.is_listed(known))
}

fn event(action: Action, identity: &Identity, at: WallTime) -> Value {
    let mut attributes = json!(identity.labels());
    attributes["name"] = identity.name().into();
    let mut event = json!({
        "status": action.word(),
        "id": identity.id.as_str(),
        "Type": "container",
        "Action": action.word(),
        "scope": "local",
        "time": at.as_unix_nanos() / 1_000_000_000,
        "timeNano": at.as_unix_nanos(),
    });
    if let Some(image) = identity.image() {
        attributes["image"] = image.into();
        event["from"] = image.into();
    }
    event["Actor"] = json!({ "ID": identity.id.as_str(), "Attributes": attributes });
    event
}
