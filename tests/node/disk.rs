//! A disk of a test's own: a file behind a loop device, with a file system, mounted.
//!
//! cgroup v1 begins to count a disk's I/O once a throttle rule was set on it, and never stops. A loop
//! device that is used again would still count, so each disk is a new device, removed afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use podvitals_testbed::Testbed;

const SIZE: u64 = 64 << 20;

pub(crate) struct Disk {
    folder: PathBuf,
    image: PathBuf,
    device: String,
    rule: PathBuf,
}

impl Disk {
    pub(crate) fn new(testbed: &Testbed, name: &str) -> Self {
        let image = testbed.scratch().join(format!("{name}.img"));
        let folder = testbed.scratch().join(format!("{name}.mounted"));
        fs::create_dir_all(&folder).unwrap();
        fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()], "e2fsprogs");
        let taken = |number: &usize| Path::new(&format!("/sys/block/loop{number}")).exists();
        let number = (8..).find(|number| !taken(number)).unwrap();
        let device = format!("/dev/loop{number}");
        run("losetup", &[&device, image.to_str().unwrap()], "util-linux");
        run("mount", &[&device, folder.to_str().unwrap()], "util-linux");
        // Among the testbed's cgroups: they are removed also when this process is killed.
        let prefix = testbed.cgroup_prefix();
        let rule = Path::new("/sys/fs/cgroup/blkio").join(prefix.trim_start_matches('/'));
        let rule = rule.join(format!("rule-{name}"));
        fs::create_dir_all(&rule).unwrap();
        Self { folder, image, device, rule }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Major and minor number.
    pub(crate) fn number(&self) -> (u32, u32) {
        let device = fs::metadata(&self.device).unwrap().rdev();
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    /// Makes the kernel count this disk's I/O: a rule that limits nothing, on a cgroup without tasks.
    pub(crate) fn account(&self) {
        let (major, minor) = self.number();
        let rule = format!("{major}:{minor} 1099511627776");
        fs::write(self.rule.join("blkio.throttle.write_bps_device"), rule).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
        let number: usize = self.device.trim_start_matches("/dev/loop").parse().unwrap_or(usize::MAX);
        remove_loop_device(number);
        let _ = fs::remove_dir(&self.rule);
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// `LOOP_CTL_REMOVE` of `linux/loop.h`.
#[expect(unsafe_code, reason = "the only way to remove a loop device is this ioctl, which takes a number")]
fn remove_loop_device(number: usize) {
    const LOOP_CTL_REMOVE: rustix::ioctl::Opcode = 0x4C81;
    let control = fs::File::options().read(true).write(true).open("/dev/loop-control").unwrap();
    // Busy until the last user of the unmounted file system is gone.
    for _ in 0..100 {
        // SAFETY: the ioctl takes an integer and writes nothing.
        let removed = unsafe {
            let number = rustix::ioctl::IntegerSetter::<LOOP_CTL_REMOVE>::new_usize(number);
            rustix::ioctl::ioctl(&control, number)
        };
        if removed.is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    eprintln!("loop device {number} could not be removed");
}

fn run(program: &str, arguments: &[&str], package: &str) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{program} of the package {package}: {error}"));
    assert!(status.success(), "{program} {arguments:?} failed");
}
