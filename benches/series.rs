//! What a document of 100,000 series costs, beside a plain copy of as many bytes: `make bench`.
//!
//! Both on memory that held a document before, as in a process that is read again and again; the first document
//! of a kind pays for its page faults, too. Of so large a document two threads write a half each, where there are
//! two CPUs: the time is what a reader waits for. A copy is what one thread cannot undercut. Milliseconds are
//! this machine's and noisy; the ratios are what to compare.

#![allow(clippy::unwrap_used, reason = "a benchmark may end")]
#![allow(dead_code, clippy::panic, reason = "the node is made for tests, too")]

#[path = "../tests/http/earlier.rs"]
mod earlier;
#[path = "../tests/http/memory_stat.rs"]
mod memory_stat;
#[path = "../tests/http/node.rs"]
mod node;
#[path = "../tests/http/parts.rs"]
mod parts;

use std::hint::black_box;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::snapshot::Snapshot;
use podvitals::serve::{Sheets, measured};

const SERIES: usize = 100_000;
const ROUNDS: usize = 31;

/// What a document of so many series may take.
const PROMISED: Duration = Duration::from_millis(5);

/// And where the machine is slower: this many times what a copy takes. Those of pods have fewer labels to copy and more
/// figures to print.
const TIMES_A_COPY: [(&str, f64); 2] = [("/metrics/pods", 16.0), ("/metrics/cadvisor", 4.0)];

fn main() -> std::process::ExitCode {
    // `cargo test` builds and runs benches too; this one wants to be asked for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return std::process::ExitCode::SUCCESS;
    }
    println!(
        "document           form                              bytes     rendered  to a copy   the first one"
    );
    let machine = earlier::machine();
    let pods = with_series(|snapshot| measured::pods(snapshot).next().unwrap().1(Sheets::default()).joined());
    let mut kept = true;
    for (form, render) in measured::pods(&pods) {
        kept &= report("/metrics/pods", form, &render);
    }
    let cadvisor = with_series(|snapshot| {
        measured::cadvisor(snapshot, &machine).next().unwrap().1(Sheets::default()).joined()
    });
    for (form, render) in measured::cadvisor(&cadvisor, &machine) {
        kept &= report("/metrics/cadvisor", form, &render);
    }
    println!("promised: 100,000 series in 5 ms");
    if kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// The node of the tests with so many pods that their document has 100,000 series.
fn with_series(text: impl Fn(&Snapshot) -> Vec<u8>) -> Snapshot {
    let count = |snapshot: &Snapshot| series(&text(snapshot));
    let (one, two) = (count(&node::repeated(1)), count(&node::repeated(2)));
    node::repeated((SERIES - one) / (two - one) + 2)
}

fn series(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}

/// One line. Says whether the promise is kept: one that was broken is measured twice more, in case something else ran.
fn report(document: &str, form: &str, render: &dyn Fn(Sheets) -> Sheets) -> bool {
    (0..3).any(|_| is_kept(document, form, render))
}

fn is_kept(document: &str, form: &str, render: &dyn Fn(Sheets) -> Sheets) -> bool {
    let body = render(Sheets::default()).joined();
    let copy = median(&|mut sheets| {
        sheets.0[0].extend_from_slice(&body);
        sheets
    });
    let rendered = median(render);
    let first = median(&|_| render(Sheets::default()));
    let form = form.split(';').next().unwrap();
    let ratio = rendered.as_secs_f64() / copy.as_secs_f64();
    println!(
        "{document:<18} {form:<30} {:>9}   {rendered:>10.2?}   {ratio:>6.2} x   {first:>10.2?}",
        body.len()
    );
    let (_, most) = TIMES_A_COPY.into_iter().find(|(of, _)| *of == document).unwrap();
    let kept = rendered <= PROMISED || ratio <= most;
    if !kept {
        eprintln!("{document} {form}: {rendered:.2?} is more than {PROMISED:?} and than {most} times a copy");
    }
    kept
}

/// Page faults included.
fn median(work: &dyn Fn(Sheets) -> Sheets) -> Duration {
    let mut sheets = work(Sheets::default());
    let mut times = [Duration::ZERO; ROUNDS];
    for time in &mut times {
        let blank = sheets.blank();
        let start = clock::monotonic();
        sheets = black_box(work(blank));
        *time = clock::monotonic().since(start).unwrap();
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}
