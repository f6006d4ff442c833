//! The v2 tier: the figures on cgroup v2, without PSI, and on co-mounted v1, against independent sources.
//!
//! ```text
//! make test-v2            all of it
//! scripts/test-v2 disk    tests whose name contains the word
//! ```
//!
//! This program is two. Started by cargo it boots one emulated machine after the other; started in one of
//! them it is the tests, on made-up pods: there is no container runtime in there, and none is needed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "of figures a test made itself"
)]

mod absent;
mod clock;
mod cpu;
#[path = "../node/daemon.rs"]
#[allow(dead_code, reason = "shared with the node tier")]
mod daemon;
mod disk;
#[path = "../node/find.rs"]
mod find;
mod gone;
mod graves;
mod links;
mod machine;
mod memory;
mod nested;
#[path = "../node/netns.rs"]
mod netns;
mod network;
#[path = "../node/oracle.rs"]
#[allow(dead_code, reason = "shared with the node tier")]
mod oracle;
mod stage;

use std::process::ExitCode;

use podvitals_testbed::suite;
use podvitals_testbed::tests;

use self::machine::Kind;
use self::stage::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(kind) = Kind::inside() else { return machine::boot_all() };
    let everywhere = tests![
        absent::each_controller_is_found_where_it_is,
        cpu::counters_lie_between_schedstat_before_and_after_and_rates_agree,
        cpu::throttling_equals_the_file,
        memory::working_sets_of_nested_cgroups_equal_the_files,
        network::bytes_and_packets_equal_the_host_s_end,
        network::a_pod_on_the_host_s_network_has_none_of_its_own,
        nested::systemd_in_a_container_is_its_own,
        gone::what_a_removed_container_used_stays_with_its_pod,
    ];
    let on_v2 = tests![
        links::interfaces_of_every_kind_are_counted_whole_and_once,
        absent::a_controller_that_is_not_handed_down_is_off_and_not_zero,
        absent::pressure_lies_between_the_file_before_and_after,
        disk::eight_mebibytes_are_counted_once_on_any_stack,
        disk::what_removed_containers_wrote_stays_with_their_pod,
        disk::a_device_that_goes_leaves_its_figures,
        disk::buffered_writes_are_whose_pages_they_were,
        graves::thousands_of_removed_containers_cost_neither_figure_nor_time,
        clock::a_clock_that_is_set_changes_no_rate_and_no_age,
    ];
    let without_psi = tests![absent::a_kernel_without_pressure_says_so,];
    let on_v1 = tests![absent::block_io_that_v1_does_not_count_is_not_zero,];
    let tests: Vec<_> = match kind {
        Kind::V2 => everywhere.into_iter().chain(on_v2).collect(),
        Kind::V2WithoutPsi => without_psi.into_iter().collect(),
        Kind::V1 => everywhere.into_iter().chain(on_v1).collect(),
    };
    suite::run(Stage::set(kind), &tests).await
}
