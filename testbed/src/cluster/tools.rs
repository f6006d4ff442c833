//! The programs of Kubernetes, as `scripts/kubernetes` builds them, and the two that people type.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;

/// No call of kubectl or helm that we wait for needs longer, `helm install --wait` included.
const PATIENCE: Duration = Duration::from_secs(300);
/// What the programs call in turn (mount, ip) is in /usr/sbin, which is not in everybody's PATH.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The one place that says which Kubernetes it is.
const MODULE: &str = include_str!("../../kubernetes/go.mod");

/// The folder of the programs.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// `PODVITALS_TOOLS`, or where `scripts/kubernetes` puts them without it.
    pub(super) fn find() -> Result<Self> {
        let home = match std::env::var_os("PODVITALS_TOOLS").filter(|folder| !folder.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let home = std::env::var_os("HOME").context("neither PODVITALS_TOOLS nor HOME is set")?;
                Path::new(&home).join(".cache/podvitals").join(format!("kubernetes-{}", version()?))
            }
        };
        let tools = Self { folder: home.join("bin") };
        let programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];
        let missing: Vec<_> = programs.into_iter().filter(|name| !tools.folder.join(name).exists()).collect();
        ensure!(
            missing.is_empty(),
            "no {} in {}: run scripts/kubernetes",
            missing.join(", "),
            tools.folder.display()
        );
        Ok(tools)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program in an environment that has nothing of ours but `home`.
    pub(super) fn command(&self, program: &str, home: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.env_clear().env("PATH", PATH).env("HOME", home);
        command
    }
}

/// `k8s.io/kubernetes v1.34.4 // indirect` in `go.mod`.
fn version() -> Result<&'static str> {
    let line = MODULE.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    line.and_then(|rest| rest.split(' ').find(|word| word.starts_with('v')))
        .context("no k8s.io/kubernetes in go.mod")
}

/// Runs a program to its end and returns what it printed; what it complained of is the error.
pub(super) async fn run(mut command: Command, stdin: Option<&str>) -> Result<String> {
    let shown = shown(&command);
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        tokio::process::Command::from(command).kill_on_drop(true).spawn().with_context(|| shown.clone())?;
    let input = child.stdin.take();
    let feed = async {
        if let (Some(mut input), Some(text)) = (input, stdin) {
            // A program that has seen enough closes its end; its exit code tells the rest.
            let _ = input.write_all(text.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let Ok(output) = tokio::time::timeout(PATIENCE, both).await else {
        bail!("{shown}: no end after {} s", PATIENCE.as_secs());
    };
    success(&shown, &output.with_context(|| shown.clone())?)
}

fn success(shown: &str, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}: {}{}", output.status, stderr.trim_end(), tail(&stdout));
    Ok(stdout.into_owned())
}

/// helm and `kubectl wait` tell part of the trouble on standard output.
fn tail(stdout: &str) -> String {
    let text = stdout.trim_end();
    let start = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
    if text.is_empty() { String::new() } else { format!("\n{}", &text[start..]) }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_go_mod() {
        let version = version().unwrap();
        assert!(version.starts_with("v1.") && MODULE.contains(&format!("k8s.io/kubernetes {version} ")));
    }

    #[tokio::test]
    async fn a_failed_command_says_what_it_said() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read word; echo heard; echo no $word >&2; exit 3"]);
        let said = run(command, Some("luck\n")).await.unwrap_err().to_string();
        assert!(said.contains("no luck") && said.contains("heard") && said.contains('3'), "{said}");
    }
}
