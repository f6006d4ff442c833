//! A live pod gets another default route, or other interfaces: the target made of it is out of date, and
//! the sweep that sees it says so.

use super::faults_tests::targets;
use super::*;
use crate::host::fixture_pods::{self, Hierarchies, PodsNode};

const ETH0: &str = "head\neth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";

struct Bench {
    node: PodsNode,
    sampler: Sampler,
    tick: u64,
}

impl Bench {
    /// Two pods whose targets name `eth0`: the first is read inside, the second from the host's side.
    fn new() -> Self {
        let node = PodsNode::new(Hierarchies::V2);
        let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
        let second = Duration::from_secs(1);
        let mut sampler = Sampler::new(node.node.root(), layout, second, 1000, Arc::default());
        sampler.retarget(targets(&node.node.root()), &mut Sweep::default());
        Self { node, sampler, tick: 0 }
    }

    /// Which pods were found rewired in the next `sweeps`, each as often as it was.
    fn rewired(&mut self, sweeps: u64) -> Vec<u64> {
        let mut rewired = Vec::new();
        for _ in 0..sweeps {
            self.tick += 1;
            self.sampler.sweep(self.tick, &mut Sweep::default());
            rewired.extend(self.sampler.rewired().iter().map(|id| id.0 / 10));
        }
        rewired.sort_unstable();
        rewired
    }

    fn write(&self, pod: u32, file: &str, text: &str) {
        self.node.node.write(&format!("proc/{}/net/{file}", fixture_pods::pid_of(pod)), text);
    }

    fn net_dev(&self, pod: u32) -> String {
        let path = format!("proc/{}/net/dev", fixture_pods::pid_of(pod));
        std::fs::read_to_string(self.node.node.path(path)).unwrap()
    }
}

#[test]
fn another_default_route_is_told_within_five_seconds_from_either_side() {
    let mut bench = Bench::new();
    assert_eq!(bench.rewired(20), [0; 0], "all is as the targets say");
    for pod in [1, 2] {
        bench.write(pod, "route", &ETH0.replace("eth0", "eth0.5"));
    }
    assert_eq!(bench.rewired(5), [1, 2]);
    // Until it is so in the target, too, it is told again: rarely.
    let again = bench.rewired(20);
    assert!(again.len() <= 8, "{again:?}");
    for pod in [1, 2] {
        bench.write(pod, "route", ETH0);
    }
    bench.rewired(5);
    assert_eq!(bench.rewired(20), [0; 0]);
}

#[test]
fn a_new_interface_is_told_at_once() {
    let mut bench = Bench::new();
    bench.rewired(7);
    bench.write(1, "dev", &(bench.net_dev(1) + "  net1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"));
    assert_eq!(bench.rewired(1), [1]);
    assert_eq!(bench.rewired(20), [0; 0]);
}

#[test]
fn a_route_that_cannot_be_read_tells_nothing() {
    let mut bench = Bench::new();
    bench.node.node.remove(&format!("proc/{}/net/route", fixture_pods::pid_of(2)));
    assert_eq!(bench.rewired(20), [0; 0]);
}
