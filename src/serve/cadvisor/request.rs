//! What a client of cAdvisor asks for: in the path, after the `?`, and, up to v1.3, in a body (pure).
//!
//! ```text
//! POST /api/v1.3/subcontainers/kubepods    {"num_stats":2,"start":"2026-11-21T01:02:03Z","end":"0001-01-01T00:00:00Z"}
//! GET  /api/v2.1/stats/docker/2606f2?type=docker&count=2&recursive=true&max_age=1m30s
//! ```
//!
//! A value that cannot be read is refused where cAdvisor refuses it, and no value at all where it says so.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::docker::query::Query;
use super::super::query::decoded_in_path;
use super::super::reply::{Refusal, quoted};

/// Every version that is served.
const VERSIONS: [&str; 6] = ["v1.0", "v1.1", "v1.2", "v1.3", "v2.0", "v2.1"];

/// What v1 has, each with the version it came with.
const OF_V1: [(&str, usize); 5] =
    [("containers", 0), ("machine", 0), ("subcontainers", 1), ("docker", 2), ("events", 3)];

const OF_V2: [(&str, usize); 11] = [
    ("appmetrics", 4),
    ("attributes", 4),
    ("events", 4),
    ("machine", 4),
    ("machinestats", 5),
    ("ps", 4),
    ("spec", 4),
    ("stats", 4),
    ("storage", 4),
    ("summary", 4),
    ("version", 4),
];

/// The shape in which samples are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    V1,
    V20,
    V21,
}

/// A path below `/api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Path {
    /// `/api/`: which versions there are.
    Versions,
    /// `/api/v2.0`: what there is in one.
    Kinds(Vec<&'static str>),
    Known(Call),
    /// Why it is none.
    Unknown(String),
}

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Call {
    pub(super) shape: Shape,
    /// `stats`.
    pub(super) kind: &'static str,
    /// What follows it in the path.
    pub(super) rest: Vec<String>,
}

impl Path {
    /// `None`: it belongs to somebody else.
    pub(in crate::serve) fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api")?;
        if rest.is_empty() || rest == "/" {
            return Some(Self::Versions);
        }
        let rest = decoded_in_path(rest.strip_prefix('/')?);
        let mut segments = rest.split('/');
        let version = segments.next().filter(|version| super::super::dialect::is_version(version))?;
        let Some(at) = VERSIONS.iter().position(|known| *known == version) else {
            return Some(Self::Unknown(format!("unsupported API version {}", quoted(version))));
        };
        let all: &[(&'static str, usize)] = if at < 4 { &OF_V1 } else { &OF_V2 };
        let kinds = all.iter().filter(|(_, since)| *since <= at).map(|(kind, _)| *kind);
        let Some(asked) = segments.next().filter(|kind| !kind.is_empty()) else {
            let mut kinds: Vec<&str> = kinds.collect();
            kinds.sort_unstable();
            return Some(Self::Kinds(kinds));
        };
        let mut kinds = kinds;
        let Some(kind) = kinds.find(|kind| *kind == asked) else {
            return Some(Self::Unknown(format!("unknown request type {}", quoted(asked))));
        };
        let shape = match at {
            0..4 => Shape::V1,
            4 => Shape::V20,
            _ => Shape::V21,
        };
        Some(Self::Known(Call { shape, kind, rest: clean(segments) }))
    }

    /// What cAdvisor says to those who do not say what they want.
    pub(super) fn versions() -> String {
        format!("Supported API versions: {}\n", VERSIONS.join(","))
    }
}

impl Call {
    /// The name of a cgroup: absolute.
    pub(super) fn name(&self) -> String {
        format!("/{}", self.rest.join("/"))
    }
}

/// As Go's `path.Join` does it.
fn clean<'a>(segments: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    for segment in segments {
        match segment {
            "" | "." => {}
            ".." => drop(clean.pop()),
            segment => clean.push(segment.to_owned()),
        }
    }
    clean
}

