//! Runs each target on mutations of its corpus for some seconds. `fuzz [SECONDS] [TARGET…]`, or the
//! environment's `FUZZ_SECONDS`; `FUZZ_SEED` repeats a run.
//!
//! # Why no coverage
//! Guided fuzzers want a compiler of their own or a C++ one. This needs what builds podvitals and nothing
//! else; the price is that it finds its way by the corpus, a dictionary and chance alone. The targets are
//! plain functions of bytes: any fuzzer can be put in front of them.

#![allow(clippy::disallowed_types, reason = "a target runs for so long by everybody's clock")]

mod mutate;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::{Random, mutate};
use podvitals::fuzzing::{TARGETS, Target};
use podvitals::host::clock::thread_cpu_nanos;

/// No input may take a processor longer, invariants included; `FUZZ_SLOWEST_MILLISECONDS` for a build
/// without optimisation. The longest input is 8 KiB: a microsecond and more a byte is no parser's need.
const SLOWEST_MILLISECONDS: u64 = 10;

fn slowest() -> Duration {
    Duration::from_millis(variable("FUZZ_SLOWEST_MILLISECONDS").unwrap_or(SLOWEST_MILLISECONDS))
}

/// Mutations of mutations are kept so many generations deep, now and then.
const KEPT: usize = 256;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.first().and_then(|first| first.parse().ok()) {
        Some(seconds) => {
            arguments.remove(0);
            seconds
        }
        None => variable("FUZZ_SECONDS").unwrap_or(60),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = variable("FUZZ_SEED").unwrap_or(now.as_secs());
    if let Some(unknown) = arguments.iter().find(|name| TARGETS.iter().all(|target| target.name != **name)) {
        eprintln!("fuzz: no target {unknown}");
        return ExitCode::FAILURE;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = |target: &&Target| arguments.is_empty() || arguments.iter().any(|name| name == target.name);
    let mut failed = false;
    for target in TARGETS.iter().filter(wanted) {
        failed |= !run(target, Duration::from_secs(seconds), seed);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What went wrong with an input, if anything.
fn trouble(target: &Target, input: &[u8]) -> Option<String> {
    let started = thread_cpu_nanos();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = Duration::from_nanos(thread_cpu_nanos() - started);
    match outcome {
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            Some(text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned())
        }
        // The first to come makes what all use: only what is slow three times in a row is slow.
        Ok(()) if took > slowest() && (0..2).all(|_| is_slow(target, input)) => {
            Some(format!("took {took:?}"))
        }
        Ok(()) => None,
    }
}

fn is_slow(target: &Target, input: &[u8]) -> bool {
    let started = thread_cpu_nanos();
    (target.run)(input);
    Duration::from_nanos(thread_cpu_nanos() - started) > slowest()
}

fn run(target: &Target, time: Duration, seed: u64) -> bool {
    let mut inputs: Vec<Vec<u8>> = fs::read_dir(folder().join("corpus").join(target.name))
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read(entry.ok()?.path()).ok())
        .collect();
    inputs.sort();
    let seeds = inputs.len();
    if seeds == 0 {
        println!("{:16} has no corpus", target.name);
        return false;
    }
    let mut random = Random::new(seed);
    let started = Instant::now();
    // What a person typed or a machine wrote holds as it is, before anything is done to it.
    for known in &inputs {
        if let Some(what) = trouble(target, known) {
            println!("{:16} FAILED on its corpus: {what}\n  {}", target.name, save(target, known).display());
            return false;
        }
    }
    let mut runs: u64 = 0;
    let mut input = Vec::new();
    while started.elapsed() < time {
        input.clone_from(&inputs[random.below(inputs.len())]);
        let other = random.below(inputs.len());
        mutate(&mut input, &inputs[other], &mut random);
        if let Some(what) = trouble(target, &input) {
            let least = minimise(target, input);
            let path = save(target, &least);
            println!(
                "{:16} FAILED after {runs} runs, seed {seed}: {what}\n  {}",
                target.name,
                path.display()
            );
            return false;
        }
        runs += 1;
        if runs.is_multiple_of(64) {
            if inputs.len() < seeds + KEPT {
                inputs.push(input.clone());
            } else {
                let at = seeds + random.below(KEPT);
                inputs[at].clone_from(&input);
            }
        }
    }
    println!("{:16} {runs} runs in {} s, {seeds} seeds, seed {seed}", target.name, time.as_secs());
    true
}

/// Takes away what the failure does not need: ever smaller pieces, as long as it still fails.
fn minimise(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            if trouble(target, &less).is_some() { input = less } else { at += piece }
        }
        piece /= 2;
    }
    input
}

fn save(target: &Target, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let at = folder().join("failures");
    let path = at.join(format!("{}-{:016x}", target.name, hasher.finish()));
    let saved = fs::create_dir_all(&at).and_then(|()| fs::write(&path, input));
    if let Err(error) = saved {
        println!("{}: {error}: {input:?}", path.display());
    }
    path
}
