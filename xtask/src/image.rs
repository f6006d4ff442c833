//! `cargo xtask image`: podvitals and nothing else in an image, the same bytes each time.
//!
//! # Why static glibc
//! A program with glibc inside needs no toolchain but the one everybody has, and resolves names without
//! a loader, a shared library or an `nsswitch.conf`. The price is one target: the host's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use podvitals_image::{Layer, Value, json, oci_archive};

use crate::{repository, target};

/// Where it is found; the tag is the version.
const NAME: &str = "ghcr.io/podvitals/podvitals";

/// The largest image we ship: every node of a cluster pulls it at the same moment.
const LARGEST: usize = 8_000_000;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What was asked for.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) output: Option<PathBuf>,
    pub(crate) binary: Option<PathBuf>,
    pub(crate) check: bool,
}

/// Builds, writes, and says where.
pub(crate) fn run(order: &Order) -> Result<()> {
    let source = Source::read()?;
    let binary = match &order.binary {
        Some(binary) => binary.clone(),
        None => build(&source, &target().join("image"))?,
    };
    let image = write(&source, &binary)?;
    if order.check {
        ensure!(order.binary.is_none(), "--check builds twice, --binary not once");
        let elsewhere = target().join("image-check");
        let again = write(&source, &build(&source, &elsewhere)?)?;
        ensure!(image == again, "two builds differ: see {} and {}", binary.display(), elsewhere.display());
        eprintln!("image: the same bytes twice");
    }
    let output = match &order.output {
        Some(output) => std::path::absolute(output).with_context(|| output.display().to_string())?,
        None => target().join("podvitals-image.tar"),
    };
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(&output, &image).with_context(|| output.display().to_string())?;
    eprintln!("image: {:.1} MB", image.len() as f64 / 1e6);
    println!("{}\n{}", source.name(), output.display());
    Ok(())
}

/// What the image is made from, and what it says of itself.
struct Source {
    version: &'static str,
    commit: String,
    /// Of everything in it, in seconds after 1970.
    epoch: u64,
}

impl Source {
    fn read() -> Result<Self> {
        let commit = std::env::var("PODVITALS_GIT_COMMIT").ok().or_else(git_commit);
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().with_context(|| format!("SOURCE_DATE_EPOCH={text:?}"))?,
            Err(_) => 0,
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            epoch,
        })
    }

    fn name(&self) -> String {
        format!("{NAME}:{}", self.version)
    }

    fn created(&self) -> String {
        rfc3339(self.epoch)
    }
}

/// `None` where this is no checkout. A tree with changes is not the commit it started from.
fn git_commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(repository()).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if clean { commit } else { format!("{commit}-dirty") })
}

/// Builds the program in a target folder of its own: other flags would make Cargo build all again.
fn build(source: &Source, target: &Path) -> Result<PathBuf> {
    eprintln!("image: building podvitals {} ({})", source.version, source.commit);
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    // Where it was built is nobody's business, and differs: the longest path last, since the last wins.
    let mut folders = vec![(repository(), "/podvitals"), (target.to_owned(), "/target")];
    folders.extend(home.map(|home| (home, "/cargo")));
    folders.sort_by_key(|(folder, _)| folder.as_os_str().len());
    let mut rust = OsString::from("-Ctarget-feature=+crt-static");
    let mut c = OsString::new();
    for (folder, name) in &folders {
        rust.push("\u{1f}--remap-path-prefix=");
        c.push("-ffile-prefix-map=");
        for flags in [&mut rust, &mut c] {
            flags.push(folder);
            flags.push(format!("={name}"));
        }
        c.push(" ");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(repository())
        .args(["build", "--locked", "--release", "--target", TRIPLE, "--bin", "podvitals"])
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", rust)
        .env_remove("RUSTFLAGS")
        .env("CFLAGS", c)
        .env("PODVITALS_GIT_COMMIT", &source.commit)
        .env("PODVITALS_BUILD_DATE", source.created())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "cargo build failed");
    Ok(target.join(TRIPLE).join("release/podvitals"))
}

