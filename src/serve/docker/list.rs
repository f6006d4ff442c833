//! `/containers/json`: what `docker ps` shows (pure).

use std::time::Duration;

use serde_json::{Value, json};

use super::super::native::pods::NamedPod;
use super::super::reply::Refusal;
use super::names::{Identity, Item, State, items};
use super::pattern::Pattern;
use super::query::{Filters, Query, invalid_filter};
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// What a client wants to see.
#[derive(Debug)]
pub(super) struct Wanted {
    all: bool,
    limit: Option<usize>,
    filters: Filters,
    names: Vec<Pattern>,
    ids: Vec<Pattern>,
}

/// Every state there is with Docker.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// What can be looked for here. `exited`, `health`, `volume`, `publish` and the like need what nobody tells us.
const KNOWN: [&str; 6] = ["ancestor", "id", "label", "name", "network", "status"];

impl Wanted {
    /// Reads what was asked.
    ///
    /// # Errors
    /// 400 for a filter that cannot be answered: the containers it would leave out are not known.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let filters = query.filters()?;
        if let Some(unknown) = filters.names().find(|name| !KNOWN.contains(name)) {
            return Err(invalid_filter(unknown, None));
        }
        if let Some(unknown) = filters.of("status").iter().find(|word| !STATES.contains(&word.as_str())) {
            return Err(invalid_filter("status", Some(unknown)));
        }
        let limit = query.limit()?;
        // The Engine's rule: who asks for so many, or for a state, means all.
        let all = query.is("all", false) || limit.is_some() || !filters.of("status").is_empty();
        let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
        Ok(Self { all, limit, filters, names, ids })
    }

    fn wants(&self, item: &Item<'_>) -> bool {
        let Item { identity, state, .. } = item;
        let any = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_in(text))
        };
        let labels = identity.labels();
        self.filters.any("status", |word| word == state.word())
            && self.filters.any("ancestor", |image| is_image(identity, image))
            && self.filters.any("network", |network| is_in_network(identity, network))
            && self.filters.labels(|name| labels.get(name).map(String::as_str))
            && any(&self.ids, identity.id.as_str())
            && (self.names.is_empty() || {
                let name = identity.name();
                // `^/name$` is what many write, since names are shown with the slash.
                any(&self.names, &name) || any(&self.names, &format!("/{name}"))
            })
    }
}

/// With its tag, or any tag.
fn is_image(identity: &Identity, wanted: &str) -> bool {
    identity.image().is_some_and(|image| {
        let untagged = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map(|(name, _)| name);
        image == wanted || untagged == Some(wanted)
    })
}

fn is_in_network(identity: &Identity, wanted: &str) -> bool {
    (wanted == "host" && identity.host_network) || identity.network_mode().as_deref() == Some(wanted)
}

/// What is to be shown, newest first.
pub(super) fn selected<'a>(snapshot: &'a Snapshot, wanted: &Wanted) -> Vec<Item<'a>> {
    let items = items(snapshot, wanted.all).into_iter().filter(|item| wanted.wants(item));
    items.take(wanted.limit.unwrap_or(usize::MAX)).collect()
}

/// The pods they are of, for the age of what is shown.
pub(super) fn pods<'a>(items: &[Item<'a>]) -> Vec<NamedPod<'a>> {
    items.iter().map(|item| item.pod).collect()
}

/// The document.
pub(super) fn document(snapshot: &Snapshot, items: &[Item<'_>]) -> Value {
    items.iter().map(|item| entry(snapshot.clock.wall, item)).collect()
}

fn entry(now: WallTime, item: &Item<'_>) -> Value {
    let Item { identity, state, .. } = item;
    let started_at = identity.started_at();
    let mut entry = json!({
        "Id": identity.id.as_str(),
        "Names": [format!("/{}", identity.name())],
        "Ports": [],
        "Labels": identity.labels(),
        "State": state.word(),
        "Status": status(*state, started_at, now),
        "HostConfig": host_config(identity),
        "NetworkSettings": { "Networks": {} },
        "Mounts": [],
    });
    if let Some(image) = identity.image() {
        entry["Image"] = image.into();
    }
    if let Some(started_at) = started_at {
        entry["Created"] = (started_at.as_unix_nanos() / 1_000_000_000).into();
    }
    entry
}

/// Whose network it uses, where that is known.
pub(super) fn host_config(identity: &Identity) -> Value {
    identity.network_mode().map_or_else(|| json!({}), |mode| json!({ "NetworkMode": mode }))
}

/// In Docker's words. With what code it ended, and when, nobody tells.
fn status(state: State, started_at: Option<WallTime>, now: WallTime) -> String {
    match state {
        State::Created => "Created".to_owned(),
        State::Exited => "Exited".to_owned(),
        State::Running => match started_at {
            None => "Up".to_owned(),
            Some(at) => {
                let up = now.as_unix_nanos().saturating_sub(at.as_unix_nanos());
                format!("Up {}", roughly(Duration::from_nanos(up)))
            }
        },
    }
}

/// `github.com/docker/go-units`, `HumanDuration`.
fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_docker_says_them() {
        let hour = 3600;
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (hour, "About an hour"),
            (2 * hour, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (14 * 24 * hour, "2 weeks"),
            (60 * 24 * hour, "2 months"),
            (730 * 24 * hour, "2 years"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }
}
