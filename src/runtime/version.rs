//! What a runtime says of itself.

/// What a runtime says of itself: `containerd 1.6.20~ds1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `containerd`, `cri-o`, `docker`.
    pub name: String,
    /// As the runtime spells it.
    pub version: String,
}

impl Version {
    /// Whether every reader of its events is told all of them.
    pub(super) fn tells_every_reader(&self) -> bool {
        let since = match self.name.as_str() {
            "containerd" => (2, 0),
            "cri-o" => (1, 28),
            _ => return false,
        };
        self.numbers().is_some_and(|numbers| numbers >= since)
    }

    /// `(1, 6)` of `v1.6.20~ds1`.
    fn numbers(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.trim_start_matches('v').split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        Some((number()?, number()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
