//! Which processes live in which cgroup, where `cgroup.procs` does not say.
//!
//! Outside the host's pid namespace `cgroup.procs` is empty (v1) or prints 0 (v2), while
//! `/proc/<pid>/cgroup` of the host's `/proc` stays readable for everybody. So while a container has
//! no process yet, its id is looked for in all of them: `/proc/4242/cgroup` with a line
//! `4:memory:/kubepods/burstable/pod5f0a…/3c9d…`.
//!
//! # Why a process is looked at more than once
//! Listing thousands of processes is cheap, reading a file of each is not, so what was read is kept.
//! But a runtime starts a process in its own cgroup and moves it milliseconds later: whoever looks
//! once, at the wrong moment, never finds it. A process is therefore looked at again whenever the
//! time since it was first seen has doubled. One that moves at age *t* is found by age 2 *t*, and an
//! old process costs next to nothing.
//!
//! # Why the inode of the directory is enough to know a process
//! The listing gives it for free. `/proc` takes a new number for each directory it makes up, so a pid
//! that was given again has another one; so has a process whose entry the kernel dropped for lack of
//! memory, which merely is looked at once more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::process::CgroupLines;
use super::{HostError, HostRoot, clock, read, syscall, text};
use crate::model::time::Monotonic;

/// Age at which a process is looked at for the second time.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// What is known of the cgroups of all processes. Ask only while something is sought: each
/// [`Self::update`] lists `/proc`.
#[derive(Debug, Default)]
pub struct ProcScan {
    processes: HashMap<u32, Seen>,
    /// Processes of one cgroup share one copy of the text.
    texts: HashSet<Arc<str>>,
    round: u64,
}

#[derive(Debug)]
struct Seen {
    inode: u64,
    first_seen: Monotonic,
    look_again: Monotonic,
    cgroup: Arc<str>,
    /// The last round in which it was listed.
    round: u64,
}

impl ProcScan {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists all processes and reads the `cgroup` of those that are new or due for another look.
    ///
    /// # Errors
    /// If `/proc` cannot be listed. One process that cannot be read spoils nothing.
    pub fn update(&mut self, root: &HostRoot) -> Result<(), HostError> {
        self.update_at(root, clock::monotonic()).map_err(|errno| HostError::from_io(&root.proc, errno.into()))
    }

