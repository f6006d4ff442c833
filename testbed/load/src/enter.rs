//! Goes into cgroups, a user namespace and a netns, then becomes another program: what a runtime's `init`
//! does for a container, so that nothing the program ever does is counted anywhere else.
//!
//! ```text
//! load enter --cgroup /sys/fs/cgroup/kubepods/podX/Y --netns new -- load pause
//! load enter --users 100000 --netns new -- load pause
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::arguments::Arguments;

/// This program, also for a user who may not go where its file is.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// As many users as the kubelet gives each pod that has users of its own.
const USERS: u32 = 65_536;

/// Where the other program is to be.
struct There {
    cgroups: String,
    netns: Option<String>,
    /// A user namespace of its own, whose users are those of the host from this one on.
    users: Option<u32>,
    /// The user namespace of a process.
    users_of: Option<String>,
}

pub(crate) fn enter(mut given: Arguments) -> Result<()> {
    let command = given.command()?;
    let tell: Option<u8> = given.number("--tell")?;
    let there = There {
        cgroups: given.text("--cgroup")?.unwrap_or_default(),
        netns: given.text("--netns")?,
        users: given.number("--users")?,
        users_of: given.text("--users-of")?,
    };
    given.end()?;
    if tell.is_none() {
        return become_there(&command, &there);
    }
    // The kernel closes it when we are the other program.
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).context("output")?;
    let nobody = File::options().write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stdout(&nobody).context("output")?;
    let failed = become_there(&command, &there);
    if let Err(error) = &failed {
        let _ = File::from(listener).write_all(format!("{error:#}").as_bytes());
    }
    failed
}

/// Returns only if it fails.
fn become_there(command: &[String], there: &There) -> Result<()> {
    let (program, arguments) = command.split_first().context("COMMAND missing")?;
    // Not commas: `/sys/fs/cgroup/cpu,cpuacct` has one.
    for folder in there.cgroups.split(':').filter(|folder| !folder.is_empty()) {
        let procs = Path::new(folder).join("cgroup.procs");
        // 0 is whoever writes it.
        fs::write(&procs, "0").with_context(|| procs.display().to_string())?;
    }
    // First the users: a netns belongs to those who make it.
    match (there.users, &there.users_of) {
        (Some(first), _) => new_users(first)?,
        (None, Some(pid)) => join(pid, "user", LinkNameSpaceType::User)?,
        (None, None) => {}
    }
    let others = there.users.is_some() || there.users_of.is_some();
    if others {
        become_their_root()?;
    }
    match there.netns.as_deref() {
        None => {}
        Some("new") => unshare(UnshareFlags::NEWNET).context("cannot make a netns")?,
        Some(pid) => join(pid, "net", LinkNameSpaceType::Network)?,
    }
    let mut next = match program.as_str() {
        "load" if others => Command::new(OWN_PROGRAM),
        "load" => Command::new(std::env::current_exe().context("own program")?),
        program => Command::new(program),
    };
    Err(next.args(arguments).exec()).with_context(|| program.clone())
}

/// Goes into a user namespace of its own. Who is who in there only one outside may say, for more than one
/// user: a second process of ours, which waits until we are inside.
fn new_users(first: u32) -> Result<()> {
    let mut outside = Command::new(OWN_PROGRAM)
        .args(["map-users", &std::process::id().to_string(), &first.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .context("a process outside")?;
    let inside = unshare(UnshareFlags::NEWUSER).context("cannot make a user namespace");
    if inside.is_err() {
        // It has nothing to map, and says so if it is told to.
        let _ = outside.kill();
    }
    drop(outside.stdin.take());
    let mapped = outside.wait().context("a process outside")?;
    inside?;
    ensure!(mapped.success(), "users cannot be mapped");
    Ok(())
}

/// Into the netns of a process.
pub(crate) fn join_netns(pid: &str) -> Result<()> {
    join(pid, "net", LinkNameSpaceType::Network)
}

/// The process outside: its input ends when the other is inside.
pub(crate) fn map_users(mut given: Arguments) -> Result<()> {
    let pid: u32 = given.word_number("PID")?;
    let first: u32 = given.word_number("FIRST")?;
    given.end()?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("input")?;
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, format!("0 {first} {USERS}")).with_context(|| path.clone())?;
    }
    Ok(())
}

/// Root of the user namespace we are in, who is nobody special outside.
fn become_their_root() -> Result<()> {
    rustix::thread::set_thread_groups(&[]).context("groups")?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).context("group")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).context("user")
}

#[expect(unsafe_code, reason = "rustix marks every unshare unsafe, for the one of the table of descriptors")]
fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: new namespaces of these kinds leave the descriptors where they are.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Joins a namespace of that process.
fn join(pid: &str, namespace: &str, kind: LinkNameSpaceType) -> Result<()> {
    let path = format!("/proc/{pid}/ns/{namespace}");
    let file = File::open(&path).with_context(|| path.clone())?;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind))
        .with_context(|| format!("cannot join {path}"))
}
