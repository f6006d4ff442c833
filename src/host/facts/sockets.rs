//! Sockets: who would answer, and where we could listen. Nothing is said and nobody is served.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with, sockopt,
};

use super::{Failure, Tried};
use crate::host::syscall;

/// A socket of the file system, and what came of connecting to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was accepted.
    pub answer: Tried<()>,
}

/// Connects to a socket and hangs up at once, whether it exists or not.
pub fn knock_at(path: &Path) -> Knock {
    // `/var/run` is a link to `/run` nearly everywhere.
    let path = syscall::canonical(path).unwrap_or_else(|_| path.to_owned());
    Knock { answer: connected(&path), path }
}

/// Connects to those of `paths` that exist, and hangs up at once.
pub fn knock<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Vec<Knock> {
    let mut found: Vec<Knock> = Vec::new();
    for path in paths {
        let knock = knock_at(path.as_ref());
        if found.iter().all(|known| known.path != knock.path) {
            found.push(knock);
        }
    }
    found.retain(|knock| knock.answer != Err(Failure::Absent));
    found
}

fn connected(path: &Path) -> Tried<()> {
    // A runtime that hangs must not hang us.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// Whether this address could be listened on at this moment.
pub fn try_address(address: SocketAddr) -> Tried<()> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What was listened on a moment ago may be listened on again, as `serve` does it.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(bind(&socket, &address)?)
}

/// Whether a socket could be made at `path`.
pub fn try_path(path: &Path) -> Tried<()> {
    match syscall::kind(path) {
        Ok(there) if !there.is_socket() => {
            return Err(Failure::Other("there is a file that is not a socket".to_owned()));
        }
        Ok(_) if connected(path).is_ok() => return Err(Failure::Taken),
        _ => {}
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let writable = syscall::may_make_files_in(parent);
    writable.map_err(|errno| match errno {
        Errno::NOENT => Failure::Other(format!("{} does not exist", parent.display())),
        errno => errno.into(),
    })
}

/// Whether a file can be opened for reading.
pub fn try_file(path: &Path) -> Tried<()> {
    Ok(syscall::open(path, syscall::READ).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::host::fixture::Node;

    #[test]
    fn sockets_that_exist_are_knocked_at_once_each() {
        let node = Node::new();
        let alive = node.path("alive.sock");
        let _listener = UnixListener::bind(&alive).unwrap();
        let dead = node.path("dead.sock");
        drop(UnixListener::bind(&dead).unwrap());
        node.link("alive.sock", "link.sock");
        let found = knock([alive.clone(), node.path("link.sock"), dead.clone(), node.path("none.sock")]);
        let answers: Vec<_> = found.into_iter().map(|knock| (knock.path, knock.answer)).collect();
        assert_eq!(answers, [(alive, Ok(())), (dead, Err(Failure::NobodyListens))]);
    }

    #[test]
    fn an_address_is_free_taken_or_not_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(try_address(listener.local_addr().unwrap()), Err(Failure::Taken));
        assert_eq!(try_address("127.0.0.1:0".parse().unwrap()), Ok(()));
        let foreign = try_address("192.0.2.1:9790".parse().unwrap());
        assert!(matches!(foreign, Err(Failure::Other(_))), "{foreign:?}");
    }

    #[test]
    fn a_path_is_free_taken_in_the_way_or_nowhere() {
        let node = Node::new();
        let path = node.path("podvitals.sock");
        assert_eq!(try_path(&path), Ok(()));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(try_path(&path), Err(Failure::Taken));
        drop(listener);
        assert_eq!(try_path(&path), Ok(()), "what a killed daemon left is no obstacle");
        assert!(matches!(try_path(&node.path("proc/meminfo")), Err(Failure::Other(_))));
        assert!(matches!(try_path(&node.path("none/x.sock")), Err(Failure::Other(_))));
    }
}
