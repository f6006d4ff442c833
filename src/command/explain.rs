//! `explain NAMESPACE/POD` or `explain UID`: how one pod was found, link by link, with the evidence,
//! and what of its figures is missing and why.

use std::io::Write;

use serde::Deserialize;
use serde::Serialize;

use crate::model::document::Map;
use crate::model::document::MapContainer;
use crate::model::document::MapPod;
use crate::model::document::Reasons;
use crate::model::identity::Disagreement;
use crate::model::identity::Said;
use crate::model::identity::Subject;
use crate::model::target::Link;

use super::CommandError;
use super::get::json;
use super::origin::Origin;
use super::reasons::{meaning, of_word};
use super::table::{Head, printable, table};
use super::units::age;

/// What was asked of `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// `NAMESPACE/POD`, or a UID as the API server or the cgroup has it.
    pub pod: String,
    /// The document instead of text.
    pub json: bool,
}

/// Prints the chain of one pod.
///
/// # Errors
/// No such pod, no document, or nowhere to print it.
pub async fn explain(request: &Explain, origin: &Origin, out: &mut impl Write) -> Result<(), CommandError> {
    let map: Map = origin.document("/api/v1/map").await?;
    let pod = find(&map, &request.pod)?;
    let sample = match origin
        .document::<Sample>(&format!("/api/v1/pods/{}?fields=unavailable,network.source", pod.runtime_uid))
        .await
    {
        Ok(sample) => sample,
        // Between the two questions the pod ended, or it was found and not sampled yet.
        Err(CommandError::Refused { status: 404, .. }) => Sample::default(),
        Err(error) => return Err(error),
    };
    let text = if request.json {
        json(&Explanation { node: &map.node, pod, unavailable: &sample.unavailable })?
    } else {
        rendered(&map.node, pod, &sample)
    };
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What we need of the pod's own document.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    time_unix_nano: Option<u64>,
    network: Option<SampledNetwork>,
    unavailable: Reasons,
}

#[derive(Deserialize)]
struct SampledNetwork {
    source: Option<String>,
}

#[derive(Serialize)]
struct Explanation<'a> {
    node: &'a str,
    #[serde(flatten)]
    pod: &'a MapPod,
    unavailable: &'a Reasons,
}

/// The pod of this name or UID. Where two lives of a pod share a name, the one with a live process
/// is meant, then the newer.
fn find<'a>(map: &'a Map, wanted: &str) -> Result<&'a MapPod, CommandError> {
    let named = |pod: &&MapPod| full_name(pod).as_deref() == Some(wanted);
    let with_uid = |pod: &&MapPod| pod.runtime_uid == wanted || pod.uid.as_deref() == Some(wanted);
    let alive = |pod: &&MapPod| pod.sandbox.as_ref().is_some_and(|sandbox| sandbox.pid.is_some());
    let found = map.pods.iter().filter(|pod| named(pod) || with_uid(pod));
    found.max_by_key(|pod| (alive(pod), pod.since_unix_nano)).ok_or_else(|| CommandError::NoSuchPod {
        wanted: printable(wanted),
        node: map.node.clone(),
        similar: similar(map, wanted),
    })
}

fn full_name(pod: &MapPod) -> Option<String> {
    Some(format!("{}/{}", pod.namespace.as_ref()?, pod.name.as_ref()?))
}

/// The names nearest to `wanted`, three at most: those that contain it or the other way round, then
/// those a slip or two away.
fn similar(map: &Map, wanted: &str) -> Vec<String> {
    let tail = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let short = tail(wanted);
    let distance = |name: &str| {
        let other = tail(name);
        // One or two letters are in every name.
        let telling = short.len().min(other.len()) >= 3;
        let inside = other.contains(&short) || short.contains(&other);
        if telling && inside { 0 } else { edits(&short, &other) }
    };
    let allowed = (short.chars().count() / 3).max(2);
    let names = map.pods.iter().map(|pod| full_name(pod).unwrap_or_else(|| pod.runtime_uid.clone()));
    let mut near: Vec<(usize, String)> =
        names.map(|name| (distance(&name), name)).filter(|(distance, _)| *distance <= allowed).collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| printable(&name)).collect()
}

/// Letters to change, add or drop to make `a` of `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// For fuzzers: each pod of a map, as it is printed when its figures are not known.
pub(super) fn shown(map: &Map) -> impl Iterator<Item = String> {
    map.pods.iter().map(|pod| rendered(&map.node, pod, &Sample::default()))
}

