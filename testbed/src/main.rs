//! `testbed`: the demonstration of `make run`, and the broom of `make clean-testbed`.

/// Seven pods with something to see, and podvitals beside them.
mod demo;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: testbed COMMAND
  run PODVITALS   start the pods of the demonstration and that podvitals on them, until Ctrl-C or for
                  DURATION seconds (environment)
  up              start the pods only, until Ctrl-C
  down [NAME]     take down what a killed testbed left; without a name, all of them";

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
        ["run", podvitals] => until_stopped(demo::run(podvitals.as_ref(), demo::duration()?)).await,
        ["up"] => until_stopped(demo::up()).await,
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

/// Ctrl-C, a closed terminal and `kill` end the work at whatever step it is; then everything is taken
/// down, also what a step had only half made.
async fn until_stopped(work: impl Future<Output = Result<()>>) -> Result<()> {
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
    result.and(podvitals_testbed::clean(demo::NAME).await)
}
