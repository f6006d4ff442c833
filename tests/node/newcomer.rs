//! What a newcomer types first.

use std::process::Command;
use std::sync::Arc;

use podvitals::model::document::PodHistory;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::stage::Stage;

pub(crate) async fn get_and_explain_show_what_a_newcomer_looks_for(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let web = testbed.pod("web").namespace("shop").run().await.unwrap();
    web.container("app").args(["spin", "--duty", "37"]).run().await.unwrap();
    web.restart_container("app").await.unwrap();
    let daemon = Daemon::start(testbed, &[]).await;
    daemon.next_list().await;
    let server = daemon.socket_url();

    let table = run(&["get", "pods", "--server", &server]);
    let header = table.lines().next().unwrap();
    for column in ["NAMESPACE", "NAME", "CPU", "MEMORY", "RX", "TX", "READ", "WRITE", "RESTARTS", "AGE"] {
        assert!(header.contains(column), "{header}");
    }
    let row: Vec<_> = table.lines().find(|line| line.contains("web")).unwrap().split_whitespace().collect();
    assert_eq!(&row[..2], ["shop", "web"]);
    // One of the sweeps', of which each may have got another share of a busy machine.
    let history = daemon.get(&format!("/api/v1/history/{}", web.uid())).body;
    let history: PodHistory = serde_json::from_str(&history).unwrap();
    let cores = history.samples.iter().filter_map(|sample| sample.cpu.as_ref()?.cores);
    let cores: Vec<f64> = cores.map(|cores| cores * 1000.0).collect();
    let millicores: f64 = row[2].strip_suffix('m').unwrap().parse().unwrap();
    assert!((10.0..450.0).contains(&millicores), "{row:?}");
    assert!(cores.iter().any(|cores| (cores - millicores).abs() < 1.0), "{row:?} is not among {cores:?}");

    let chain = run(&["explain", "shop/web", "--server", &server]);
    for link in [web.uid(), web.sandbox_id(), &web.sandbox_pid().to_string(), web.host_veth().unwrap(), "cri"]
    {
        assert!(chain.contains(link), "{link} is not in\n{chain}");
    }

    let cri = format!("unix://{}", testbed.cri_socket().display());
    let direct = run(&["get", "pods", "--direct", "-o", "name", "--cri-endpoint", &cri]);
    assert!(direct.lines().any(|line| line == "pod/shop/web"), "{direct}");
    web.stop().await.unwrap();
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(PODVITALS).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podvitals {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
