//! The node tier: real pods on a private containerd, and every figure against an independent source.
//!
//! ```text
//! make test-node              all of it, as root
//! scripts/test-node network   tests whose name contains the word
//! ```
//!
//! Two daemons watch from first to last: one as root with the runtime's names, one in a pod with no
//! privilege at all. What the first must show, the second must show too, but for names.
//!
//! One testbed serves all tests, one after the other: two of them at once would disturb each other's
//! CPU. That is why this target has a `main` of its own. A test that panics fails alone; the testbed is
//! taken down in any case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "of figures a test made itself"
)]

mod blkio;
mod cpu;
mod daemon;
mod disk;
mod lifecycle;
mod memory;
mod network;
mod newcomer;
mod oracle;
mod privilege;
mod stage;
mod stale;

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use self::stage::Stage;

type Outcome = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Test {
    name: &'static str,
    run: fn(Arc<Stage>) -> Outcome,
}

macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$(Test { name: concat!(stringify!($module), "::", stringify!($name)), run: |stage| Box::pin($module::$name(stage)) }),*]
    };
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let tests = tests![
        network::bytes_and_packets_equal_the_host_s_end_for_any_amount,
        network::errors_and_drops_equal_the_pod_s_own_file,
        network::a_pod_on_the_host_s_network_has_none_of_its_own,
        network::a_dead_pod_s_link_is_not_kept_alive_by_sampling,
        cpu::counters_lie_between_schedstat_before_and_after_and_rates_agree,
        cpu::throttling_equals_the_file,
        memory::usage_and_working_set_equal_the_files,
        blkio::eight_mebibytes_are_counted_once,
        lifecycle::a_new_container_is_a_target_within_150_ms,
        lifecycle::counters_of_a_pod_never_go_back_through_ten_restarts,
        lifecycle::a_sandbox_made_anew_goes_on_counting,
        privilege::the_default_profile_reads_the_same_figures,
        newcomer::get_and_explain_show_what_a_newcomer_looks_for,
        stale::a_sampler_that_is_held_up_is_not_taken_for_fresh,
    ];
    let stage = match Stage::set("test").await {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("node tests: no testbed: {error:#}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let mut failed = Vec::new();
    let mut ran = 0;
    for test in tests.iter().filter(|test| test.name.contains(&only)) {
        let begun = Instant::now();
        let result = tokio::spawn((test.run)(stage.clone())).await;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{} {} ({seconds:.1} s)", if result.is_ok() { "ok    " } else { "FAILED" }, test.name);
        if result.is_err() {
            failed.push(test.name);
        }
        ran += 1;
    }
    let Ok(stage) = Arc::try_unwrap(stage) else {
        eprintln!("node tests: a test still holds the stage");
        return std::process::ExitCode::FAILURE;
    };
    if let Err(error) = stage.strike().await {
        eprintln!("node tests: the testbed could not be taken down: {error:#}");
        return std::process::ExitCode::FAILURE;
    }
    println!(
        "{ran} tests, {} failed{}",
        failed.len(),
        failed.iter().map(|name| format!("\n  {name}")).collect::<String>()
    );
    if failed.is_empty() && ran > 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
