//! The podvitals that is process 1 of our own pid namespace, and the words it was started with.
//!
//! That is how a pod looks to whoever is let into it with `kubectl exec`: the daemon is process 1, and its
//! flags are seen nowhere else. A process 1 that runs another file is somebody else's, the host's own for
//! one: what that was told is not for us.

use std::path::Path;

use crate::host::syscall;

/// What process 1 was started with, the program's name first; `None` if it is not the program we are.
pub fn arguments_of_process_1() -> Option<Vec<String>> {
    arguments(Path::new("/proc/1"), Path::new("/proc/self"))
}

/// `/proc/<pid>/cmdline`: each word, and a NUL after it.
fn arguments(first: &Path, own: &Path) -> Option<Vec<String>> {
    let program = |process: &Path| syscall::read_link(process.join("exe")).ok();
    if program(first)? != program(own)? {
        return None;
    }
    let line = syscall::contents(first.join("cmdline")).ok()?;
    let words = line.strip_suffix(b"\0")?.split(|&byte| byte == 0);
    words.map(|word| String::from_utf8(word.to_vec()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    /// Two processes of these programs, the first told `line`.
    fn told(programs: [&str; 2], line: &str) -> Option<Vec<String>> {
        let node = Node::new();
        node.write("proc/1/cmdline", line);
        node.make("proc/2");
        for (pid, program) in (1..).zip(programs) {
            node.link(program, &format!("proc/{pid}/exe"));
        }
        arguments(&node.path("proc/1"), &node.path("proc/2"))
    }

    #[test]
    fn the_words_of_the_same_program_are_told_and_of_no_other() {
        let line = "/podvitals\0serve\0--interval\x00500ms\0--node-name\0\0";
        let words = told(["/podvitals", "/podvitals"], line).unwrap();
        assert_eq!(words, ["/podvitals", "serve", "--interval", "500ms", "--node-name", ""]);
        assert_eq!(told(["/sbin/init", "/podvitals"], line), None);
    }

    #[test]
    fn half_a_line_is_none() {
        assert_eq!(told(["/podvitals"; 2], "/podvitals\0ser"), None);
        assert_eq!(told(["/podvitals"; 2], ""), None);
    }
}
