//! What a real kubelet answers is there, of the same kind, or on a list of what is left out and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use podvitals::model::identity::{ContainerKind, ContainerState};
use podvitals::serve::Limits;

use super::cadvisor_rest::{Shape, is_under, shape};
use super::client::{Server, clock, server_with};
use super::exposition::read_text;
use super::node;

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/kubernetes").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Each key of a document with the kind of what stands there.
fn keys(json: &str) -> Shape {
    let mut into = Shape::new();
    shape("", &serde_json::from_str(json).unwrap(), &mut into);
    into
}

/// Each family of a text with its type, the names of its samples' labels, and whether they bear a time.
fn families(text: &str) -> Shape {
    let document = read_text(text);
    let mut shape = Shape::new();
    for (name, (kind, _, _)) in &document.families {
        let samples =
            document.of(name).map(|(labels, sample)| (labels.keys().collect(), sample.at.is_some()));
        let samples: BTreeSet<(Vec<&String>, bool)> = samples.collect();
        shape.insert(format!(".{name}"), format!("{kind}, labels and time {samples:?}"));
    }
    shape
}

/// A node whose kernel tells all that one can.
async fn server() -> Server {
    let mut shown = node::snapshot();
    let pods = shown.pods.iter_mut().map(|pod| &mut pod.cgroup);
    let containers = shown.containers.iter_mut().map(|container| &mut container.cgroup);
    let system = shown.node.system.iter_mut().map(|system| &mut system.cgroup);
    let cgroups = pods.chain(containers).chain(system).map(|cgroup| &mut cgroup.pressure);
    for pressure in cgroups.chain([&mut shown.node.pressure]) {
        // Kernels since 5.13 have both lines for the CPU, too.
        let pressure = pressure.as_mut().ok().and_then(|read| read.value.cpu.as_mut());
        pressure.into_iter().for_each(|stall| stall.full = Some(stall.some));
    }
    // A file system that counts inodes.
    if let Ok(read) = &mut shown.node.file_systems {
        let inodes = read.value[0].space.inodes;
        Arc::make_mut(&mut read.value).iter_mut().for_each(|it| it.space.inodes = inodes);
    }
    // An init container that is done, as one is in every real pod that has one.
    let mut targets = (*shown.targets).clone();
    for child in targets.pods.iter_mut().flat_map(|pod| Arc::make_mut(pod).containers.iter_mut()) {
        if let Some(known) = child.known.as_mut().filter(|known| known.kind == Some(ContainerKind::Init)) {
            let known = Arc::make_mut(known);
            (known.state, known.state_reason) = (ContainerState::Terminated, Some("Completed".into()));
        }
    }
    shown.targets = Arc::new(targets);
    server_with(Limits::default(), clock::<0>, Some(shown)).await
}

#[tokio::test]
async fn what_a_real_kubelet_answers_is_there_or_named_as_absent() {
    let server = server().await;
    let list = fixture("absent.txt");
    let entries = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let absent: BTreeMap<&str, &str> = entries.map(|line| line.split_once('\t').expect(line)).collect();
    assert!(absent.values().all(|why| why.len() > 10), "{absent:?}");
    let (mut used, mut missing, mut there) = (BTreeSet::new(), Vec::new(), 0);
    for (file, route) in [
        ("stats_summary.json", "/stats/summary"),
        ("pods.json", "/pods"),
        ("metrics_resource.txt", "/metrics/resource"),
    ] {
        let (name, kind) = file.split_once('.').unwrap();
        let [theirs, ours] =
            [fixture(&format!("kubelet-1.34-{file}")), server.get(route).await.text().to_owned()];
        let [theirs, ours] = [theirs, ours].map(|text| match kind {
            "json" => keys(&text),
            _ => families(&text),
        });
        for (path, kind) in theirs {
            let full = format!("{name}{path}");
            let head = absent.keys().find(|head| is_under(&full, head));
            match (ours.get(&path), head) {
                (Some(ours), None) => {
                    assert_eq!(*ours, kind, "{full}");
                    there += 1;
                }
                (Some(_), Some(head)) => panic!("{full} is there: strike {head} off the list"),
                (None, Some(head)) => drop(used.insert(*head)),
                (None, None) => missing.push(full),
            }
        }
    }
    assert!(missing.is_empty(), "neither there nor on the list:\n{}", missing.join("\n"));
    let unused: Vec<_> = absent.keys().filter(|head| !used.contains(*head)).collect();
    assert!(unused.is_empty(), "nothing real has these: {unused:#?}");
    assert!(there > 150, "{there}");
}