/// Whether a body may come with a request for this path: a query of v1.
pub(in crate::serve) fn takes_a_body(path: &str) -> bool {
    let version = path.strip_prefix("/api/").and_then(|rest| rest.split('/').next());
    version.is_some_and(|version| VERSIONS[..4].contains(&version))
}

/// Which samples are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The newest so many; `None`: all there are.
    pub(super) count: Option<usize>,
    /// In nanoseconds since 1970.
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
}

impl Range {
    pub(super) fn has(&self, nanos: u64) -> bool {
        self.from.is_none_or(|from| from <= nanos) && self.to.is_none_or(|to| nanos <= to)
    }

    /// What a client of v1 sends.
    ///
    /// # Errors
    /// What cannot be decoded, in cAdvisor's words.
    pub(super) fn sent(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Sent {
            num_stats: Option<i64>,
            start: Option<String>,
            end: Option<String>,
        }
        let refused =
            |error: String| Refusal::bad_request(format!("unable to decode the json value: {error}"));
        // As Go's decoder: the first value, whatever follows it, and never a list.
        let first =
            serde_json::Deserializer::from_slice(body).into_iter::<Option<Map<String, Value>>>().next();
        let sent: serde_json::Result<Sent> = match first.transpose() {
            Ok(object) => serde_json::from_value(object.flatten().unwrap_or_default().into()),
            Err(error) => Err(error),
        };
        let sent = sent.map_err(|error| refused(error.to_string()))?;
        let time = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                instant(&text).ok_or_else(|| refused(format!("{} is no time of RFC 3339", quoted(&text))))
            }
        };
        Ok(Self { count: newest(sent.num_stats.unwrap_or(60)), from: time(sent.start)?, to: time(sent.end)? })
    }
}

/// All of them where it is below 0.
fn newest(count: i64) -> Option<usize> {
    usize::try_from(count).ok()
}

/// In nanoseconds since 1970, or as near to it as these come. Go's zero time is none at all.
fn instant(text: &str) -> Option<Option<u64>> {
    let time: Timestamp = text.parse().ok()?;
    let nearest = if time < Timestamp::UNIX_EPOCH { 0 } else { u64::MAX };
    Some((time != GO_ZERO).then(|| u64::try_from(time.as_nanosecond()).unwrap_or(nearest)))
}

/// The first of January of the year 1.
const GO_ZERO: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// How a container is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    /// By its cgroup.
    Cgroup,
    /// As Docker's clients do.
    Docker,
}

/// What a client of v2 asks for after the `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) by: NamedBy,
    pub(super) range: Range,
    pub(super) recursive: bool,
}

impl Options {
    /// Reads them. `max_age` would have cAdvisor read the container anew; here every answer is of the last sweep.
    ///
    /// # Errors
    /// What cannot be read, in cAdvisor's words.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let by = match query.get("type") {
            None | Some("name") => NamedBy::Cgroup,
            Some("docker" | "dockerid" | "dockeralias" | "podman") => NamedBy::Docker,
            Some(other) => {
                let other = quoted(other);
                return Err(Refusal::bad_request(format!("unknown 'type' {other} for container name")));
            }
        };
        let count = query.get("count").unwrap_or("64");
        let parsed = count.parse::<i64>().ok().filter(|count| (-1..1 << 32).contains(count));
        let refused = || Refusal::bad_request(format!("failed to parse 'count' option: {}", quoted(count)));
        let count = newest(parsed.ok_or_else(refused)?);
        if let Some(age) = query.get("max_age").filter(|age| !is_duration(age)) {
            let age = quoted(age);
            return Err(Refusal::bad_request(format!(
                "failed to parse 'max_age' option: time: invalid duration {age}"
            )));
        }
        let recursive = query.get("recursive") == Some("true");
        Ok(Self { by, range: Range { count, from: None, to: None }, recursive })
    }
}

