//! `/livez`, `/readyz` and `/healthz`, as Kubernetes components serve them.
//!
//! <https://kubernetes.io/docs/reference/using-api/health-checks/>
//! ```text
//! [+]ping ok
//! [-]sweep failed: no sweep for 31.2 s
//! livez check failed
//! ```

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use super::app::App;
use super::reply::{Keep, Refusal, Reply, TEXT, bare, quoted};
use crate::model::health::DEAD_AFTER;

/// Which of the three was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Fails when only a restart helps.
    Live,
    /// Fails until there is something to show.
    Ready,
    /// The old name of [`Self::Live`].
    Health,
}

/// A check and, if it failed, why.
type Check = (&'static str, Result<(), String>);

impl Probe {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Health => "healthz",
        }
    }

    fn checks(self, app: &App) -> Vec<Check> {
        let holds = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        // That we answer is the check.
        let ping = ("ping", Ok(()));
        match self {
            Self::Live | Self::Health => {
                let soon = |what: &str, time: Duration| {
                    holds(time < DEAD_AFTER, &format!("{what} for {:.1} s", time.as_secs_f64()))
                };
                vec![
                    ping,
                    ("sweep", soon("no sweep", app.since_sweep())),
                    ("resolver", soon("in one step", app.resolving_for())),
                ]
            }
            Self::Ready => {
                // Both are asked through the latch, so that all checks agree.
                app.is_ready();
                vec![
                    ping,
                    ("identity", holds(app.is_identified(), "no source of names has told all it knows yet")),
                    ("sweep", holds(app.has_swept(), "fewer than two sweeps are done")),
                ]
            }
        }
    }
}

/// All checks of a probe; listed with `?verbose` or when one fails.
pub(super) fn all(app: &App, probe: Probe, query: &str) -> Reply {
    let excluded: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("exclude=")).collect();
    let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    let (mut text, mut failed) = (String::new(), false);
    for (name, outcome) in probe.checks(app) {
        // Writing to a String does not fail.
        let _ = match outcome {
            _ if excluded.contains(&name) => writeln!(text, "[+]{name} excluded: ok"),
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(why) => {
                failed = true;
                writeln!(text, "[-]{name} failed: {why}")
            }
        };
    }
    let outcome = if failed { "failed" } else { "passed" };
    let _ = writeln!(text, "{} check {outcome}", probe.name());
    answer(failed, if failed || verbose { text } else { "ok".to_owned() })
}

/// One check of a probe.
///
/// # Errors
/// 404 if there is no such check.
pub(super) fn one(app: &App, probe: Probe, wanted: &str) -> Result<Reply, Refusal> {
    let checks = probe.checks(app);
    let names: Vec<&str> = checks.iter().map(|(name, _)| *name).collect();
    let known = format!("/{} has no check {}; it has: {}", probe.name(), quoted(wanted), names.join(", "));
    match checks.into_iter().find(|(name, _)| *name == wanted) {
        None => Err(Refusal::not_found(known)),
        Some((_, Ok(()))) => Ok(answer(false, "ok".to_owned())),
        Some((name, Err(why))) => Ok(answer(true, format!("[-]{name} failed: {why}\n"))),
    }
}

fn answer(failed: bool, text: String) -> Reply {
    let status = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    bare(status, Bytes::from(text), TEXT, Keep::Never)
}
