//! The program the pods run, `testbed/load`, built statically.
//!
//! It has a target directory of its own: other flags in the common one would make cargo build the
//! workspace anew at every change between the two.

use std::path::{Path, PathBuf};

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

/// Names one that is already built, for machines without cargo.
const READY: &str = "PODVITALS_TESTBED_LOAD";

/// Builds the program if need be and returns its path.
pub(crate) async fn build() -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os(READY) {
        return Ok(ready.into());
    }
    let (cargo, program) = recipe()?;
    let output = tokio::process::Command::from(cargo).output().await.context("cargo")?;
    built(&output, program)
}

/// The same for those who do not wait in tokio, and ask for each pod: cargo takes a tenth of a second to
/// find that there is nothing to do, and lets nobody else look meanwhile.
pub(crate) fn build_now() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(ready) = std::env::var_os(READY) {
        return Ok(ready.into());
    }
    let mut known = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = &*known {
        return Ok(program.clone());
    }
    let (mut cargo, program) = recipe()?;
    let program = built(&cargo.output().context("cargo")?, program)?;
    *known = Some(program.clone());
    Ok(program)
}

/// What builds the program, and where it is then.
fn recipe() -> Result<(Command, PathBuf)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = workspace.join(target).join("testbed-load");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        // With --target the flags do not reach build scripts and macros, which cannot be static.
        .args(["build", "--quiet", "--locked", "--release", "--package", "podvitals-load", "--bin", "load"])
        .args(["--target", &triple])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    Ok((command, target.join(triple).join("release/load")))
}

fn built(output: &Output, program: PathBuf) -> Result<PathBuf> {
    ensure!(
        output.status.success(),
        "cargo build of the load program: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(program)
}
