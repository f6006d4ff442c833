//! One check: what was looked at, what was found, what follows from it, and what would cure it.

use serde::Serialize;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Something is missing, or more is granted than is needed; the core job works.
    Notice,
    /// A part of the core job does not work.
    Problem,
}

/// The parts of the core job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Core {
    /// Which pods and containers there are.
    Pods,
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Traffic.
    Network,
    /// Names from those who were asked for by name.
    Names,
    /// Answers to readers.
    Serving,
}

impl Core {
    /// As it is said to people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Names => "names",
            Self::Serving => "serving",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    /// What it belongs to.
    pub(super) part: &'static str,
    /// Its name.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) verdict: Verdict,
    /// What of the core job does not work for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) breaks: Vec<Core>,
    /// A file, a socket, a call.
    pub(super) looked_at: String,
    /// What is so.
    pub(super) found: String,
    /// What follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) consequence: Option<String>,
    /// What would cure it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cure: Option<String>,
}

impl Check {
    /// As it should be.
    pub(super) fn ok(
        part: &'static str,
        check: &'static str,
        at: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (looked_at, found) = (at.into(), found.into());
        let verdict = Verdict::Ok;
        Self { part, check, verdict, breaks: Vec::new(), looked_at, found, consequence: None, cure: None }
    }

    /// Worth knowing, with what follows from it.
    pub(super) fn means(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = Some(consequence.into());
        self
    }

    /// Not as it should be: what follows, and what would cure it.
    pub(super) fn notice(mut self, consequence: impl Into<String>, cure: impl Into<String>) -> Self {
        self.verdict = Verdict::Notice;
        self.consequence = Some(consequence.into());
        self.cure = Some(cure.into());
        self
    }

    /// These parts of the core job do not work.
    pub(super) fn problem(
        self,
        breaks: &[Core],
        consequence: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let breaks = breaks.to_vec();
        Self { verdict: Verdict::Problem, breaks, ..self.notice(consequence, cure) }
    }
}
