//! A file of `/proc` that is read again and again through one descriptor.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;

use super::{clock, read};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{Reading, Stamped};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

/// A file that is read each sweep and stays open in between.
#[derive(Debug)]
pub(super) struct KeptFile {
    path: PathBuf,
    file: Option<OwnedFd>,
}

impl KeptFile {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the whole text and says when. After a failure the file is opened anew next time.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> Result<Monotonic, Errno> {
        let file = match self.file.take() {
            Some(file) => file,
            None => read::open_at(rustix::fs::CWD, &self.path)?,
        };
        read::read_again(&file, buffer)?;
        self.file = Some(file);
        Ok(clock::monotonic())
    }

    /// As [`read_as`] does, through the descriptor.
    pub(super) fn read_as<T>(
        &mut self,
        buffer: &mut Vec<u8>,
        health: &Health,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Reading<T> {
        read_as(buffer, health, |buffer| self.read(buffer), parse)
    }
}

/// A text that cannot be parsed is read again, once.
pub(super) fn read_as<T>(
    buffer: &mut Vec<u8>,
    health: &Health,
    mut read: impl FnMut(&mut Vec<u8>) -> Result<Monotonic, Errno>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Reading<T> {
    for _ in 0..2 {
        let at = read(buffer).map_err(|errno| unavailable(errno, health))?;
        match parse(buffer) {
            Some(value) => return Ok(Stamped { at, value }),
            None => health.count(Room::Host, Trouble::Malformed),
        }
    }
    Err(Unavailable::NotYet)
}

/// These files always exist where `/proc` and `/sys` are shown: one that is missing is withheld.
pub(super) fn unavailable(errno: Errno, health: &Health) -> Unavailable {
    let (trouble, why) = match errno {
        Errno::ACCESS | Errno::PERM | Errno::NOENT => (Trouble::Denied, Unavailable::Permission),
        _ => (Trouble::Io, Unavailable::NotYet),
    };
    health.count(Room::Host, trouble);
    why
}
