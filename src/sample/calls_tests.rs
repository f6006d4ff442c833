//! What a sweep asks of the kernel, and how often, by the calls it makes.

use std::fmt::Write;

use super::faults_tests::{Bench, Moment, targets};
use super::*;
use crate::host::fault::{self, Made};
use crate::host::fixture_pods::{HIERARCHIES, PodsNode};

/// The node has two pods and the ends of a thousand links.
#[test]
fn no_sweep_lists_processes_and_each_reads_the_host_s_links_once() {
    for hierarchies in HIERARCHIES {
        let node = PodsNode::new(hierarchies);
        let mut links = String::from("Inter-|   Receive  |  Transmit\n face |bytes    packets\n");
        for number in 0..1_000 {
            writeln!(links, "veth{number:07}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0").unwrap();
        }
        node.node.write("proc/1/net/dev", &links);
        let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
        let targets = targets(&node.node.root());
        for moment in [Moment::Steady, Moment::Slow] {
            let mut bench = Bench::new(&node, &layout, &targets, moment, 1000);
            let (_, calls) = fault::record(|| bench.act(moment));
            let of = |kind: &str, end: &str| {
                let asked = |call: &&Made| call.kind == kind && call.path.ends_with(end);
                calls.iter().filter(asked).count()
            };
            assert_eq!(of("openat", "/1/net/dev"), 1, "{moment:?}: {calls:#?}");
            let pieces = of("read", "/1/net/dev");
            assert!(pieces * 1_000 < 2 * links.len(), "{pieces} calls for {} bytes", links.len());
            assert_eq!(of("getdents", "/proc"), 0, "{moment:?}");
        }
    }
}
