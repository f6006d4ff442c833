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
//! One testbed serves all tests, one after the other: that is why this target has a `main` of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "of figures a test made itself"
)]

mod agreement;
mod badly;
mod beside;
mod blkio;
mod cadvisor_rest;
mod cadvisor_same;
mod churn;
mod confinement;
mod cpu;
mod daemon;
mod disk;
mod docker;
mod docker_api;
mod docker_clients;
mod docker_same;
mod doctor;
mod file_systems;
mod find;
mod heapster;
mod ledger;
mod lifecycle;
mod memory;
mod names;
mod namespaces;
mod netns;
mod network;
mod newcomer;
mod odd_networks;
mod odd_pods;
mod oom;
mod oracle;
mod past;
mod pid_reuse;
mod privilege;
mod prometheus;
mod proxy;
mod readers;
mod runtime;
mod soak;
mod stage;
mod stale;
#[path = "../names/table.rs"]
#[allow(dead_code, reason = "the names themselves are held against their lists elsewhere")]
mod table;
mod wanderers;
mod watcher;
mod whole;

use podvitals_testbed::suite;
use podvitals_testbed::tests;

use self::stage::Stage;

/// Set by `make test-hardship`: the tests of its tier, and not the others.
const HARDSHIP: &str = "PODVITALS_TEST_HARDSHIP";

#[tokio::main]
async fn main() -> std::process::ExitCode {
    if let [_, inside, cgroup] = &*std::env::args().collect::<Vec<_>>()
        && inside == pid_reuse::INSIDE
    {
        return pid_reuse::inside(cgroup);
    }
    let tests = tests![
        network::bytes_and_packets_equal_the_host_s_end_for_any_amount,
        network::errors_and_drops_equal_the_pod_s_own_file,
        network::a_pod_on_the_host_s_network_has_none_of_its_own,
        network::a_dead_pod_s_link_is_not_kept_alive_by_sampling,
        cpu::counters_lie_between_schedstat_before_and_after_and_rates_agree,
        cpu::throttling_equals_the_file,
        memory::usage_and_working_set_equal_the_files,
        whole::its_figures_lie_between_two_readings_of_the_files,
        oom::a_kill_is_told_once_of_whom_and_when,
        blkio::eight_mebibytes_are_counted_once,
        file_systems::a_container_tells_of_the_disk_below_it,
        file_systems::without_a_kubelet_a_pod_claims_only_the_runtime_s,
        lifecycle::a_new_container_is_a_target_within_150_ms,
        lifecycle::counters_of_a_pod_never_go_back_through_ten_restarts,
        lifecycle::a_sandbox_made_anew_goes_on_counting,
        odd_pods::without_a_pause_whoever_is_in_the_pod_s_netns_will_do,
        odd_pods::a_pause_that_was_killed_is_done_without,
        odd_pods::cgroups_and_a_kubelet_inside_a_container_belong_to_it,
        odd_pods::a_process_that_was_moved_takes_no_figure_along,
        odd_pods::a_process_moved_in_one_hierarchy_alone_is_nobody_s,
        odd_pods::a_frozen_pod_is_idle_and_a_threaded_one_is_found,
        odd_networks::interfaces_of_every_kind_are_counted_whole_and_once,
        odd_networks::links_and_routes_that_a_live_pod_gets_are_followed,
        odd_networks::what_a_device_hides_the_ip_layer_tells,
        privilege::the_default_profile_reads_the_same_figures,
        newcomer::get_and_explain_show_what_a_newcomer_looks_for,
        doctor::root_on_a_node_is_told_that_all_works_and_that_it_is_more_than_is_needed,
        doctor::the_default_profile_works_and_is_told_so,
        doctor::a_user_without_capabilities_works_with_the_host_s_namespaces,
        doctor::hidden_processes_are_a_problem_with_a_cure,
        doctor::an_empty_cgroup_root_is_a_problem,
        doctor::a_part_of_the_tree_is_told_from_the_whole,
        past::a_burst_is_the_maximum_ten_seconds_later,
        past::what_ended_is_told_with_the_last_that_was_read,
        prometheus::rules_of_the_mixin_find_every_pod,
        prometheus::promtool_finds_nothing_but_names_of_others,
        stale::who_is_held_up_is_not_taken_for_fresh,
        docker_api::figures_are_our_own_and_the_kernel_s_and_an_answer_waits_for_nothing,
    ];
    // Two runs at once need two names.
    let hardship = tests![
        docker::pods_have_their_names_and_figures_equal_independent_sources,
        docker::a_restart_is_counted_and_named_and_the_pod_goes_on,
        docker::an_engine_killed_and_restarted_costs_no_name_and_no_sweep,
        docker::a_socket_that_hangs_costs_the_names_only,
        docker_same::dockerd_s_own_figures_lie_between_two_of_ours,
        docker_clients::the_docker_cli_takes_a_node_for_an_engine,
        docker_clients::docker_py_reads_a_pod,
        docker_clients::the_client_of_2017_finds_what_a_container_did,
        docker_clients::bollard_lists_inspects_and_follows,
        names::every_place_is_in_a_document_of_real_pods,
        heapster::an_autoscaler_of_heapster_s_sees_what_was_used_and_a_step_at_once,
        readers::the_kubelet_s_types_take_the_summary_and_know_all_but_what_is_listed,
        readers::cadvisor_s_own_client_decodes_every_route,
        cadvisor_rest::figures_are_our_own_and_the_kernel_s_under_the_names_of_the_node,
        cadvisor_same::its_own_figures_lie_between_two_of_ours,
        cadvisor_rest::who_comes_and_goes_is_told_as_it_does,
        churn::no_figure_of_a_pod_is_ever_another_s,
        wanderers::a_process_in_another_pod_s_netns_takes_no_figure_along,
        namespaces::processes_that_see_each_other_are_counted_apart,
        namespaces::a_pod_of_users_of_its_own_has_the_same_figures,
        pid_reuse::a_pid_used_again_never_brings_another_pod_s_figure,
        runtime::a_runtime_that_vanishes_or_hangs_costs_the_names_of_new_pods,
        runtime::no_pod_counter_goes_back_while_sandboxes_and_the_runtime_are_made_anew,
        confinement::with_64_descriptors_every_figure_is_right_or_has_a_reason,
        confinement::forty_eight_mebibytes_are_enough,
        confinement::hidepid_takes_the_network_with_its_reason_and_gives_it_back,
        confinement::nothing_needs_to_be_written,
        confinement::it_ends_when_told_in_mid_sweep_and_starts_again_after_any_end,
        confinement::pods_that_take_every_core_do_not_hold_it_up,
        // Last: the longer ago the daemons were started, the more it shows.
        cadvisor_rest::a_summary_goes_back_as_far_as_the_daemon_does,
    ];
    let badly = tests![badly::it_ends_with_everything_in_its_hands];
    let soak = tests![soak::nothing_grows_while_pods_come_and_go];
    let tests: &[_] = match std::env::args().nth(1) {
        Some(word) if word == "soak::" => &soak,
        Some(word) if word == "churn::" => &hardship,
        _ if std::env::var_os(badly::HOW).is_some() => &badly,
        _ if std::env::var_os(HARDSHIP).is_some() => &hardship,
        _ => &tests,
    };
    // Several runs at once on one machine need names of their own.
    let name = std::env::var("PODVITALS_TEST_NAME").unwrap_or_else(|_| "test".to_owned());
    suite::run(Stage::set(&name), tests).await
}
