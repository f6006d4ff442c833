//! What a document of 100,000 series costs, beside a plain copy of as many bytes: `make bench`.
//!
//! Both on memory that held a document before, as in a process that is read again and again; the first document
//! of a kind pays for its page faults, too. A copy is what no rendering can undercut. Milliseconds are this
//! machine's and noisy; the ratios are what to compare.

#![allow(clippy::unwrap_used, reason = "a benchmark may end")]
#![allow(dead_code, clippy::panic, reason = "the node is made for tests, too")]

#[path = "../tests/http/earlier.rs"]
mod earlier;
#[path = "../tests/http/node.rs"]
mod node;
#[path = "../tests/http/parts.rs"]
mod parts;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::identity::KnownPod;
use podvitals::model::snapshot::PodFigures;
use podvitals::model::snapshot::Snapshot;
use podvitals::serve::measured;

const SERIES: usize = 100_000;
const ROUNDS: usize = 31;

fn main() -> std::process::ExitCode {
    // `cargo test` builds and runs benches too; this one wants to be asked for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return std::process::ExitCode::SUCCESS;
    }
    println!(
        "document           form                              bytes     rendered  to a copy   the first one"
    );
    let pods = with_series(|snapshot| measured::pods(snapshot).next().unwrap().1(Vec::new()));
    for (form, render) in measured::pods(&pods) {
        report("/metrics/pods", form, &render);
    }
    let cadvisor = with_series(|snapshot| measured::cadvisor(snapshot).next().unwrap().1(Vec::new()));
    for (form, render) in measured::cadvisor(&cadvisor) {
        report("/metrics/cadvisor", form, &render);
    }
    println!("promised: 100,000 series in 5 ms");
    std::process::ExitCode::SUCCESS
}

/// The node of the tests with so many pods that their document has 100,000 series.
fn with_series(text: impl Fn(&Snapshot) -> Vec<u8>) -> Snapshot {
    let count = |snapshot: &Snapshot| series(&text(snapshot));
    let (one, two) = (count(&with_pods(1)), count(&with_pods(2)));
    with_pods((SERIES - one) / (two - one) + 2)
}

fn series(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}

/// The first pod of the node of the tests, so many times: two devices, two interfaces, three containers.
fn with_pods(count: usize) -> Snapshot {
    let mut snapshot = node::snapshot();
    let mut targets = (*snapshot.targets).clone();
    let figures = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap().clone();
    let target = targets.pods[0].clone();
    let (first, last) = (figures.containers.start as usize, figures.containers.end as usize);
    let containers = snapshot.containers[first..last].to_vec();
    let known: KnownPod = (**target.known.as_ref().unwrap()).clone();
    targets.pods.clear();
    snapshot.pods.clear();
    snapshot.containers.clear();
    for number in 0..u32::try_from(count).unwrap() {
        let mut pod = (*target).clone();
        pod.known =
            Some(Arc::new(KnownPod { name: format!("web-5d4f8b-{number:05}").into(), ..known.clone() }));
        targets.pods.push(Arc::new(pod));
        let first = u32::try_from(snapshot.containers.len()).unwrap();
        snapshot.containers.extend_from_slice(&containers);
        let containers = first..u32::try_from(snapshot.containers.len()).unwrap();
        snapshot.pods.push(PodFigures { target: number, containers, ..figures.clone() });
    }
    snapshot.targets = Arc::new(targets);
    snapshot
}

/// One line.
fn report(document: &str, form: &str, render: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    let body = render(Vec::new());
    let copy = median(&|mut memory| {
        memory.extend_from_slice(&body);
        memory
    });
    let rendered = median(render);
    let first = median(&|_| render(Vec::new()));
    let form = form.split(';').next().unwrap();
    let ratio = rendered.as_secs_f64() / copy.as_secs_f64();
    println!(
        "{document:<18} {form:<30} {:>9}   {rendered:>10.2?}   {ratio:>6.2} x   {first:>10.2?}",
        body.len()
    );
}

/// Of CPU time, page faults included: others may want the machine, too.
fn median(work: &dyn Fn(Vec<u8>) -> Vec<u8>) -> Duration {
    let mut memory = work(Vec::new());
    let mut times = [Duration::ZERO; ROUNDS];
    for time in &mut times {
        memory.clear();
        let start = clock::thread_cpu_nanos();
        memory = black_box(work(memory));
        *time = Duration::from_nanos(clock::thread_cpu_nanos() - start);
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}
