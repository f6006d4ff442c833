//! The kubelet's `/stats/summary` beside ours: each of its figures lies between those of ours around its time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::kubelet::STEADY;
use crate::kubelet::around;
use crate::kubelet::beyond;

const SECOND: u64 = 1_000_000_000;

/// Where a figure stands, without the names in the brackets; which part of it the two may be apart, as memory
/// is handed out in batches; and whether there must be more than zero of it somewhere.
const COMPARED: [(&str, f64, bool); 39] = [
    ("node.swap.swapAvailableBytes", 0.0, false),
    ("node.swap.swapUsageBytes", 0.0, false),
    // Each looks when it is asked, and the tests' own programs come and go.
    ("node.rlimit.curproc", 0.25, true),
    ("node.network.rxBytes", 0.0, true),
    ("node.network.txBytes", 0.0, true),
    ("node.network.rxErrors", 0.0, false),
    ("node.network.txErrors", 0.0, false),
    ("node.network.interfaces[].rxBytes", 0.0, true),
    ("node.network.interfaces[].txBytes", 0.0, true),
    ("node.network.interfaces[].rxErrors", 0.0, false),
    ("node.network.interfaces[].txErrors", 0.0, false),
    ("node.systemContainers[].cpu.usageCoreNanoSeconds", 0.0, true),
    // All pods together, also those whose memory moves.
    ("node.systemContainers[].memory.availableBytes", 0.05, true),
    ("node.systemContainers[].memory.usageBytes", 0.05, true),
    ("node.systemContainers[].memory.workingSetBytes", 0.05, true),
    ("node.systemContainers[].memory.rssBytes", 0.05, true),
    ("node.systemContainers[].swap.swapUsageBytes", 0.0, false),
    ("pods[].cpu.usageCoreNanoSeconds", 0.0, true),
    ("pods[].memory.availableBytes", 0.02, true),
    ("pods[].memory.usageBytes", 0.02, true),
    ("pods[].memory.workingSetBytes", 0.02, true),
    ("pods[].memory.rssBytes", 0.02, true),
    ("pods[].network.rxBytes", 0.0, true),
    ("pods[].network.txBytes", 0.0, true),
    ("pods[].network.rxErrors", 0.0, false),
    ("pods[].network.txErrors", 0.0, false),
    ("pods[].network.interfaces[].rxBytes", 0.0, true),
    ("pods[].network.interfaces[].txBytes", 0.0, true),
    ("pods[].network.interfaces[].rxErrors", 0.0, false),
    ("pods[].network.interfaces[].txErrors", 0.0, false),
    ("pods[].swap.swapUsageBytes", 0.0, false),
    ("pods[].containers[].cpu.usageCoreNanoSeconds", 0.0, true),
    ("pods[].containers[].memory.availableBytes", 0.02, true),
    ("pods[].containers[].memory.usageBytes", 0.02, true),
    ("pods[].containers[].memory.workingSetBytes", 0.02, true),
    ("pods[].containers[].memory.rssBytes", 0.02, true),
    ("pods[].containers[].memory.pageFaults", 0.0, true),
    ("pods[].containers[].memory.majorPageFaults", 0.0, false),
    ("pods[].containers[].swap.swapUsageBytes", 0.0, false),
];

/// What the kubelet does not count on cgroup v1, and says 0 of, as the README has it.
const ZERO: [&str; 4] = [
    "node.systemContainers[].memory.pageFaults",
    "node.systemContainers[].memory.majorPageFaults",
    "pods[].memory.pageFaults",
    "pods[].memory.majorPageFaults",
];

/// Of the node both count something else: everything but idling, or what tasks have used.
const NODE_CPU: (&str, f64) = ("node.cpu.usageCoreNanoSeconds", 0.2);

/// The least comparisons of one figure, of the node and of pods.
const LEAST: [usize; 2] = [2, 5];

/// Path → nanoseconds and value, the later last.
type Series = BTreeMap<String, Vec<(u64, f64)>>;

/// Path without names → how often it was compared, and the highest.
type Compared = BTreeMap<String, (usize, f64)>;

/// What both said, as it came in.
pub(crate) struct Summaries {
    ours: Series,
    /// In whole seconds: read at some moment of the second that begins there.
    theirs: Series,
}

impl Summaries {
    pub(crate) const fn new() -> Self {
        Self { ours: Series::new(), theirs: Series::new() }
    }

