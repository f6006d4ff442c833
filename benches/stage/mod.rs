//! The pods that benchmarks look at.

use std::ops::Range;

use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;

/// Pods of these numbers, each of two containers besides the pause container.
pub(crate) async fn start_pods(testbed: &Testbed, pods: Range<usize>) -> Vec<Pod> {
    println!("starting {} containers in {} pods …", pods.len() * 2, pods.len());
    let mut started = Vec::new();
    for number in pods {
        let pod = testbed.pod(&format!("bench-{number}")).run().await.unwrap();
        for name in ["a", "b"] {
            pod.container(name).args(["idle"]).run().await.unwrap();
        }
        started.push(pod);
    }
    started
}
