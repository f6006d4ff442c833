//! For tests: makes one system call of this thread fail, or lets something happen right before it.
//!
//! ```text
//! record(|| sampler.sweep(…))            every call in order: pread …/memory.stat
//! at(17, Fault::Errno(EIO), || …)        the same again, but the 17th call fails
//! ```

use std::cell::RefCell;
use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// What happens at one call.
pub(crate) enum Fault {
    /// It fails with this.
    Errno(Errno),
    /// If it reads: only the first half arrives.
    ShortRead,
    /// If it reads: the row in the middle breaks off, and the next one follows on the same line.
    TornRow,
    /// This happens first; the call is then made.
    Before(Box<dyn FnOnce()>),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => write!(f, "{errno:?}"),
            Self::ShortRead => f.write_str("short read"),
            Self::TornRow => f.write_str("torn row"),
            Self::Before(_) => f.write_str("something happens before"),
        }
    }
}

/// One call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// The kernel's name for it.
    pub(crate) kind: &'static str,
    /// What it was about.
    pub(crate) path: String,
}

impl Made {
    /// Whether it reads bytes.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.kind, "read" | "pread")
    }
}

/// Every way in which it can fail.
pub(crate) fn ways_to_fail(call: &Made) -> Vec<Fault> {
    use Errno as E;
    let errors = [E::NOENT, E::NODEV, E::SRCH, E::IO, E::ACCESS, E::PERM, E::MFILE, E::NOMEM, E::INTR];
    let errors = errors.into_iter().map(Fault::Errno);
    if call.reads() { errors.chain([Fault::ShortRead, Fault::TornRow]).collect() } else { errors.collect() }
}

#[derive(Default)]
struct Plan {
    calls: Vec<Made>,
    /// All paths are wanted.
    records: bool,
    /// At which call, counted from 0, and what.
    fault: Option<(usize, Fault)>,
    /// The call under way is to be tampered with when its bytes arrive.
    tamper: Option<Fault>,
    /// Whether the fault happened.
    struck: bool,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// Runs `work` and lists the calls it made.
pub(crate) fn record<T>(work: impl FnOnce() -> T) -> (T, Vec<Made>) {
    let (value, plan) = with(Plan { records: true, ..Plan::default() }, work);
    (value, plan.calls)
}

/// Runs `work` with a fault at its call number `position`, counted from 0, and lists the calls it made,
/// of the others without their paths; whether the fault did anything is told as well: a read of nothing cannot be cut short.
pub(crate) fn at<T>(position: usize, fault: Fault, work: impl FnOnce() -> T) -> (T, Vec<Made>, bool) {
    let (value, plan) = with(Plan { fault: Some((position, fault)), ..Plan::default() }, work);
    (value, plan.calls, plan.struck)
}

fn with<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, Plan) {
    let nested = PLAN.replace(Some(plan));
    assert!(nested.is_none(), "one plan at a time");
    let value = work();
    let plan = PLAN.take();
    (value, plan.unwrap_or_default())
}

/// To be asked before each call.
pub(super) fn before(kind: &'static str, path: &dyn Fn() -> String) -> Result<(), Errno> {
    // Taken out meanwhile: what happens before the call may itself make calls.
    let Some(mut plan) = PLAN.take() else { return Ok(()) };
    let position = plan.calls.len();
    let strikes = plan.fault.as_ref().is_some_and(|(at, _)| *at == position);
    // To ask for a path costs more than most calls: only that of the call that matters is.
    let path = if strikes || plan.records { path() } else { String::new() };
    plan.calls.push(Made { kind, path });
    let mut answer = Ok(());
    plan.tamper = None;
    if strikes {
        match plan.fault.take() {
            Some((_, Fault::Errno(errno))) => {
                plan.struck = true;
                answer = Err(errno);
            }
            Some((_, Fault::Before(happens))) => {
                plan.struck = true;
                happens();
            }
            other => plan.tamper = other.map(|(_, fault)| fault),
        }
    }
    PLAN.replace(Some(plan));
    answer
}

