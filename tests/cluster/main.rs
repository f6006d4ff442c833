//! The cluster tier: the chart on a real Kubernetes, as its users meet it.
//!
//! ```text
//! make test-cluster               all of it, as root
//! scripts/test-cluster identity   tests whose name contains the word
//! ```
//!
//! One cluster and one `helm install` of the chart's defaults serve all tests, one after the other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "of figures a test made itself"
)]

mod abuse;
mod access;
mod accounts;
#[path = "../node/agreement.rs"]
mod agreement;
mod both;
mod certificates;
mod churn;
mod client_ca;
mod doctor;
mod figures;
#[path = "../node/find.rs"]
mod find;
mod follower;
mod honest;
mod identity;
mod kubelet;
mod lifecycle;
mod line;
mod metrics_server;
mod naming;
mod newcomer;
#[path = "../node/oracle.rs"]
mod oracle;
mod outage;
mod privilege;
mod quantity;
mod reader;
mod release;
mod restart;
mod same;
mod siege;
mod stage;
mod summary;
mod token;
mod top_lives;
mod traffic;
mod vigil;
mod witness;
mod zoo;

use podvitals_testbed::suite;
use podvitals_testbed::tests;

use self::stage::Stage;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let tests = tests![
        newcomer::the_daemon_is_installed_and_names_itself,
        identity::every_pod_is_who_the_api_server_says,
        naming::new_pods_and_containers_are_named_soon,
        churn::no_sweep_has_a_wrong_name_while_200_pods_come_and_go,
        figures::every_figure_is_exact_and_the_same_both_ways,
        privilege::the_process_has_no_privilege,
        privilege::pod_security_takes_it_only_where_the_notes_say,
        doctor::the_default_profile_is_told_what_it_cannot_have,
        doctor::flags_that_only_the_daemon_was_given_count,
        access::the_account_may_do_what_the_chart_grants_and_no_more,
        access::clients_are_told_apart,
        access::without_tls_nobody_gets_anything,
        access::a_hundred_scrapes_cost_one_pair_of_reviews,
        access::the_command_reads_over_tls_with_a_token,
        client_ca::certificates_open_and_are_replaced_without_a_restart,
        abuse::odd_requests_are_refused_one_by_one,
        abuse::a_web_page_cannot_read_through_a_port_forward,
        abuse::who_holds_connections_delays_nobody,
        lifecycle::every_render_is_taken_by_the_server,
        lifecycle::a_namespace_that_forbids_host_paths_gets_the_reason,
        lifecycle::any_values_become_any_others_and_all_goes_at_the_end,
        kubelet::its_figures_lie_between_two_of_ours_and_its_keys_are_here,
        metrics_server::top_and_an_autoscaler_go_by_podvitals_alone,
        // Before any API server is killed: it would not note down how its watches ended.
        traffic::a_quiet_node_costs_next_to_nothing,
        outage::two_minutes_without_the_api_server,
        outage::a_watch_that_is_too_old_begins_anew,
        outage::an_api_server_that_is_held_up_loses_nothing,
        outage::a_wrong_node_name_is_said_out_loud,
        // After those that count the restarts of our pod.
        restart::a_restart_is_soon_over_and_no_counter_goes_back,
        // Last: it waits for what is missing of ten minutes since the stage was set.
        token::a_token_that_is_replaced_is_not_missed,
    ];
    suite::run(Stage::set(), &tests).await
}