    pub(crate) fn add_ours(&mut self, text: &str) {
        add(&serde_json::from_str(text).unwrap(), "", None, &mut self.ours);
    }

    pub(crate) fn add_theirs(&mut self, text: &str) {
        add(&serde_json::from_str(text).unwrap(), "", None, &mut self.theirs);
    }

    /// The first figure of which too few were compared, or none but zeros.
    pub(crate) fn lacking(&self, place: &str) -> Option<String> {
        let compared = self.compare(place);
        let lacking = COMPARED.into_iter().find_map(|(family, _, is_some)| {
            let (times, highest) = compared.get(family).copied().unwrap_or_default();
            let least = LEAST[usize::from(family.starts_with("pods[]"))];
            let lacks = times < least || (is_some && highest == 0.0);
            lacks.then(|| format!("{family}: {times} times up to {highest}"))
        });
        if lacking.is_none() {
            println!("       figures of the kubelet's summary between those of ours: {compared:?}");
        }
        lacking
    }

    /// Memory of those pods of that namespace alone that stand still.
    fn compare(&self, place: &str) -> Compared {
        let mut compared = Compared::new();
        for (path, points) in &self.theirs {
            let family = family(path);
            let stands = STEADY.iter().any(|pod| path.starts_with(&format!("pods[{place}/{pod}]")));
            let moves = path.starts_with("pods[") && path.contains(".memory.") && !stands;
            let is_psi = path.contains(".psi.") && path.ends_with(".total");
            if ZERO.contains(&&*family) {
                assert!(points.iter().all(|(_, value)| *value == 0.0), "{path}: {points:?}");
            }
            let known = COMPARED.into_iter().find(|(known, ..)| *known == family);
            let Some((_, apart, _)) = known.or(is_psi.then_some(("", 0.0, false))).filter(|_| !moves) else {
                continue;
            };
            // Of the node's interfaces ours has those that count; where the kubelet reads no pressure it says 0.
            let may_lack = family.starts_with("node.network.interfaces[]");
            let says_nothing = is_psi && points.iter().all(|(_, value)| *value == 0.0);
            let Some(ours) = self.ours.get(path).filter(|_| !says_nothing) else {
                assert!(may_lack || says_nothing, "no {path} in ours");
                continue;
            };
            for (at, value) in points {
                let Some(around) = around(ours, *at, at + SECOND) else { continue };
                assert_eq!(beyond(path, *at, *value, around, apart), None);
                let (times, highest) = compared.entry(family.clone()).or_default();
                (*times, *highest) = (*times + 1, value.max(*highest));
            }
        }
        compared
    }

    /// By how much it grew between two of theirs.
    pub(crate) fn compare_node_cpu(&self) {
        let (path, apart) = NODE_CPU;
        let (ours, theirs) = (&self.ours[path], &self.theirs[path]);
        let known: Vec<_> =
            theirs.iter().filter_map(|(at, value)| Some((around(ours, *at, at + SECOND)?, *value))).collect();
        let [(first, before), .., (last, after)] = &known[..] else {
            panic!("{path} was read too seldom: {theirs:?}")
        };
        let value = |point: Option<&(u64, f64)>| point.unwrap().1;
        let least = value(last.first()) - value(first.last());
        let most = value(last.last()) - value(first.first());
        let grown = after - before;
        println!("       the node's CPU grew by {grown} there, by {least} to {most} here");
        assert!(grown > 0.0, "{path}: {theirs:?}");
        assert!((least * (1.0 - apart)..=most * (1.0 + apart)).contains(&grown), "{path}");
    }
}

/// The node's file systems: what they hold is the same number, what is free of them moves meanwhile.
pub(crate) fn file_systems_are_the_same(theirs: &Value, ours: &Value) {
    const NEAR: u64 = 1 << 30;
    for of in ["/node/fs", "/node/runtime/imageFs", "/node/runtime/containerFs"] {
        let [theirs, ours] = [theirs, ours]
            .map(|document| document.pointer(of).unwrap_or_else(|| panic!("no {of} in {document}")));
        let number = |document: &Value, key: &str| {
            document[key].as_u64().unwrap_or_else(|| panic!("no {key} of {of} in {document}"))
        };
        for key in ["capacityBytes", "inodes"] {
            assert_eq!(number(ours, key), number(theirs, key), "{of} {key}");
            assert!(number(ours, key) > 0, "{of} {key}");
        }
        let [theirs, ours] = [theirs, ours].map(|it| number(it, "availableBytes"));
        assert!(theirs.abs_diff(ours) < NEAR, "{of}: {ours} here, {theirs} there");
    }
    let [theirs, ours] = [theirs, ours].map(|it| it["node"]["fs"]["usedBytes"].as_u64().unwrap());
    assert!(theirs.abs_diff(ours) < NEAR && ours > 0, "{ours} here, {theirs} there");
}

