//! `events`: what came, went or was killed (pure).
//!
//! ```text
//! {"container_name":"/kubepods/burstable/podf7db…/2606f2…","timestamp":"…","event_type":"containerCreation","event_data":{}}
//! ```
//!
//! What was: of what lives and of what history remembers, so of no sandbox that is gone. What happens, with
//! `stream=true`: the difference of two sweeps. As with cAdvisor no kind is told of unless it is asked for. Of
//! a kill the kernel tells each cgroup how many there were: one sweep's are one `oom` and one `oomKill`, whose
//! process and constraint nobody knows. Those of containers are told; a pod's cgroup would count them again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::app::App;
use super::super::time::rfc3339;
use super::cgroups::{Cgroup, What, all, is_below};
use super::request::Wanted;
use crate::model::history::{Cause, Ended, Final, Frame, PastContainer, Shelf};
use crate::model::identity::ContainerId;
use crate::model::snapshot::Snapshot;
use crate::model::target::CgroupPath;
use crate::model::time::WallTime;

/// A container that is gone may be said to have been killed for so many sweeps.
const TOLD_WITHIN: u64 = 60;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Creation,
    Oom,
    OomKill,
    Deletion,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Creation => "containerCreation",
            Self::Oom => "oom",
            Self::OomKill => "oomKill",
            Self::Deletion => "containerDeletion",
        }
    }
}

/// To which cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    at: WallTime,
    kind: Kind,
    name: String,
    id: Option<ContainerId>,
}

/// A kill is both, at once.
fn kill(at: WallTime, name: &str, id: Option<&ContainerId>) -> [Event; 2] {
    [Kind::Oom, Kind::OomKill].map(|kind| Event { at, kind, name: name.to_owned(), id: id.cloned() })
}

/// What one client wants to hear, and of whom.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) wanted: Wanted,
}

impl Asked {
    fn wants(&self, event: &Event) -> bool {
        let Wanted { subcontainers, oom, oom_kill, creation, deletion, from, to, .. } = self.wanted;
        let at = event.at.as_unix_nanos();
        let of_kind = match event.kind {
            Kind::Creation => creation,
            Kind::Oom => oom,
            Kind::OomKill => oom_kill,
            Kind::Deletion => deletion,
        };
        let of_docker = event.id.as_ref().map(|id| format!("/docker/{id}"));
        let named = |name: &str| name == self.name || subcontainers && is_below(name, &self.name);
        of_kind
            && (named(&event.name) || of_docker.as_deref().is_some_and(named))
            && from.is_none_or(|from| from <= at)
            && to.is_none_or(|to| at <= to)
    }

    /// Those that have to be looked into for kills: what happened since the time that is asked for was read in a
    /// sweep that began before, and counts from the one before that.
    pub(super) fn frames(&self, shelf: &Shelf, tick: u64) -> Vec<Arc<Frame>> {
        let Wanted { oom, oom_kill, from, .. } = self.wanted;
        let earlier = Cell::new(0);
        shelf.frames(tick, |frame| {
            let is_earlier = from.is_some_and(|from| frame.clock.wall.as_unix_nanos() < from);
            earlier.set(earlier.get() + u32::from(is_earlier));
            (oom || oom_kill) && earlier.get() <= 2
        })
    }

    /// The newest that are asked for, oldest first.
    pub(super) fn past(&self, snapshot: &Snapshot, frames: &[Arc<Frame>], ended: &[Arc<Ended>]) -> Vec<u8> {
        let mut events = Vec::new();
        if self.wanted.creation {
            events.extend(all(snapshot).iter().filter_map(|cgroup| creation(cgroup, None)));
        }
        let counted = of_frames(frames, &mut events);
        ended.iter().for_each(|one| of_ended(one, &counted, &mut events));
        events.retain(|event| self.wants(event));
        events.sort_by(|a, b| (a.at, a.kind, &a.name).cmp(&(b.at, b.kind, &b.name)));
        events.drain(..events.len().saturating_sub(self.wanted.most.unwrap_or(usize::MAX)));
        super::json(&events.iter().map(|event| self.document(event)).collect::<Vec<_>>())
    }