fn rendered(node: &str, pod: &MapPod, sample: &Sample) -> String {
    let name = full_name(pod).unwrap_or_else(|| format!("{} (not named yet)", pod.runtime_uid));
    // What was read is nearer than how it was meant to be read.
    let source = sample.network.as_ref().and_then(|network| network.source.as_deref());
    let parts = [
        format!("{} on node {}\n", printable(&name), printable(node)),
        chain(pod, sample.time_unix_nano),
        format!("{}\n", network(source.unwrap_or(&pod.network))),
        containers(pod),
        disagreements(pod),
        missing(&sample.unavailable),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

const LINKS: [(Link, &str); 9] = [
    (Link::Pod, "pod"),
    (Link::RuntimeUid, "runtime uid"),
    (Link::PodCgroup, "pod cgroup"),
    (Link::Containers, "containers"),
    (Link::Sandbox, "sandbox"),
    (Link::Process, "process"),
    (Link::Netns, "netns"),
    (Link::Interfaces, "interfaces"),
    (Link::HostInterface, "host interface"),
];

/// Every link, also the ones of which nothing is known: what was found, and below it who says so.
fn chain(pod: &MapPod, now: Option<u64>) -> String {
    let mut text = String::new();
    for (link, title) in LINKS {
        let mut title = title;
        for one in pod.evidence.iter().filter(|one| one.link == Some(link)) {
            let found = printable(one.found.as_deref().unwrap_or("-"));
            let since =
                now.map_or(String::new(), |now| format!(", for {}", age(seconds(one.since_unix_nano, now))));
            let by = if one.found.is_some() { "by " } else { "" };
            text.push_str(&format!(
                "{title:<TITLES$}{found}\n{:<TITLES$}  {by}{}{since}\n",
                "",
                printable(&one.by)
            ));
            // Further evidence of the same link stands below the first.
            title = "";
        }
        if !title.is_empty() {
            text.push_str(&format!("{title:<TITLES$}-\n{:<TITLES$}  nothing known\n", ""));
        }
    }
    text
}

/// The titles of links and the gap after them.
const TITLES: usize = 17;

/// Where the network is read, or why it is not.
fn network(word: &str) -> String {
    match (word, of_word(word)) {
        ("netns", _) => "Its network is read inside its network namespace.".to_owned(),
        ("host_veth", _) => {
            "Its network is read at the host's end of its veth pair, receive and transmit swapped: \
             bytes and packets only."
                .to_owned()
        }
        ("netns_ip", _) => {
            "Its network is read inside its network namespace. Its device received nothing for a minute or \
             more while it sent: what it received is the IP layer's count, without link headers."
                .to_owned()
        }
        (_, Some(reason)) => format!("Its network is not read: {}: {}.", reason.word(), meaning(reason)),
        _ => format!("Its network is read from: {}.", printable(word)),
    }
}

/// The cgroups of containers are children of the pod's: what comes after it is enough.
fn containers(pod: &MapPod) -> String {
    let row = |one: &MapContainer| {
        let name = one.name.clone().unwrap_or_else(|| "<none>".to_owned());
        let kind = one.kind.map_or_else(|| "-".to_owned(), |kind| format!("{kind:?}").to_lowercase());
        let child = one.cgroup.strip_prefix(&pod.cgroup).and_then(|rest| rest.strip_prefix('/'));
        vec![name, kind, child.unwrap_or(&one.cgroup).to_owned()]
    };
    let rows: Vec<_> = pod.containers.iter().map(row).collect();
    if rows.is_empty() {
        return "No container of it has a cgroup.\n".to_owned();
    }
    table(&heads(["CONTAINER", "KIND", "CHILD OF THE POD'S CGROUP"]), &rows, true)
}

/// What the sources of names contradict each other about.
fn disagreements(pod: &MapPod) -> String {
    let row = |Disagreement { about, first, second }: &Disagreement| {
        let subject = match about {
            Subject::Name => "namespace or name",
            Subject::Uid => "uid",
            Subject::HostNetwork => "host network",
            Subject::ContainerName => "a container's name",
        };
        let said = |it: &Said| format!("{}: {}", it.source.word(), printable(&it.says));
        vec![subject.to_owned(), said(first), said(second)]
    };
    let rows: Vec<_> = pod.disagreements.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&heads(["SOURCES DISAGREE ABOUT", "ONE SAYS", "ANOTHER SAYS"]), &rows, true)
}

fn missing(reasons: &Reasons) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let row = |(path, reason): (&String, &crate::model::unavailable::Unavailable)| {
        vec![path.clone(), reason.word().to_owned(), meaning(*reason).to_owned()]
    };
    table(
        &heads(["NOT AVAILABLE", "REASON", "WHICH MEANS"]),
        &reasons.iter().map(row).collect::<Vec<_>>(),
        true,
    )
}

