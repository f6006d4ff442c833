//! The machines, seen from outside.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use podvitals_testbed::guest::Image;

use crate::daemon::PODVITALS;

/// Names the kind of machine a program runs in.
const INSIDE: &str = "PODVITALS_GUEST";

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only cgroup v2.
    V2,
    /// The same, with pressure switched off.
    V2WithoutPsi,
    /// Only cgroup v1, with `cpu` and `cpuacct` in one hierarchy.
    V1,
}

impl Kind {
    const ALL: [Self; 3] = [Self::V2, Self::V2WithoutPsi, Self::V1];

    /// The machine this program runs in.
    pub(crate) fn inside() -> Option<Self> {
        let name = std::env::var(INSIDE).ok()?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2WithoutPsi => "v2-without-psi",
            Self::V1 => "v1",
        }
    }

    fn words(self) -> [&'static str; 2] {
        match self {
            Self::V2 => ["podvitals.cgroups=v2", "psi=1"],
            Self::V2WithoutPsi => ["podvitals.cgroups=v2", "psi=0"],
            Self::V1 => ["podvitals.cgroups=v1", "psi=1"],
        }
    }

    pub(crate) fn is_v2(self) -> bool {
        self != Self::V1
    }
}

/// Boots one machine of each kind. The first argument that is no flag is for the tests, or the name of a
/// kind.
pub(crate) fn boot_all() -> ExitCode {
    match try_boot_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_boot_all() -> anyhow::Result<()> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let kernel = std::env::var("PODVITALS_GUEST_KERNEL")
        .map_err(|_| anyhow::anyhow!("PODVITALS_GUEST_KERNEL is not set: run scripts/test-v2"))?;
    let own = std::env::current_exe()?;
    let [dmsetup, setpriv] = [program("dmsetup")?, program("setpriv")?];
    // Busybox knows a shorter setpriv.
    let others =
        [(Path::new(PODVITALS), PODVITALS), (&dmsetup, "/sbin/dmsetup"), (&setpriv, "/sbin/setpriv")];
    let image = Image::build(Path::new(&kernel), &own, &others)?;
    let of_kind = |kind: &Kind| only.as_deref() == Some(kind.name());
    let (mut failed, mut ran) = (Vec::new(), 0);
    for kind in Kind::ALL {
        if Kind::ALL.iter().any(of_kind) && !of_kind(&kind) {
            continue;
        }
        println!("==> {}", kind.name());
        let guest = format!("podvitals.guest={}", kind.name());
        let only = only.as_ref().filter(|_| !of_kind(&kind)).map(|word| format!("podvitals.only={word}"));
        let [cgroups, psi] = kind.words();
        let mut words = vec![cgroups, psi, &guest];
        words.extend(only.as_deref());
        let mut nothing_to_do = false;
        let result = image.run(&words, |line| {
            nothing_to_do |= line.starts_with("no test's name contains");
            println!("    {line}");
        });
        if nothing_to_do {
            continue;
        }
        ran += 1;
        if let Err(error) = result {
            failed.push(format!("{}: {error:#}", kind.name()));
        }
    }
    anyhow::ensure!(ran > 0, "no test's name contains '{}'", only.unwrap_or_default());
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Where a program of this machine is.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let mut places =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().map(|folder| Path::new(folder).join(name));
    places
        .find(|path| path.exists())
        .ok_or_else(|| anyhow::anyhow!("no {name}: scripts/packages guest brings it"))
}
