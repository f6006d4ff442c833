//! `testbed`: the demonstration of `make run`, and the broom of `make clean-testbed`.

/// Seven pods with something to see, and podvitals beside them.
mod demo;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use podvitals_testbed::{BUSYBOX, Cluster, LOAD, PAUSE};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: testbed COMMAND
  run PODVITALS   start the pods of the demonstration and that podvitals on them, until Ctrl-C or for
                  DURATION seconds (environment)
  up              start the pods only, until Ctrl-C
  cluster [NAME]  start a Kubernetes cluster, until Ctrl-C; NAME ('cluster' without one) lets several
                  run side by side
  down [NAME]     take down what a killed testbed left; without a name, all of them";

/// Name of the cluster of those who give it none.
const CLUSTER: &str = "cluster";

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("testbed: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", podvitals] => {
            until_stopped(demo::NAME, demo::run(podvitals.as_ref(), demo::duration()?)).await
        }
        ["up"] => until_stopped(demo::NAME, demo::up()).await,
        ["cluster"] => until_stopped(CLUSTER, keep_cluster(CLUSTER)).await,
        ["cluster", name] => until_stopped(name, keep_cluster(name)).await,
        ["down"] => {
            for name in podvitals_testbed::clean_all().await? {
                println!("testbed '{name}' is gone");
            }
            Ok(())
        }
        ["down", name] => podvitals_testbed::clean(name).await,
        ["guard", name] => podvitals_testbed::stand_guard(name).await,
        _ => bail!("{USAGE}"),
    }
}

/// A cluster for work by hand.
async fn keep_cluster(name: &str) -> Result<()> {
    let cluster = Cluster::start_telling(name, |step| eprintln!("==> {step}")).await?;
    let (host, port) = cluster.api_address_for_pods();
    println!(
        "
The cluster '{name}' is ready: node {node} at {host}. In another terminal:

  export KUBECONFIG={kubeconfig} PATH={tools}:$PATH
  kubectl get pods --all-namespaces

Images: {PAUSE}, {LOAD}, {BUSYBOX} (imagePullPolicy: Never). CRI endpoint: unix://{cri}
Pods reach the API server at {host}:{port} (there is no kube-proxy). Static pods: {manifests}
Ctrl-C ends it and removes everything.
",
        node = cluster.node_name(),
        kubeconfig = cluster.kubeconfig().display(),
        tools = cluster.tools().display(),
        cri = cluster.testbed().cri_socket().display(),
        manifests = cluster.static_pod_dir().display(),
    );
    std::future::pending().await
}

/// Ctrl-C, a closed terminal and `kill` end the work at whatever step it is; then everything is taken
/// down, also what a step had only half made.
async fn until_stopped(name: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let result = tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    // The handlers stay and nobody listens to them any more: a second Ctrl-C cannot cut this short.
    eprintln!("\n==> taking everything down");
    result.and(podvitals_testbed::clean(name).await)
}