fn heads<const N: usize>(titles: [&'static str; N]) -> [Head; N] {
    titles.map(|title| Head { title, right: false })
}

/// For display only, where 53 bits are plenty.
fn seconds(since: u64, now: u64) -> f64 {
    now.saturating_sub(since) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::MapEvidence;
    use crate::model::document::Sandbox;
    use crate::model::identity::ContainerKind;
    use crate::model::identity::Source;
    use crate::model::unavailable::Unavailable;

    const SECOND: u64 = 1_000_000_000;

    fn evidence(link: Link, found: Option<&str>, by: &str) -> MapEvidence {
        MapEvidence {
            link: Some(link),
            found: found.map(str::to_owned),
            by: by.to_owned(),
            since_unix_nano: 100 * SECOND,
        }
    }

    fn web() -> MapPod {
        MapPod {
            namespace: Some("default".into()),
            name: Some("web".into()),
            runtime_uid: "0a1b".into(),
            cgroup: "kubepods/pod0a1b".into(),
            sandbox: Some(Sandbox { pid: Some(4242), ..Sandbox::default() }),
            network: "netns".into(),
            containers: vec![MapContainer {
                id: "c0ffee".into(),
                name: Some("app".into()),
                kind: Some(ContainerKind::App),
                cgroup: "kubepods/pod0a1b/c0ffee".into(),
                since_unix_nano: 100 * SECOND,
            }],
            evidence: vec![
                evidence(Link::Pod, Some("default/web"), "cri"),
                evidence(Link::PodCgroup, Some("kubepods/pod0a1b"), "inotify"),
                evidence(Link::Containers, Some("app c0ffee"), "cri"),
                evidence(Link::Containers, Some("side decaf"), "cri"),
                evidence(Link::Process, Some("4242"), "cri"),
                evidence(Link::HostInterface, None, "no link of the host has this peer"),
            ],
            ..MapPod::default()
        }
    }

    fn named(namespace: &str, name: &str) -> MapPod {
        MapPod {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            runtime_uid: format!("uid-of-{name}"),
            ..MapPod::default()
        }
    }

    fn map(pods: Vec<MapPod>) -> Map {
        Map { node: "n1".into(), generation: 1, pods }
    }

    #[test]
    fn the_chain_shows_every_link_with_its_evidence_and_what_was_not_found() {
        let sample = Sample {
            network: None,
            time_unix_nano: Some(300 * SECOND),
            unavailable: [("io".to_owned(), Unavailable::BlkioNotAccounted)].into(),
        };
        let expected = "\
default/web on node n1

pod              default/web
                   by cri, for 3m20s
runtime uid      -
                   nothing known
pod cgroup       kubepods/pod0a1b
                   by inotify, for 3m20s
containers       app c0ffee
                   by cri, for 3m20s
                 side decaf
                   by cri, for 3m20s
sandbox          -
                   nothing known
process          4242
                   by cri, for 3m20s
netns            -
                   nothing known
interfaces       -
                   nothing known
host interface   -
                   no link of the host has this peer, for 3m20s

Its network is read inside its network namespace.

CONTAINER   KIND   CHILD OF THE POD'S CGROUP
app         app    c0ffee

NOT AVAILABLE   REASON                WHICH MEANS
io              blkio_not_accounted   cgroup v1 counts no block I/O here until a throttle rule or BFQ makes it
";
        assert_eq!(rendered("n1", &web(), &sample), expected);
    }

    #[test]
    fn sources_that_contradict_each_other_are_shown_with_what_each_says() {
        let said = |source, says: &str| Said { source, says: says.into() };
        let mut pod = web();
        assert_eq!(disagreements(&pod), "");
        let (first, second) = (said(Source::Kube, "default/web"), said(Source::Cri, "default/other"));
        pod.disagreements = vec![Disagreement { about: Subject::Name, first, second }];
        let expected = "\
SOURCES DISAGREE ABOUT   ONE SAYS            ANOTHER SAYS
namespace or name        kube: default/web   cri: default/other
";
        assert_eq!(disagreements(&pod), expected);
    }

    #[test]
    fn a_network_that_is_not_read_says_why() {
        assert!(network("host_network").starts_with("Its network is not read: host_network: the pod uses"));
        assert!(network("host_veth").contains("swapped"));
        assert!(network("netns_ip").contains("the IP layer's count"));
        assert_eq!(network("later"), "Its network is read from: later.");
    }

    #[test]
    fn a_pod_is_found_by_name_and_by_either_uid() {
        let mut pod = web();
        pod.uid = Some("api-uid".into());
        let map = map(vec![named("a", "b"), pod]);
        for wanted in ["default/web", "0a1b", "api-uid"] {
            assert_eq!(find(&map, wanted).unwrap().runtime_uid, "0a1b", "{wanted}");
        }
    }

    #[test]
    fn of_two_lives_with_one_name_the_live_one_is_meant() {
        let mut newer_but_dead = named("default", "web");
        newer_but_dead.since_unix_nano = u64::MAX;
        assert_eq!(find(&map(vec![newer_but_dead, web()]), "default/web").unwrap().runtime_uid, "0a1b");
    }

    #[test]
    fn a_pod_that_is_not_there_brings_up_those_with_similar_names() {
        let map =
            map(vec![named("default", "web-5d4"), named("kube-system", "coredns"), named("default", "wbe")]);
        let said = |wanted| find(&map, wanted).unwrap_err().to_string();
        assert_eq!(
            said("default/web"),
            "no pod default/web on node n1; did you mean default/web-5d4, default/wbe?"
        );
        assert_eq!(said("coredns"), "no pod coredns on node n1; did you mean kube-system/coredns?");
        assert_eq!(said("default/postgres"), "no pod default/postgres on node n1");
        assert_eq!(said("default/c"), "no pod default/c on node n1");
    }

    #[test]
    fn edits_counts_slips() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
