//! A cgroup, or a process with its netns, is removed right before each system call of a sweep: its
//! figures are then right or absent, and those of all others as if nothing had happened.

use std::fs;
use std::path::PathBuf;

use super::faults_tests::{Bench, Moment, targets};
use super::*;
use crate::host::fault::{self, Fault};
use crate::host::fixture_pods::{self, HIERARCHIES, PodsNode};

/// Plain files keep their descriptors' content when removed: only opening sees them go, so none is kept.
///
/// Removes `gone` before each call of a sweep in turn; `owners` are those it belongs to.
fn remove_at_each_call(node: &PodsNode, gone: &[PathBuf], owners: &[u32], restore: &dyn Fn()) {
    let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
    for moment in [Moment::First, Moment::Steady, Moment::Slow] {
        let mut clean = Bench::new(node, &layout, &targets(&node.node.root()), moment, 0);
        let (_, calls) = fault::record(|| clean.act(moment));
        let right = clean.figures();
        for (position, call) in calls.iter().enumerate() {
            let mut bench = Bench::new(node, &layout, &targets(&node.node.root()), moment, 0);
            let removed = gone.to_vec();
            let remove = Fault::Before(Box::new(move || {
                removed.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
            }));
            let (_, _, struck) = fault::at(position, remove, || bench.act(moment));
            assert!(struck);
            for tick in 0..3 {
                if tick > 0 {
                    bench.sweep(moment.tick() + tick);
                }
                let seen = bench.figures();
                for (key, value) in &right {
                    let case = format!("{moment:?} {position} {call:?}, sweep {tick}: {key:?}");
                    match seen.get(key) {
                        Some(figure) => assert_eq!(figure, value, "{case}"),
                        None => assert!(owners.contains(&key.0), "{case} is absent too"),
                    }
                }
            }
            drop(bench);
            restore();
        }
    }
}

#[test]
fn a_cgroup_may_go_before_any_call() {
    for hierarchies in HIERARCHIES {
        let node = PodsNode::new(hierarchies);
        remove_at_each_call(&node, &node.directories(1, 1), &[11], &|| node.write_cgroup(1, 1));
    }
}

#[test]
fn a_process_may_go_before_any_call() {
    for hierarchies in HIERARCHIES {
        let node = PodsNode::new(hierarchies);
        let process = node.node.path(format!("proc/{}", fixture_pods::pid_of(1)));
        remove_at_each_call(&node, &[process], &[19], &|| node.write_pod_process(1));
    }
}
