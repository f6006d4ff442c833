//! The pods that benchmarks look at.

use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;

/// So many pods of two containers each, besides the pause container.
pub(crate) async fn start_pods(testbed: &Testbed, pods: usize) -> Vec<Pod> {
    println!("starting {} containers in {pods} pods …", pods * 2);
    let mut started = Vec::new();
    for number in 0..pods {
        let pod = testbed.pod(&format!("bench-{number}")).run().await.unwrap();
        for name in ["a", "b"] {
            pod.container(name).args(["idle"]).run().await.unwrap();
        }
        started.push(pod);
    }
    started
}
