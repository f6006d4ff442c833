//! Tests of `claims`: processes that go into another pod's netns, and netns whose number is given again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::host::cgroup::layout::Layout;
use crate::host::fixture_pods::{self, HIERARCHIES, PodsNode};
use crate::model::target::NetworkTarget;
use crate::model::target::TargetSet;
use crate::resolve::Inbox;
use crate::resolve::Resolver;
use crate::resolve::Side;

/// A node of plain files: the inode of a file stands for a netns, and a hard link for being in it too.
struct Bench {
    node: PodsNode,
    resolver: Resolver,
    targets: Arc<TargetSet>,
}

impl Bench {
    fn new(node: PodsNode) -> Self {
        let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
        let resolver = Resolver::new(node.node.root(), layout, Side::Pod, Arc::default());
        let mut bench = Self { node, resolver, targets: Arc::default() };
        bench.step();
        bench
    }

    /// The sampler has found the network of each pod gone.
    fn step(&mut self) {
        let lost = self.targets.pods.iter().map(|pod| pod.id).collect();
        // Long enough for what is looked for again.
        for inbox in [Inbox { lost, ..Inbox::default() }].into_iter().chain((0..12).map(|_| Inbox::default()))
        {
            let outcome = self.resolver.step(&[], false, inbox, &mut None);
            self.targets = outcome.targets.unwrap_or_else(|| self.targets.clone());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn net_dev(&self, pod: u32) -> PathBuf {
        self.node.node.path(format!("proc/{}/net/dev", fixture_pods::pid_of(pod)))
    }

    /// The pod's process is in the netns of that file now.
    fn enter(&self, pod: u32, netns: &PathBuf) {
        fs::remove_file(self.net_dev(pod)).unwrap();
        fs::hard_link(netns, self.net_dev(pod)).unwrap();
    }

    fn end(&self, pod: u32) {
        self.node.directories(pod, 0).iter().for_each(|directory| fs::remove_dir_all(directory).unwrap());
        fs::remove_dir_all(self.net_dev(pod).ancestors().nth(2).unwrap()).unwrap();
    }

    fn begin(&self, pod: u32) {
        [0, 2, 1].into_iter().for_each(|child| self.node.write_cgroup(pod, child));
        self.node.write_pod_process(pod);
    }

    /// The numbers of the pods whose network is read.
    fn read(&self) -> Vec<u32> {
        let uids = fixture_pods::PODS.map(|pod| (pod, fixture_pods::uid_of(pod)));
        let is_read = |uid: &str| {
            let mut found = self.targets.pods.iter().filter(|pod| pod.runtime_uid.as_str() == uid);
            found.any(|pod| !matches!(pod.network, NetworkTarget::Absent(_)))
        };
        uids.into_iter().filter(|(_, uid)| is_read(uid)).map(|(pod, _)| pod).collect()
    }
}

#[test]
fn a_visitor_that_is_left_behind_in_another_pod_s_netns_inherits_nothing() {
    for hierarchies in HIERARCHIES {
        let node = PodsNode::new(hierarchies);
        let mut seen = Bench::new(node);
        assert_eq!(seen.read(), [1, 2], "each at home");
        seen.enter(1, &seen.net_dev(2));
        seen.step();
        assert_eq!(seen.read(), [2], "the first went to the second");

        // A resolver that never saw the first at home cannot tell which of them is.
        let Bench { node, .. } = seen;
        let mut unseen = Bench::new(node);
        assert_eq!(unseen.read(), [0_u32; 0]);
        unseen.end(2);
        unseen.step();
        assert_eq!(unseen.read(), [0_u32; 0], "what the netns counted was the second's");

        // It goes home, to a netns nobody else is in.
        fs::remove_file(unseen.net_dev(1)).unwrap();
        unseen.node.write_pod_process(1);
        unseen.step();
        assert_eq!(unseen.read(), [0_u32; 0], "a process in another netns than before is not believed");
        unseen.end(1);
        unseen.step();
        unseen.begin(1);
        unseen.step();
        assert_eq!(unseen.read(), [1], "made anew");
    }
}

#[test]
fn the_number_of_a_netns_that_was_left_is_nobody_s_home() {
    for hierarchies in HIERARCHIES {
        let mut bench = Bench::new(PodsNode::new(hierarchies));
        let left = bench.node.node.path("left");
        fs::hard_link(bench.net_dev(1), &left).unwrap();
        bench.enter(1, &bench.net_dev(2));
        bench.step();
        assert_eq!(bench.read(), [2]);

        // The second ends, comes again, and its new netns has the number of the one that was left.
        bench.end(2);
        bench.step();
        bench.begin(2);
        bench.enter(2, &left);
        bench.step();
        assert_eq!(bench.read(), [2]);
        bench.enter(1, &left);
        bench.step();
        assert_eq!(bench.read(), [2], "the first has never been in this netns");
    }
}