    /// Processes of which any line of `cgroup` is `wanted`, in the order of their pids; from memory.
    pub fn known(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<u32> {
        let hits: HashSet<&str> =
            self.texts.iter().map(AsRef::as_ref).filter(|text| text.lines().any(wanted)).collect();
        let of_a_hit = |(pid, seen): (&u32, &Seen)| hits.contains(&*seen.cgroup).then_some(*pid);
        let mut pids: Vec<u32> = self.processes.iter().filter_map(of_a_hit).collect();
        pids.sort_unstable();
        pids
    }

    fn update_at(&mut self, root: &HostRoot, now: Monotonic) -> Result<(), Errno> {
        let proc = syscall::open(&root.proc, syscall::LIST)?;
        self.round += 1;
        let mut entries = Vec::with_capacity(32 << 10);
        let mut cgroup = Vec::new();
        syscall::each_entry(&proc, entries.spare_capacity_mut(), |entry| {
            let Some(pid) = text::parse_u32(entry.file_name().to_bytes()) else { return };
            let inode = entry.ino();
            if !self.is_due(pid, inode, now) {
                return;
            }
            match read::read_at(&proc, format!("{pid}/cgroup"), &mut cgroup) {
                Ok(()) => self.remember(pid, inode, now, &cgroup),
                Err(Errno::NOENT | Errno::SRCH) => {} // It ended between the listing and the look.
                Err(_) => self.remember(pid, inode, now, b""),
            }
        })?;
        let round = self.round;
        self.processes.retain(|_, seen| seen.round == round);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        Ok(())
    }

    /// Marks a known process as still listed, and says whether it must be looked at.
    fn is_due(&mut self, pid: u32, inode: u64, now: Monotonic) -> bool {
        let round = self.round;
        match self.processes.get_mut(&pid) {
            Some(seen) if seen.inode == inode => {
                seen.round = round;
                seen.look_again <= now
            }
            _ => true,
        }
    }

    fn remember(&mut self, pid: u32, inode: u64, now: Monotonic, cgroup: &[u8]) {
        let cgroup = self.share(cgroup);
        let same = self.processes.get(&pid).filter(|seen| seen.inode == inode);
        let first_seen = same.map_or(now, |seen| seen.first_seen);
        let age = now.since(first_seen).unwrap_or_default();
        let look_again = now.plus(age.max(SECOND_LOOK));
        self.processes.insert(pid, Seen { inode, first_seen, look_again, cgroup, round: self.round });
    }

    fn share(&mut self, cgroup: &[u8]) -> Arc<str> {
        let mut lines = String::with_capacity(cgroup.len());
        for line in CgroupLines::of(cgroup) {
            lines.push_str(line);
            lines.push('\n');
        }
        if let Some(known) = self.texts.get(lines.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = lines.into();
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A `/proc` of our own, in which processes come, go and move as we say.
    struct Fixture {
        root: HostRoot,
        at: PathBuf,
    }

    impl Fixture {
        fn new(name: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-scan-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            fs::create_dir_all(at.join("sys")).unwrap();
            Self { root: HostRoot { proc: at.clone(), cgroup: at.clone(), sys: at.clone() }, at }
        }

        fn put(&self, pid: u32, cgroup: &str) {
            let directory = self.at.join(pid.to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup"), cgroup).unwrap();
        }

        fn remove(&self, pid: u32) {
            fs::remove_dir_all(self.at.join(pid.to_string())).unwrap();
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.at);
        }
    }

    const fn at_millis(millis: u64) -> Monotonic {
        Monotonic::from_nanos(millis * 1_000_000)
    }

    fn ends_with(id: &'static str) -> impl Fn(&str) -> bool {
        move |line| line.ends_with(id)
    }

    #[test]
    fn processes_are_found_by_a_line_of_their_cgroup() {
        let proc = Fixture::new("found");
        proc.put(7, "4:memory:/kubepods/pod1/aaa\n0::/kubepods/pod1/aaa\n");
        proc.put(12, "4:memory:/kubepods/pod1/aaa\n0::/kubepods/pod1/aaa\n");
        proc.put(9, "0::/kubepods/pod1/bbb\n");
        let mut scan = ProcScan::new();
        scan.update(&proc.root).unwrap();
        assert_eq!(scan.known(&ends_with("/aaa")), [7, 12]);
        assert_eq!(scan.known(&ends_with("/bbb")), [9]);
        assert_eq!(scan.known(&ends_with("/ccc")), [0; 0]);
        assert_eq!(scan.texts.len(), 2);
    }

    #[test]
    fn an_old_process_is_not_read_again_and_matches_a_later_question() {
        let proc = Fixture::new("old");
        proc.put(7, "0::/pod1/aaa\n");
        let mut scan = ProcScan::new();
        scan.update_at(&proc.root, at_millis(1_000)).unwrap();
        proc.put(7, "0::/moved\n");
        scan.update_at(&proc.root, at_millis(1_019)).unwrap();
        assert_eq!(scan.known(&ends_with("/aaa")), [7]);
    }

    #[test]
    fn a_process_that_moves_at_some_age_is_found_before_it_is_twice_as_old() {
        for moves_at in [1, 15, 60, 250, 3_000] {
            let proc = Fixture::new("moves");
            proc.put(7, "0::/runtime\n");
            let mut scan = ProcScan::new();
            scan.update_at(&proc.root, at_millis(0)).unwrap();
            let mut found = None;
            for now in (5..20_000).step_by(5) {
                if now >= moves_at {
                    proc.put(7, "0::/pod1/aaa\n");
                }
                scan.update_at(&proc.root, at_millis(now)).unwrap();
                if !scan.known(&ends_with("/aaa")).is_empty() {
                    found = Some(now);
                    break;
                }
            }
            let found = found.unwrap();
            assert!(found <= (2 * moves_at).max(20) + 5, "moved at {moves_at}, found at {found}");
        }
    }

    #[test]
    fn a_pid_given_again_is_looked_at_at_once() {
        let proc = Fixture::new("again");
        proc.put(7, "0::/pod1/aaa\n");
        let mut scan = ProcScan::new();
        scan.update_at(&proc.root, at_millis(0)).unwrap();
        // Another directory of the same name must not get the inode just freed.
        fs::rename(proc.at.join("7"), proc.at.join("gone")).unwrap();
        proc.put(7, "0::/pod1/bbb\n");
        scan.update_at(&proc.root, at_millis(1)).unwrap();
        assert_eq!(scan.known(&ends_with("/aaa")), [0; 0]);
        assert_eq!(scan.known(&ends_with("/bbb")), [7]);
    }

    #[test]
    fn what_ended_is_forgotten() {
        let proc = Fixture::new("ended");
        proc.put(7, "0::/pod1/aaa\n");
        let mut scan = ProcScan::new();
        scan.update_at(&proc.root, at_millis(0)).unwrap();
        proc.remove(7);
        scan.update_at(&proc.root, at_millis(1)).unwrap();
        assert_eq!(scan.known(&|_| true), [0; 0]);
        assert!(scan.processes.is_empty() && scan.texts.is_empty());
    }

    #[test]
    fn a_proc_that_cannot_be_listed_is_an_error_and_finds_nothing() {
        let nowhere = PathBuf::from("/nonexistent");
        let root = HostRoot { proc: nowhere.clone(), cgroup: nowhere.clone(), sys: nowhere };
        let mut scan = ProcScan::new();
        assert!(scan.update(&root).unwrap_err().is_gone());
        assert_eq!(scan.known(&|_| true), [0; 0]);
    }

    #[test]
    fn this_process_is_found_in_the_real_proc() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let line = own.lines().next().unwrap().to_owned();
        let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() };
        let mut scan = ProcScan::new();
        scan.update(&root).unwrap();
        let pids = scan.known(&|candidate| candidate == line);
        assert!(pids.contains(&std::process::id()));
    }
}
