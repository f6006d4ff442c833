//! A kernel of another kind than this machine's: Debian's, emulated by QEMU, with a few programs and
//! nothing else. Cgroup v2 and the co-mounted v1, with and without PSI, are a word on its command line.
//!
//! The first root is an archive of busybox, the programs that were asked for with the libraries they are
//! linked with, and the modules that `modules.rs` lists. `init.sh` is its first process. What the program says
//! comes back over the serial line; so does its exit code, as the last line. A kernel that panics, or says
//! nothing for 90 seconds, has failed.

mod archive;
mod modules;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::archive::Archive;
use crate::load;

const INIT: &str = include_str!("init.sh");
/// The longest a program may say nothing.
const SILENCE: Duration = Duration::from_secs(90);
/// Of each disk.
const DISK_BYTES: u64 = 128 << 20;
/// What no test may make a kernel say.
const TROUBLE: [&str; 5] =
    ["Kernel panic", "Oops: ", "BUG: ", "general protection fault", "Out of memory: Killed process 1 "];
const VERDICT: &str = "podvitals-guest: exit ";

/// What guests boot: a kernel and a first root. Gone with its value.
pub struct Image {
    folder: PathBuf,
    kernel: PathBuf,
}

impl Image {
    /// From the unpacked kernel package in `kernel` (`scripts/guest-kernel`), `program`, which is what the
    /// guest runs, and others, each with its path in there.
    pub fn build(kernel: &Path, program: &Path, others: &[(&Path, &str)]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("podvitals-guest-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let image = Self { kernel: find_kernel(kernel)?, folder };
        let mut archive = Archive::default();
        // The kernel opens it for the first process, before anything is mounted.
        archive.device("/dev/console", 5, 1)?;
        archive.file("/init", INIT.as_bytes())?;
        for empty in ["/proc", "/sys", "/tmp", "/run", "/mnt"] {
            archive.folder(empty)?;
        }
        archive.link("/var/run", "/run")?;
        archive.file("/bin/busybox", &read(Path::new("/bin/busybox"))?)?;
        archive.file("/bin/load", &read(&load::build_now()?)?)?;
        let mut order = String::new();
        for module in modules::in_order(kernel)? {
            let name = module.file_name().and_then(|name| name.to_str()).context("module")?.to_owned();
            archive.file(&format!("/modules/{name}"), &read(&module)?)?;
            order.push_str(&format!("{name}\n"));
        }
        archive.file("/modules/order", order.as_bytes())?;

        let mut libraries = Vec::new();
        for (path, inside) in [(program, "/program")].into_iter().chain(others.iter().copied()) {
            archive.file(inside, &image.stripped(path)?)?;
            libraries.extend(libraries_of(path)?);
        }
        libraries.sort();
        libraries.dedup();
        for library in libraries {
            archive.file(&library, &read(Path::new(&library))?)?;
        }
        let path = image.root();
        fs::write(&path, archive.into_bytes()?).with_context(|| path.display().to_string())?;
        Ok(image)
    }

    /// Boots one; `tell` gets every line it says. `words` are added to the kernel's command line, of which
    /// `podvitals.cgroups=v2|v1`, `podvitals.guest=` and `podvitals.only=` are for the guest itself.
    pub fn run(&self, words: &[&str], mut tell: impl FnMut(&str)) -> Result<()> {
        let blank = self.folder.join("blank");
        let formatted = self.folder.join("formatted");
        for disk in [&blank, &formatted] {
            let file = fs::File::create(disk).with_context(|| disk.display().to_string())?;
            file.set_len(DISK_BYTES).with_context(|| disk.display().to_string())?;
        }
        let format = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&formatted).status();
        ensure!(format.context("mkfs.ext4 (e2fsprogs)")?.success(), "mkfs.ext4 failed");
        let mut machine = Machine::start(&self.kernel, &self.root(), &[&blank, &formatted], words)?;
        machine.follow(&mut tell)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root.cpio")
    }

    /// Without what only a debugger reads, which is most of a program and would all be copied to memory.
    fn stripped(&self, program: &Path) -> Result<Vec<u8>> {
        let stripped = self.folder.join("stripped");
        let output = Command::new("strip").arg("-o").arg(&stripped).arg(program).output();
        let output = output.context("strip (binutils)")?;
        ensure!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        read(&stripped)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A guest that runs. Ended with its value, and by the kernel when we end.
struct Machine {
    process: Child,
    lines: Receiver<String>,
}

impl Machine {
    fn start(kernel: &Path, root: &Path, disks: &[&Path], words: &[&str]) -> Result<Self> {
        // One word a line, and no more: what a guest says is what the tests say.
        // No check of the timer: it counts interrupts, which come late to a machine that stands still.
        let arguments = format!("console=ttyS0 quiet panic=-1 no_timer_check {}", words.join(" "));
        // KVM where it is there would be another machine than where it is not; emulation always works.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "qemu64,+rdrand", "-smp", "2", "-m", "1024"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(root)
            .args(["-append", &arguments]);
        for disk in disks {
            command.arg("-drive").arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()));
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = process.context("setpriv (util-linux)")?;
        let console = process.stdout.take().context("console")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut line = Vec::new();
            while console.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines })
    }

    /// To its verdict.
    fn follow(&mut self, tell: &mut impl FnMut(&str)) -> Result<()> {
        loop {
            let line = match self.lines.recv_timeout(SILENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("the guest said nothing for {} s", SILENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the guest ended without a verdict: {}", self.process.wait().context("qemu")?)
                }
            };
            tell(&line);
            if let Some(code) = line.strip_prefix(VERDICT) {
                ensure!(code == "0", "the guest's program ended with {code}");
                return Ok(());
            }
            if let Some(trouble) = TROUBLE.iter().find(|trouble| line.contains(**trouble)) {
                // What follows says where it happened.
                while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(2)) {
                    tell(&line);
                }
                bail!("the guest's kernel failed: {trouble}");
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find_kernel(package: &Path) -> Result<PathBuf> {
    let boot = package.join("boot");
    let shown = || format!("{}: no kernel; scripts/guest-kernel brings one", boot.display());
    for entry in fs::read_dir(&boot).with_context(shown)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            return Ok(entry.path());
        }
    }
    bail!(shown())
}

/// The files a program is linked with, its linker too: `libc.so.6 => /lib/…/libc.so.6 (0x…)`.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("ldd (libc-bin)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(!text.contains("not found"), "{}: {text}", program.display());
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}
