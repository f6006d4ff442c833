//! `cargo xtask`: what is made from this repository besides the program.
//!
//! Progress goes to stderr; what a script wants to know, to stdout.

mod chart;
mod image;
mod values;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask image [--output PATH] [--binary PATH] [--check]
       cargo xtask chart [--check]

image   builds the program statically and writes its image as a tar file (OCI image layout); prints the
        image's name and the file's path as its last two lines
        --output PATH   where to, instead of podvitals-image.tar in the target folder
        --binary PATH   take this program and build none
        --check         build it again in another folder and fail unless the bytes are the same
chart   writes what is generated: the chart's README.md, manifests/, the golden renders of ci/*-values.yaml
        --check         write nothing and fail with what differs";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = Arguments(arguments.into());
    match arguments.0.pop_front().as_deref() {
        Some("image") => {
            let mut order = image::Order::default();
            while let Some(flag) = arguments.0.pop_front() {
                match flag.as_str() {
                    "--output" => order.output = Some(arguments.path(&flag)?),
                    "--binary" => order.binary = Some(arguments.path(&flag)?),
                    "--check" => order.check = true,
                    _ => bail!("unknown argument {flag}\n{USAGE}"),
                }
            }
            image::run(&order)
        }
        Some("chart") => {
            let check = match arguments.0.pop_front().as_deref() {
                None => false,
                Some("--check") if arguments.0.is_empty() => true,
                Some(flag) => bail!("unknown argument {flag}\n{USAGE}"),
            };
            chart::run(check)
        }
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("what is to be made?\n{USAGE}"),
    }
}

struct Arguments(std::collections::VecDeque<String>);

impl Arguments {
    fn path(&mut self, flag: &str) -> Result<PathBuf> {
        Ok(self.0.pop_front().with_context(|| format!("{flag} wants a path"))?.into())
    }
}

/// The folder of the repository: as Cargo says now, since a target folder that two checkouts share may hold
/// the other's build.
fn repository() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    // `xtask/` lies in it.
    Path::new(&own).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where Cargo puts what it builds.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => repository().join("target"),
    }
}