/// To be asked when `count` bytes were read; says how many of them there are. Of a file that is read
/// on from where the last read ended, what did not arrive is still to come.
pub(super) fn arrived(file: Option<BorrowedFd<'_>>, bytes: &mut [u8], count: usize) -> usize {
    PLAN.with_borrow_mut(|plan| {
        let Some(plan) = plan else { return count };
        let kept = match plan.tamper.take() {
            Some(Fault::ShortRead) => {
                let held_back = i64::try_from(count - count / 2).unwrap_or(0);
                if let Some(file) = file {
                    let _ = rustix::fs::seek(file, SeekFrom::Current(-held_back));
                }
                count / 2
            }
            Some(Fault::TornRow) => tear(&mut bytes[..count]),
            _ => return count,
        };
        plan.struck |= kept != count;
        kept
    })
}

/// Takes the second half of the row in the middle away, its end included, as kernels do that print a
/// row in pieces: the next row follows on the same line.
fn tear(text: &mut [u8]) -> usize {
    let rows = text.iter().filter(|&&byte| byte == b'\n').count();
    let mut ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let start = if rows < 2 { 0 } else { ends.nth(rows / 2 - 1).map_or(0, |end| end + 1) };
    let end =
        text[start..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |length| start + length);
    let rest = (end + 1).min(text.len());
    let cut = start + (end - start) / 2;
    text.copy_within(rest.., cut);
    text.len() - (rest - cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::syscall;

    fn read(path: &std::path::Path) -> Result<Vec<u8>, Errno> {
        syscall::contents(path)
    }

    fn file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("podvitals-fault-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn each_call_is_listed_and_each_can_fail_once() {
        let path = file("each", "a 1\n");
        let (text, calls) = record(|| read(&path));
        assert_eq!(text.unwrap(), b"a 1\n");
        let kinds: Vec<_> = calls.iter().map(|call| call.kind).collect();
        assert_eq!(kinds, ["openat", "read", "read"]);
        assert!(calls.iter().all(|call| call.path == path.display().to_string()), "{calls:?}");
        for position in 0..calls.len() {
            let (text, _, struck) = at(position, Fault::Errno(Errno::IO), || read(&path));
            assert_eq!((text, struck), (Err(Errno::IO), true));
        }
        assert_eq!(read(&path).unwrap(), b"a 1\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let path = file("again", "a 1\n");
        let (text, calls, struck) = at(1, Fault::Errno(Errno::INTR), || read(&path));
        assert_eq!((text.unwrap().as_slice(), calls.len(), struck), (&b"a 1\n"[..], 4, true));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn bytes_are_held_back_or_torn() {
        let path = file("torn", "a 10\nb 20\nc 30\n");
        let mut buffer = [0; 64];
        let descriptor = syscall::open(&path, syscall::READ).unwrap();
        let (count, ..) = at(0, Fault::ShortRead, || syscall::read_over(&descriptor, &mut buffer));
        assert_eq!(&buffer[..count.unwrap()], b"a 10\nb ");
        let (count, ..) = at(0, Fault::TornRow, || syscall::read_over(&descriptor, &mut buffer));
        assert_eq!(&buffer[..count.unwrap()], b"a 10\nb c 30\n");
        std::fs::write(&path, "1234\n").unwrap();
        let (count, ..) = at(0, Fault::TornRow, || syscall::read_over(&descriptor, &mut buffer));
        assert_eq!(&buffer[..count.unwrap()], b"12");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn something_may_happen_right_before_a_call() {
        let path = file("before", "a 1\n");
        let gone = path.clone();
        let remove = Fault::Before(Box::new(move || std::fs::remove_file(gone).unwrap()));
        let (text, ..) = at(0, remove, || read(&path));
        assert_eq!(text, Err(Errno::NOENT));
    }
}