    /// Whoever asks by Docker's name is answered by it.
    fn document(&self, event: &Event) -> serde_json::Value {
        let by_docker = event.id.as_ref().is_some_and(|id| self.name == format!("/docker/{id}"));
        json!({
            "container_name": if by_docker { &self.name } else { &event.name },
            "timestamp": rfc3339(event.at),
            "event_type": event.kind.word(),
            "event_data": {},
        })
    }
}

/// When it was made; if nobody says when, `otherwise`, or when it was first seen.
fn creation(cgroup: &Cgroup<'_>, otherwise: Option<WallTime>) -> Option<Event> {
    let (told, seen) = match cgroup.what {
        What::Node | What::Slice => return None,
        What::Pod(pod) => {
            (pod.target.known.as_ref().and_then(|known| known.start_time), pod.target.cgroup.since)
        }
        What::Container(_, _, child) | What::Sandbox(_, child) => {
            (cgroup.identity.as_ref().and_then(|identity| identity.started_at()), child.cgroup.since)
        }
    };
    let at = told.unwrap_or_else(|| otherwise.unwrap_or(seen));
    Some(Event { at, kind: Kind::Creation, name: cgroup.name.clone(), id: cgroup.id().cloned() })
}

/// Its creation, its end, and whether it was a kill that ended it.
fn of_ended(ended: &Ended, counted: &BTreeMap<&ContainerId, u64>, events: &mut Vec<Event>) {
    let (path, id, began): (&CgroupPath, _, _) = match &ended.what {
        Final::Pod(_) => (&ended.pod.cgroup, None, ended.pod.start_time),
        Final::Container(container, _) => (&container.cgroup, Some(&container.id), container.started_at),
    };
    let (name, gone) = (path.absolute(), ended.gone.wall);
    let event = |at, kind| Event { at, kind, name: name.clone(), id: id.cloned() };
    events.extend(began.map(|began| event(began, Kind::Creation)));
    if is_killed(ended, id.and_then(|id| counted.get(id)).copied()) {
        events.extend(kill(gone, &name, id));
    }
    events.push(event(gone, Kind::Deletion));
}

/// Killed with its last process, and so without a sweep that saw it counted. `before` is what was counted last,
/// should the last sweep have come too late to read it.
fn is_killed(ended: &Ended, before: Option<u64>) -> bool {
    let told = matches!(&ended.cause, Cause::Told(reason) if &**reason == "OOMKilled");
    let Final::Container(_, last) = &ended.what else { return false };
    let counted = last.memory.as_ref().ok().and_then(|memory| memory.value.oom_kills);
    told && counted.or(before).is_none_or(|kills| kills == 0)
}

/// Kills that were counted between two frames. Returns how many were counted of each container at last.
fn of_frames<'a>(frames: &'a [Arc<Frame>], events: &mut Vec<Event>) -> BTreeMap<&'a ContainerId, u64> {
    // The last that was counted of each, in whichever frame: a container may be missing from one.
    let mut counted: BTreeMap<&ContainerId, u64> = BTreeMap::new();
    for (place, frame) in frames.iter().enumerate() {
        let before = place.checked_sub(1).map(|place| frames[place].clock.wall);
        for (row, name) in frame.containers().zip(&frame.roster.containers) {
            let memory = row.container().and_then(|read| read.memory.ok());
            let Some((at, kills)) = memory.and_then(|memory| Some((memory.at, memory.value.oom_kills?)))
            else {
                continue;
            };
            // What else is there at first was at a time that nobody remembers.
            let at_first = if began_after(name, before) { 0 } else { kills };
            let since = counted.insert(&name.id, kills).unwrap_or(at_first);
            if kills > since {
                events.extend(kill(frame.clock.wall_of(at), &name.cgroup.absolute(), Some(&name.id)));
            }
        }
    }
    counted
}

