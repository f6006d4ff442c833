//! Tests that share one stage and run one after the other: two of them at once would disturb each
//! other's figures. A test that panics fails alone; the stage is taken down in any case.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

/// A test under way.
pub type Outcome = Pin<Box<dyn Future<Output = ()>>>;

/// One test: its name, and what it does on the stage.
pub struct Test<S> {
    /// `module::function`.
    pub name: &'static str,
    /// The test.
    pub run: fn(Arc<S>) -> Outcome,
}

/// Lists tests by their paths: `tests![network::bytes_are_equal, cpu::rates_agree]`.
#[macro_export]
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$($crate::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |stage| Box::pin($module::$name(stage)),
        }),*]
    };
}

/// What is shared by the tests of a suite.
pub trait Stage: Sized {
    /// Takes everything down.
    fn strike(self) -> impl Future<Output = anyhow::Result<()>>;
}

/// Runs the tests whose name contains the first argument that is no flag, all of them without one.
pub async fn run<S: Stage>(set: impl Future<Output = anyhow::Result<S>>, tests: &[Test<S>]) -> ExitCode {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> = tests.iter().filter(|test| test.name.contains(&only)).collect();
    if chosen.is_empty() {
        eprintln!("no test's name contains '{only}'");
        return ExitCode::FAILURE;
    }
    let begun = Instant::now();
    let stage = match set.await {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("the stage could not be set: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("stage set ({:.1} s)", begun.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for test in &chosen {
        let begun = Instant::now();
        let result = AssertUnwindSafe((test.run)(stage.clone())).catch_unwind().await;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{} {} ({seconds:.1} s)", if result.is_ok() { "ok    " } else { "FAILED" }, test.name);
        if result.is_err() {
            failed.push(test.name);
        }
    }
    let Ok(stage) = Arc::try_unwrap(stage) else {
        eprintln!("a test still holds the stage");
        return ExitCode::FAILURE;
    };
    if let Err(error) = stage.strike().await {
        eprintln!("the stage could not be struck: {error:#}");
        return ExitCode::FAILURE;
    }
    println!(
        "{} tests, {} failed{}",
        chosen.len(),
        failed.len(),
        failed.iter().map(|name| format!("\n  {name}")).collect::<String>()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