/// The whole image as the bytes of a tar file.
fn write(source: &Source, binary: &Path) -> Result<Vec<u8>> {
    let layer = Layer::new(source.epoch)
        .own_folder("etc")?
        .file("etc/passwd", b"root:x:0:0:root:/:/\npodvitals:x:65532:65532:podvitals:/:/\n")?
        .file("etc/group", b"root:x:0:\npodvitals:x:65532:\n")?
        .program("podvitals", binary, "cargo xtask image, which builds it statically")?
        .folder("tmp")?
        .finish()?;
    let image = oci_archive(&source.name(), &layer, &config(source), &source.created())?;
    if image.len() >= LARGEST {
        bail!("the image has {} bytes, {LARGEST} or more: what grew?", image.len());
    }
    Ok(image)
}

/// What glibc's allocator is told. With an arena for each thread, what one frees another does not get; and left to
/// itself it keeps the places of documents that are gone, where a mapping goes back to the kernel at once. The bench
/// of memory sets the same: `benches/memory.rs`.
///
/// <https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html>
const ALLOCATOR: [&str; 2] = ["MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=131072"];

fn config(source: &Source) -> Value {
    json!({
        "User": "65532:65532",
        "Env": ALLOCATOR,
        "Entrypoint": ["/podvitals"],
        "Cmd": ["serve"],
        "WorkingDir": "/",
        "ExposedPorts": { "9791/tcp": {} },
        "Labels": {
            "org.opencontainers.image.title": "podvitals",
            "org.opencontainers.image.description": "The vital signs of every pod on a Kubernetes node",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.source": "https://github.com/podvitals/podvitals",
            "org.opencontainers.image.url": "https://github.com/podvitals/podvitals",
            "org.opencontainers.image.vendor": "podvitals",
            "org.opencontainers.image.version": source.version,
            "org.opencontainers.image.revision": source.commit,
            "org.opencontainers.image.created": source.created(),
        },
    })
}

/// `1970-01-01T00:00:00Z`, by Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The year starts in March here, so that the leap day is its last.
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(epoch: u64) -> Source {
        Source { version: "1.2.3", commit: "abc".to_owned(), epoch }
    }

    /// The least that passes for a static program: an ELF header without program headers.
    fn program(folder: &Path) -> PathBuf {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let path = folder.join("program");
        fs::write(&path, elf).unwrap();
        path
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("podvitals-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_same_program_gives_the_same_image() {
        let folder = folder("same");
        let program = program(&folder);
        let (once, again) = (write(&source(0), &program).unwrap(), write(&source(0), &program).unwrap());
        let later = write(&source(1), &program).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(once == again);
        assert!(once != later);
    }

    #[test]
    fn a_program_that_needs_a_loader_is_refused() {
        let own = std::env::current_exe().unwrap();
        let error = format!("{:#}", write(&source(0), &own).unwrap_err());
        assert!(error.contains("is linked dynamically"), "{error}");
    }

    #[test]
    fn an_image_that_is_too_large_is_refused() {
        let folder = folder("large");
        let path = program(&folder);
        let mut elf = fs::read(&path).unwrap();
        // Noise does not compress: xorshift, so that it is the same noise each time.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..LARGEST / 8 + 1024 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            elf.extend(state.to_le_bytes());
        }
        fs::write(&path, elf).unwrap();
        let error = write(&source(0), &path).unwrap_err().to_string();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("what grew?"), "{error}");
    }

    #[test]
    fn it_runs_as_nobody_we_know_and_serves() {
        let config = config(&source(0));
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["Env"], json!(ALLOCATOR));
        assert_eq!(config["Entrypoint"], json!(["/podvitals"]));
        assert_eq!(config["Cmd"], json!(["serve"]));
        assert_eq!(config["Labels"]["org.opencontainers.image.version"], "1.2.3");
    }

    #[test]
    fn moments_are_written_as_everybody_does() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_222_923, "2026-11-21T01:02:03Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
