//! The only program inside the testbed's pods: it uses exactly as much CPU, network, memory and
//! disk as it was told, and says so in one JSON line. What it counted is the oracle of a test.
//!
//! It is linked statically, so that an image is one file and nothing of the machine leaks into it:
//!
//! ```text
//! load spin --duty 37 --cpu 1
//! load send 10.86.0.3 5001 --bytes 50M --receive 1M
//! {"sentBytes":50000000,"receivedBytes":1000000}
//! ```

mod arguments;
mod cpu;
mod disk;
mod enter;
mod frames;
mod graves;
mod memory;
mod tcp;
mod udp;
mod wander;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::arguments::Arguments;

const USAGE: &str = "\
usage: load COMMAND
  pause                                        what a sandbox runs: bury orphans, do nothing else
  idle [--seconds S]                           sleep, then exit 0
  spin [--duty PERCENT] [--cpu N] [--seconds S]
  serve-bytes --port P                         the other end of `send`
  send ADDRESS PORT [--bytes N] [--receive M] [--every MS]
  udp ADDRESS PORT --count N [--size BYTES]
  frames INTERFACE COUNT                       raw frames of a protocol nobody speaks
  memory [--anon SIZE] [--tmpfs PATH SIZE] [--seconds S] [--when PATH]
                                               once there is a file at that path
  write-file PATH SIZE                         through the page cache, then fsync
  read-file PATH [--times N]
  write-direct PATH SIZE [--every MS]          O_DIRECT, then fsync
  wander FOLDER                                into the netns of the process whose pid somebody writes to
                                               FOLDER/<own pid>, which it then removes
  graves DIR COUNT PATH --home CGROUP          make and remove so many cgroups in DIR, each with a page of PATH
  enter [--netns PID|new] [--cgroup DIR:…] [--users FIRST | --users-of PID] [--tell 1] -- COMMAND …
                                               become COMMAND in there; `load` is this program. `--users`:
                                               in a user namespace of its own. Told to tell, output ends
                                               when that is done, or says why not
SIZE: bytes, or with k M G (powers of 1000) or KiB MiB GiB";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut given = Arguments::from_env();
    let command = given.word("COMMAND").map_err(|_| anyhow::anyhow!(USAGE))?;
    match command.as_str() {
        "pause" => pause(),
        "idle" => {
            let seconds = given.number("--seconds")?;
            given.end()?;
            rest(seconds);
            Ok(())
        }
        "enter" => enter::enter(given),
        "graves" => graves::dig(given),
        "map-users" => enter::map_users(given),
        "spin" => cpu::spin(given),
        "serve-bytes" => tcp::serve(given),
        "send" => tcp::send(given),
        "udp" => udp::send(given),
        "wander" => wander::wander(given),
        "frames" => frames::send(given),
        "memory" => memory::hold(given),
        "write-file" => disk::write_file(given),
        "read-file" => disk::read_file(given),
        "write-direct" => disk::write_direct(given),
        _ => bail!("no command '{command}'\n{USAGE}"),
    }
}

/// An orphan waits at most half a minute for its burial: waking more often would make an idle pod busy.
fn pause() -> Result<()> {
    loop {
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
        std::thread::sleep(Duration::from_secs(30));
    }
}

/// Sleeps that long; for ever without a number.
fn rest(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
        None => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}