/// Whether it surely was not there yet.
fn began_after(container: &PastContainer, frame: Option<WallTime>) -> bool {
    container.started_at.zip(frame).is_some_and(|(began, frame)| began > frame)
}

/// One client that follows.
pub(super) struct Listener {
    asked: Asked,
    /// `None` before the first sweep.
    there: Option<BTreeMap<String, There>>,
    /// Containers that went.
    gone: BTreeMap<ContainerId, Gone>,
}

struct Gone {
    /// The sweep that missed it.
    tick: u64,
    /// How many were counted until then.
    kills: Option<u64>,
}

struct There {
    id: Option<ContainerId>,
    kills: Option<u64>,
}

impl Listener {
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, there: None, gone: BTreeMap::new() }
    }

    /// One event a line, or nothing.
    pub(super) fn turn(&mut self, app: &App, snapshot: &Snapshot) -> Vec<u8> {
        let mut events = self.happened(snapshot);
        self.gone.retain(|_, gone| gone.tick.saturating_add(TOLD_WITHIN) > snapshot.tick);
        if !self.gone.is_empty() && (self.asked.wanted.oom || self.asked.wanted.oom_kill) {
            self.killed(&app.published.history.ended(snapshot.tick), &mut events);
        }
        let mut lines = Vec::new();
        for event in events.iter().filter(|event| self.asked.wants(event)) {
            lines.extend_from_slice(&super::json(&self.asked.document(event)));
        }
        lines
    }

    fn happened(&mut self, snapshot: &Snapshot) -> Vec<Event> {
        let wall = snapshot.clock.wall;
        let before = self.there.take();
        let (mut now, mut events) = (BTreeMap::new(), Vec::new());
        for cgroup in all(snapshot) {
            let id = cgroup.id().cloned();
            let memory = match cgroup.what {
                What::Container(_, read, _) => read.cgroup.memory.as_ref().ok(),
                _ => None,
            };
            let mut kills = memory.and_then(|memory| memory.value.oom_kills);
            if let Some(before) = &before {
                let old = before.get(&cgroup.name).filter(|old| old.id == id);
                // It may have been lost from sight for a sweep.
                let back = id.as_ref().filter(|_| old.is_none()).and_then(|id| self.gone.remove(id));
                if old.is_none() {
                    events.extend(creation(&cgroup, Some(wall)));
                }
                let since = match (old, back) {
                    (Some(old), _) => old.kills,
                    (None, Some(back)) => back.kills,
                    (None, None) => Some(0),
                };
                if let Some((memory, _)) =
                    memory.zip(kills).filter(|(_, kills)| since.is_some_and(|it| it < *kills))
                {
                    events.extend(kill(snapshot.clock.wall_of(memory.at), &cgroup.name, id.as_ref()));
                }
                kills = kills.or(since);
            }
            now.insert(cgroup.name, There { id, kills });
        }
        for (name, old) in before.into_iter().flatten() {
            if now.get(&name).is_some_and(|it| it.id == old.id) {
                continue;
            }
            let (tick, kills) = (snapshot.tick, old.kills);
            self.gone.extend(old.id.clone().map(|id| (id, Gone { tick, kills })));
            events.push(Event { at: wall, kind: Kind::Deletion, name, id: old.id });
        }
        self.there = Some(now);
        events
    }

    /// What a source of names says of the end of one that went; each is said once.
    fn killed(&mut self, ended: &[Arc<Ended>], events: &mut Vec<Event>) {
        for ended in ended {
            let Some(container) = ended.container() else { continue };
            let gone = self.gone.get(&container.id);
            if gone.is_none_or(|gone| !is_killed(ended, gone.kills)) {
                continue;
            }
            self.gone.remove(&container.id);
            events.extend(kill(ended.gone.wall, &container.cgroup.absolute(), Some(&container.id)));
        }
    }
}