/// As Go writes one: `1m30s`, `-1.5h`, `0`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|unit| after.starts_with(unit))
            .max_by_key(|unit| unit.len());
        let is_number = digits.bytes().any(|byte| byte.is_ascii_digit()) && digits.matches('.').count() < 2;
        let Some(unit) = unit.filter(|_| is_number) else { return false };
        rest = &after[unit.len()..];
        parts += 1;
    }
    parts > 0
}

/// Which events are wanted. What cannot be read is as if it were not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) stream: bool,
    pub(super) subcontainers: bool,
    pub(super) oom: bool,
    pub(super) oom_kill: bool,
    pub(super) creation: bool,
    pub(super) deletion: bool,
    pub(super) most: Option<usize>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
}

impl Wanted {
    pub(super) fn parse(query: &Query) -> Self {
        let flag = |name: &str| {
            query.get(name).is_some_and(|text| matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True"))
        };
        let all = flag("all_events");
        let time = |name: &str| query.get(name).and_then(instant).flatten();
        let most = query.get("max_events").and_then(|text| text.parse().ok()).unwrap_or(10);
        Self {
            stream: flag("stream"),
            subcontainers: flag("subcontainers"),
            oom: all || flag("oom_events"),
            oom_kill: all || flag("oom_kill_events"),
            creation: all || flag("creation_events"),
            deletion: all || flag("deletion_events"),
            most: newest(most),
            from: time("start_time"),
            to: time("end_time"),
        }
    }
}

/// The same of any text, for fuzzers: read or refused, and a name never leads out of the tree.
pub(in crate::serve) fn asked(text: &str) {
    for path in [text.to_owned(), format!("/api/v2.1/stats/{text}")] {
        if let Some(Path::Known(call)) = Path::of(&path) {
            let name = call.name();
            assert!(name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name}");
        }
    }
    if let Ok(range) = Range::sent(text.as_bytes()) {
        assert!(range.has(0) || range.from.is_some_and(|from| from > 0), "0 is before any end");
    }
    if let Ok(query) = Query::parse(text) {
        let options = Options::parse(&query);
        assert!(options.is_err() || query.get("max_age").is_none_or(is_duration));
        let wanted = Wanted::parse(&query);
        assert!(query.get("stream").is_some() || !wanted.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> (Shape, &'static str, String) {
        match Path::of(path) {
            Some(Path::Known(call)) => (call.shape, call.kind, call.name()),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn times_beyond_what_there_is_are_bounds_and_go_s_zero_is_none() {
        let at = |text: &str| instant(text).unwrap();
        assert_eq!(at("0001-01-01T00:00:00Z"), None);
        assert_eq!(at("1969-12-31T23:59:59Z"), Some(0));
        assert_eq!(at("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert_eq!(at("2999-01-01T00:00:00Z"), Some(u64::MAX));
        assert_eq!(instant("yesterday"), None);
    }

    #[test]
    fn paths_are_taken_apart_as_cadvisor_does() {
        assert_eq!(call("/api/v1.0/machine"), (Shape::V1, "machine", "/".into()));
        assert_eq!(call("/api/v1.3/containers"), (Shape::V1, "containers", "/".into()));
        assert_eq!(call("/api/v1.3/containers/"), (Shape::V1, "containers", "/".into()));
        assert_eq!(
            call("/api/v1.1/subcontainers//a/./b%2Fc/"),
            (Shape::V1, "subcontainers", "/a/b/c".into())
        );
        assert_eq!(call("/api/v2.0/stats/a/%2e%2e/../../b"), (Shape::V20, "stats", "/b".into()));
        assert_eq!(call("/api/v2.1/machinestats"), (Shape::V21, "machinestats", "/".into()));
        for path in ["/api", "/api/"] {
            assert_eq!(Path::of(path), Some(Path::Versions));
        }
        let kinds = |path: &str| match Path::of(path) {
            Some(Path::Kinds(kinds)) => kinds.join(","),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(kinds("/api/v1.0"), "containers,machine");
        assert_eq!(kinds("/api/v1.3/"), "containers,docker,events,machine,subcontainers");
        assert!(kinds("/api/v2.1").contains("machinestats") && !kinds("/api/v2.0").contains("machinestats"));
        for (path, said) in [
            ("/api/v1.4/machine", "unsupported API version \"v1.4\""),
            ("/api/v1.0/docker", "unknown request type \"docker\""),
            ("/api/v2.0/machinestats", "unknown request type \"machinestats\""),
            ("/api/v2.1/\u{1}", "unknown request type"),
        ] {
            assert!(matches!(Path::of(path), Some(Path::Unknown(text)) if text.contains(said)), "{path}");
        }
        for other in ["/api/v1/pods", "/apis", "/api/x", "/", "", "/api//v1.0/machine", "/api/v1.x/machine"] {
            assert_eq!(Path::of(other), None, "{other}");
        }
    }

    #[test]
    fn only_queries_of_v1_have_a_body() {
        for path in ["/api/v1.0/containers", "/api/v1.3/docker/x", "/api/v1.2"] {
            assert!(takes_a_body(path), "{path}");
        }
        for path in ["/api/v1/pods", "/api/v2.0/stats", "/api/v1.4/x", "/x/api/v1.0/", "/api/v1.3x", "/api/"]
        {
            assert!(!takes_a_body(path), "{path}");
        }
    }

    #[test]
    fn a_body_is_a_query_or_nothing() {
        let of = |body: &str| Range::sent(body.as_bytes());
        let all = |count| Range { count, from: None, to: None };
        for body in ["", " \n", "{}", "null", r#"{"other":[1]} trailing"#, r#"{"num_stats":null}"#] {
            assert_eq!(of(body), Ok(all(Some(60))), "{body:?}");
        }
        assert_eq!(of(r#"{"num_stats":-1}"#), Ok(all(None)));
        assert_eq!(
            of(r#"{"num_stats":2,"start":"2026-11-21T01:02:03.5+01:00","end":"0001-01-01T00:00:00Z"}"#),
            Ok(Range { count: Some(2), from: Some(1_795_219_323_500_000_000), to: None })
        );
        let nested = "[".repeat(4000);
        for bad in [
            "{",
            "[]",
            "x",
            "1",
            r#"{"num_stats":"2"}"#,
            r#"{"num_stats":1.5}"#,
            r#"{"start":"now"}"#,
            &nested,
        ] {
            let said = format!("{:?}", of(bad).unwrap_err());
            assert!(said.contains("unable to decode the json value"), "{bad:.20}: {said}");
        }
    }

    #[test]
    fn options_are_refused_where_cadvisor_refuses_them() {
        let of = |query: &str| Options::parse(&Query::parse(query).unwrap());
        let default = of("").unwrap();
        assert_eq!((default.range.count, default.recursive, default.by), (Some(64), false, NamedBy::Cgroup));
        let all = of("type=docker&count=-1&recursive=true&max_age=1m30.5s&other=1").unwrap();
        assert_eq!((all.range.count, all.recursive, all.by), (None, true, NamedBy::Docker));
        for (bad, said) in [
            ("type=lxc", "unknown 'type'"),
            ("count=x", "failed to parse 'count'"),
            ("count=-2", "failed to parse 'count'"),
            ("max_age=5", "failed to parse 'max_age'"),
            ("max_age=s", "failed to parse 'max_age'"),
            ("max_age=1.2.3s", "failed to parse 'max_age'"),
        ] {
            assert!(format!("{:?}", of(bad).unwrap_err()).contains(said), "{bad}");
        }
    }

    #[test]
    fn events_are_wanted_by_kind_and_by_default_none() {
        let of = |query: &str| Wanted::parse(&Query::parse(query).unwrap());
        assert_eq!(of("stream=perhaps&max_events=many"), Wanted { most: Some(10), ..Wanted::default() });
        let all = of("all_events=true&stream=1&start_time=2026-11-21T01:02:03Z");
        assert!(all.stream && all.oom && all.oom_kill && all.creation && all.deletion && !all.subcontainers);
        assert_eq!(all.from, Some(1_795_222_923_000_000_000));
    }
}