/// Puts every number below that has a time into the series.
fn add(value: &Value, path: &str, time: Option<u64>, series: &mut Series) {
    match value {
        Value::Object(object) => {
            let time = time_of(value).or(time);
            let figures = object.iter().filter(|(key, _)| *key != "timeUnixNano");
            for (key, value) in figures {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                add(value, &path, time, series);
            }
        }
        Value::Array(items) => {
            for item in items {
                add(item, &format!("{path}[{}]", name_of(item)), time, series);
            }
        }
        Value::Number(number) => {
            let Some(time) = time else { return };
            let of = series.entry(path.to_owned()).or_default();
            // Who asks twice between two readings is told the same.
            if of.last().is_none_or(|(last, _)| *last < time) {
                of.push((time, number.as_f64().unwrap()));
            }
        }
        _ => {}
    }
}

fn time_of(value: &Value) -> Option<u64> {
    let whole = || {
        let time: Timestamp = value["time"].as_str()?.parse().unwrap();
        u64::try_from(time.as_nanosecond()).ok()
    };
    value["timeUnixNano"].as_u64().or_else(whole)
}

fn name_of(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod = &item["podRef"];
    match pod {
        Value::Null => text(&item["name"]),
        _ => format!("{}/{}", text(&pod["namespace"]), text(&pod["name"])),
    }
}

/// The path without names: `pods[].cpu.usageCoreNanoSeconds`.
fn family(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|letter| {
            inside = (inside || *letter == '[') && *letter != ']';
            !inside || *letter == '['
        })
        .collect()
}

/// When pods and containers began, and how many processes they have, against what the API server says.
pub(crate) fn lives_are_the_same(theirs: &Value, ours: &Value, pods: &[Value], place: &str) {
    let seconds = |value: &Value| {
        let time: Timestamp = value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap();
        time.as_second()
    };
    let started = [theirs, ours].map(|of| seconds(&of["node"]["startTime"]));
    assert!(started[0].abs_diff(started[1]) <= 1, "{started:?}");
    let mut compared = 0;
    for pod in pods.iter().filter(|pod| pod["metadata"]["namespace"] == place) {
        let same = |of: &Value| {
            let listed = of["pods"].as_array().unwrap();
            let found = listed.iter().find(|it| it["podRef"]["uid"] == pod["metadata"]["uid"]);
            found.unwrap_or_else(|| panic!("no {}", pod["metadata"]["name"])).clone()
        };
        let (theirs, ours) = (same(theirs), same(ours));
        let name = &pod["metadata"]["name"];
        assert_eq!(ours["startTime"], pod["status"]["startTime"], "{name}");
        // The sandbox is made after the pod was taken on.
        let later = seconds(&theirs["startTime"]) - seconds(&ours["startTime"]);
        assert!((0..30).contains(&later), "{name}: the kubelet's is {later} s later");
        let containers = pod["status"]["containerStatuses"].as_array().unwrap();
        for status in containers {
            let of = |list: &Value| {
                let containers = list["containers"].as_array().unwrap();
                containers.iter().find(|it| it["name"] == status["name"]).unwrap()["startTime"].clone()
            };
            let (theirs, ours) = (of(&theirs), of(&ours));
            assert_eq!(ours, status["state"]["running"]["startedAt"], "{name}");
            // A container is made, then started.
            let later = seconds(&ours) - seconds(&theirs);
            assert!((0..30).contains(&later), "{name}: the kubelet's is {later} s earlier");
        }
        let count = |of: &Value| of["process_stats"]["process_count"].as_u64().unwrap();
        let (theirs, ours) = (count(&theirs), count(&ours));
        // Those with one process each, which has one thread; with the pause that is one more.
        if STEADY.iter().any(|of| name == of) {
            assert_eq!((theirs, ours), (containers.len() as u64, theirs + 1), "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, STEADY.len(), "pods whose processes are known");
}
