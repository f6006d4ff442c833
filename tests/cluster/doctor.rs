//! `kubectl exec … -- /podvitals doctor`: what the daemon's own pod is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use podvitals_testbed::wait_for;
use serde_json::Value;

use crate::release::Release;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::zoo::pods;

/// How it ended, what it said to people on stderr, and the report.
async fn doctor(stage: &Stage, release: Release) -> (Option<i32>, String, Value) {
    // Its container runs.
    release.on_node(stage).await;
    let pod = release.pod(stage).await;
    let pod = pod["metadata"]["name"].as_str().unwrap();
    let words = ["exec", "-n", release.namespace(), pod, "--", "/podvitals", "doctor", "-o", "json"];
    let output = tokio::task::block_in_place(|| stage.cluster.kubectl_command().args(words).output());
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    (output.status.code(), errors, report)
}

/// The report of the shared release, and how many pods there were all the while: those of other tests may
/// still be on their way out.
async fn while_no_pod_comes_or_goes(stage: &Stage) -> ((Option<i32>, String, Value), usize) {
    let uids = async || {
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        anyhow::Ok(pods(stage, "").await?.iter().map(uid).collect::<BTreeSet<_>>())
    };
    wait_for("the same pods before and after", PATIENCE, async || {
        let before = uids().await?;
        let report = doctor(stage, Release::SHARED).await;
        Ok((uids().await? == before).then_some((report, before.len())))
    })
    .await
    .unwrap()
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

pub(crate) async fn the_default_profile_is_told_what_it_cannot_have(stage: Arc<Stage>) {
    let ((code, errors, report), pods) = while_no_pod_comes_or_goes(&stage).await;
    assert_eq!((code, errors.as_str(), &report["works"]), (Some(0), "", &true.into()), "{report:#}");
    assert_eq!(report["node"], stage.cluster.node_name(), "by the chart's variable");
    let daemon = check(&report, "daemon");
    assert_eq!(daemon["found"], "no flag of it that is not given here", "{daemon:#}");
    // The API server answers, with the daemon's token, and names as many pods as it does.
    let api = check(&report, "API server");
    assert_eq!(api["found"], format!("lists {pods} pods of node {}", stage.cluster.node_name()), "{api:#}");
    let user = check(&report, "user");
    assert_eq!(user["found"], "user 65532, groups 65532, no capability", "{user:#}");
    // Not to be had here, as it should be: what it would buy, and under which name.
    let lacking = [
        ("pid namespace", "profile.hostPID"),
        ("network namespace", "profile.hostNetwork"),
        ("runtime socket", "profile.runtimeSocket"),
    ];
    for (name, grant) in lacking {
        let check = check(&report, name);
        let consequence = check["consequence"].as_str().unwrap_or_default();
        assert_eq!((check["verdict"].as_str(), consequence.contains(grant)), (Some("ok"), true), "{check:#}");
    }
    // Not to be had, and no grant of the chart's helps: each notice says what would.
    for check in report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] != "ok") {
        assert_eq!(check["verdict"], "notice", "{check:#}");
        assert!(check["consequence"].is_string() && check["cure"].is_string(), "{check:#}");
    }
}

pub(crate) async fn flags_that_only_the_daemon_was_given_count(stage: Arc<Stage>) {
    let (code, errors, report) = doctor(&stage, Stage::MISNAMED).await;
    assert_eq!(report["node"], "elsewhere", "{report:#}");
    assert_eq!(check(&report, "daemon")["found"], "--node-name=elsewhere");
    let name = check(&report, "node name");
    assert_eq!((name["verdict"].as_str(), name["found"].as_str()), (Some("problem"), Some("elsewhere")));
    assert!(name["cure"].as_str().unwrap().contains("--node-name"), "{name:#}");
    assert_eq!(code, Some(1));
    assert!(errors.contains("the core job does not work here: names"), "{errors}");
}
