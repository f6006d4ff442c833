//! What is kept of an answer before bollard reads it (pure).
//!
//! It is taken in as it comes: of a list one row is held at a time, and of its long texts the beginning
//! (see [`parts`](super::parts)). A value of the wrong shape is as good as an absent one; an entry of a
//! list that is no object at all, or one without end, becomes an empty one, which the reader of the list
//! counts.

use std::collections::BTreeMap;
use std::fmt;

use bollard::models::ContainerSummaryStateEnum;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::super::LARGEST_ANSWER;
use super::super::pods::MOST_LABELS;
use super::parts::Parts;
use super::parts::Shape;

/// Longer lists are cut. A node has some hundred pods, and the kubelet removes what has ended.
pub(super) const MOST_ROWS: usize = 5_000;

/// Rows that come after so many bytes were kept keep of their labels those that say whose they are. A node
/// of 250 pods has about a megabyte.
const MOST_WITH_ALL_LABELS: usize = 4 << 20;

/// Labels with these names are kept; of all others, [`MOST_LABELS`]. cri-dockerd writes annotations as
/// labels too, and those can be long.
const WANTED: &[&str] = &[
    super::TYPE,
    super::rows::SANDBOX,
    super::rows::POD_NAME,
    super::rows::POD_NAMESPACE,
    super::rows::POD_UID,
    super::rows::CONTAINER_NAME,
    "annotation.io.kubernetes.container.restartCount",
    "annotation.kubernetes.io/config.source",
    "annotation.kubernetes.io/config.mirror",
    "annotation.kubernetes.io/config.hash",
];

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Version,
    List,
    Inspect,
    Events,
}

impl Question {
    /// By the end of the path: before it stands the version that was agreed on, or none.
    pub(super) fn of(path: &str) -> Self {
        let last = path.rsplit('/').next().unwrap_or_default();
        match last {
            "version" => Self::Version,
            "events" => Self::Events,
            _ if path.ends_with("/containers/json") => Self::List,
            _ => Self::Inspect,
        }
    }
}

/// Takes in an answer.
#[derive(Debug)]
pub(super) struct Sieve {
    question: Question,
    parts: Parts,
    /// The rows of a list so far, as they are handed on.
    kept: Vec<u8>,
    rows: usize,
}

impl Sieve {
    pub(super) fn new(question: Question) -> Self {
        let shape = if question == Question::List { Shape::List } else { Shape::One };
        Self { question, parts: Parts::new(shape), kept: b"[".to_vec(), rows: 0 }
    }

    /// Takes in the next piece.
    ///
    /// # Errors
    /// If it is not JSON, or not of the kind that was asked for.
    pub(super) fn pour(&mut self, piece: &[u8]) -> Result<(), serde_json::Error> {
        let Self { parts, kept, rows, .. } = self;
        parts.pour(piece, |row| keep(row, kept, rows))
    }

    /// What is left of the whole answer.
    ///
    /// # Errors
    /// As for each piece, or if the answer is not whole.
    pub(super) fn finish(self) -> Result<Vec<u8>, serde_json::Error> {
        let Self { question, parts, mut kept, .. } = self;
        let text = readable(parts.finish()?);
        match question {
            Question::List => {
                kept.push(b']');
                Ok(kept)
            }
            Question::Inspect => serde_json::to_vec(&serde_json::from_str::<Inspected>(&text)?),
            Question::Version | Question::Events => {
                serde_json::to_vec(&serde_json::from_str::<Versions>(&text)?)
            }
        }
    }
}

/// Adds a row to those that are kept. The first of too many becomes an empty one, as one does that is none.
fn keep(row: Option<Vec<u8>>, kept: &mut Vec<u8>, rows: &mut usize) -> Result<(), serde_json::Error> {
    let is_cut = *rows >= MOST_ROWS || kept.len() >= LARGEST_ANSWER;
    if is_cut && *rows > MOST_ROWS {
        return Ok(());
    }
    let mut row = match row.filter(|_| !is_cut) {
        Some(row) => Row::read(&readable(row))?,
        None => Row::default(),
    };
    if kept.len() >= MOST_WITH_ALL_LABELS {
        row.labels.0.retain(|key, _| WANTED.contains(&key.as_str()));
    }
    if *rows > 0 {
        kept.push(b',');
    }
    // Whatever comes after the first that was cut is cut too.
    *rows = if is_cut { MOST_ROWS + 1 } else { *rows + 1 };
    serde_json::to_writer(kept, &row)
}

/// Bytes that are no UTF-8 are shown as `?`: one label must not cost the list.
fn readable(answer: Vec<u8>) -> String {
    match String::from_utf8(answer) {
        Ok(text) => text,
        Err(error) => {
            let mut text = String::with_capacity(error.as_bytes().len());
            for chunk in error.as_bytes().utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
            }
            text
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
}

/// `{"Id":"8dfa…","Names":["/k8s_POD_web_default_9c43…_0"],"Image":"pause:1","State":"running",…}`
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, deserialize_with = "own_name", skip_serializing_if = "Option::is_none")]
    names: Option<[String; 1]>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    #[serde(default, deserialize_with = "known_state", skip_serializing_if = "Option::is_none")]
    state: Option<ContainerSummaryStateEnum>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

impl Row {
    /// An empty one of what is JSON and no row.
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        let raw = serde_json::from_str::<&RawValue>(text)?;
        Ok(serde_json::from_str(raw.get()).unwrap_or_default())
    }
}

#[derive(Default, Serialize)]
struct Labels(BTreeMap<String, String>);

impl Labels {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `{"Id":"8dfa…","State":{"Pid":4242,"StartedAt":"2026-11-21T01:02:03.1Z",…},"HostConfig":{…},"Config":{…}}`
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    host_config: Option<HostConfig>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pid: Option<i64>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(
        rename = "OOMKilled",
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    oom_killed: Option<bool>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    network_mode: Option<String>,
}

fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// A state that bollard has not heard of is none.
fn known_state<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ContainerSummaryStateEnum>, D::Error> {
    lenient(from)
}

/// Of a container's names the first that is none of a link to it: `/k8s_…`, not `/other/k8s_…`.
fn own_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[String; 1]>, D::Error> {
    struct Names(Option<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_seq(FirstName)
        }
    }
    struct FirstName;
    impl<'de> Visitor<'de> for FirstName {
        type Value = Names;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Names, A::Error> {
            let mut own = None;
            while let Some(raw) = names.next_element::<&RawValue>()? {
                let name = || serde_json::from_str::<String>(raw.get()).ok();
                own = own
                    .or_else(|| name().filter(|name| !name.strip_prefix('/').unwrap_or(name).contains('/')));
            }
            Ok(Names(own))
        }
    }
    Ok(lenient::<_, Names>(from)?.and_then(|names| names.0).map(|name| [name]))
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut labels: A) -> Result<Labels, A::Error> {
                let (mut kept, mut others) = (BTreeMap::new(), 0);
                while let Some((key, value)) = labels.next_entry::<String, &RawValue>()? {
                    let wanted = WANTED.contains(&key.as_str());
                    let own = !key.starts_with("annotation.") && !key.starts_with("io.kubernetes.");
                    if !wanted && (!own || others >= MOST_LABELS) {
                        continue;
                    }
                    if let Ok(value) = serde_json::from_str(value.get()) {
                        others += usize::from(!wanted);
                        kept.insert(key, value);
                    }
                }
                Ok(Labels(kept))
            }
        }
        from.deserialize_any(Each)
    }
}

#[cfg(test)]
#[path = "sieve_tests.rs"]
mod tests;
