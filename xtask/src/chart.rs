//! `cargo xtask chart`: what is generated from the chart, written or compared.
//!
//! Helm renders; nothing else knows its templates. What it rendered lies in the repository, so that a
//! review shows what a change of a template does, and tests read it without Helm.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{repository, values};

/// The cluster that is rendered for, as `--kube-version` says it: a Helm built from source takes itself
/// for an ancient one.
const KUBERNETES: &str = "1.34.0";

/// Older and newer clusters, for which the defaults must render the same but for [`NEW`].
const OTHERS: [&str; 2] = ["1.29.0", "1.36.0"];

/// The one field that the oldest clusters do not know.
const NEW: &str = "              recursiveReadOnly: IfPossible\n";

const README: &str = "charts/podvitals/README.md";
const BEGIN: &str = "<!-- values: begin (cargo xtask chart) -->\n";
const END: &str = "<!-- values: end -->";

/// The namespace that `manifests/` makes. Pod Security keeps a hostPath out of any other.
const NAMESPACE: &str = "\
# Made by `cargo xtask chart` from charts/podvitals with its defaults.
apiVersion: v1
kind: Namespace
metadata:
  name: podvitals
  labels:
    pod-security.kubernetes.io/enforce: privileged
";

/// Writes all of it, or says what differs.
pub(crate) fn run(check: bool) -> Result<()> {
    let chart = Chart { helm: helm()? };
    let mut wanted = BTreeMap::from([(README.to_owned(), readme()?)]);
    let defaults = chart.render(None, KUBERNETES, &["--skip-tests"])?;
    for version in OTHERS {
        let other = chart.render(None, version, &["--skip-tests"])?;
        let same = other == defaults || other == defaults.replace(NEW, "");
        ensure!(same, "the defaults render differently for Kubernetes {version}");
    }
    wanted.insert("manifests/podvitals.yaml".to_owned(), format!("{NAMESPACE}{defaults}"));
    let cases = cases()?;
    for (name, values) in &cases {
        eprintln!("chart: {name}");
        wanted.insert(golden(name), chart.render(Some(values), KUBERNETES, &[])?);
    }
    if check {
        return compare(&wanted, &stale(&cases)?);
    }
    for path in stale(&cases)? {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    for (name, text) in wanted {
        let path = repository().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn golden(case: &str) -> String {
    format!("tests/golden/chart/{case}.yaml")
}

/// The Helm of `scripts/kubernetes`, or the one on the PATH.
fn helm() -> Result<PathBuf> {
    let modules = fs::read_to_string(repository().join("testbed/kubernetes/go.mod")).unwrap_or_default();
    let version = kubernetes_version(&modules).unwrap_or_default();
    let tools = std::env::var_os("PODVITALS_TOOLS").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache/podvitals").join(format!("kubernetes-{version}")))
    });
    let built = tools.map(|tools| tools.join("bin/helm")).filter(|helm| helm.is_file());
    let helm = built.unwrap_or_else(|| "helm".into());
    let found = Command::new(&helm).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(found.is_ok_and(|status| status.success()), "missing: helm (scripts/kubernetes builds it)");
    Ok(helm)
}

/// What go.mod(5) requires, as `scripts/kubernetes` reads it: `k8s.io/kubernetes v1.34.4`.
fn kubernetes_version(modules: &str) -> Option<&str> {
    modules.split_once("k8s.io/kubernetes ")?.1.split_whitespace().next()
}

struct Chart {
    helm: PathBuf,
}

impl Chart {
    fn render(&self, values: Option<&Path>, version: &str, more: &[&str]) -> Result<String> {
        let mut helm = Command::new(&self.helm);
        helm.args(["template", "podvitals"]).arg(repository().join("charts/podvitals"));
        helm.args(["--namespace", "podvitals", "--kube-version", version]).args(more);
        if let Some(values) = values {
            helm.arg("--values").arg(values);
        }
        let output = helm.output().with_context(|| self.helm.display().to_string())?;
        if !output.status.success() {
            let case = values.map_or("the defaults".into(), |path| path.display().to_string());
            bail!("helm template of {case}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("helm template")
    }
}

/// `ci/NAME-values.yaml` by NAME.
fn cases() -> Result<BTreeMap<String, PathBuf>> {
    let folder = repository().join("charts/podvitals/ci");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let case = name.strip_suffix("-values.yaml");
        let case = case.with_context(|| format!("{}: expected NAME-values.yaml", path.display()))?;
        found.insert(case.to_owned(), path.clone());
    }
    Ok(found)
}

/// Golden files of cases that are gone.
fn stale(cases: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let folder = repository().join("tests/golden/chart");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry?.path();
        let case = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !cases.contains_key(case) {
            found.push(path);
        }
    }
    Ok(found)
}

fn compare(wanted: &BTreeMap<String, String>, stale: &[PathBuf]) -> Result<()> {
    let mut wrong: Vec<String> = stale.iter().map(|path| path.display().to_string()).collect();
    for (name, text) in wanted {
        let path = repository().join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == *text) {
            continue;
        }
        wrong.push(name.clone());
        differ(&path, text)?;
    }
    ensure!(wrong.is_empty(), "stale: {}; `cargo xtask chart` writes them", wrong.join(", "));
    Ok(())
}

/// Shows with diff(1) what is there and what should be.
fn differ(path: &Path, wanted: &str) -> Result<()> {
    use std::io::Write;
    let there = if path.exists() { path } else { Path::new("/dev/null") };
    let diff = Command::new("diff").arg("--unified").arg(there).arg("-").stdin(Stdio::piped()).spawn();
    let mut diff = diff.context("missing: diff (Debian package diffutils)")?;
    if let Some(mut stdin) = diff.stdin.take() {
        stdin.write_all(wanted.as_bytes())?;
    }
    diff.wait()?;
    Ok(())
}

/// The chart's README with the table as it should be.
fn readme() -> Result<String> {
    let read = |name: &str| fs::read_to_string(repository().join(name)).with_context(|| name.to_owned());
    with_table(&read(README)?, &values::table(&values::parse(&read("charts/podvitals/values.yaml")?)?))
}

fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).with_context(|| format!("{README}: no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{README}: no {END}"))?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_of_the_chart_shows_its_values() {
        assert!(
            fs::read_to_string(repository().join(README)).unwrap() == readme().unwrap(),
            "{README} is stale; `cargo xtask chart` writes it"
        );
    }

    #[test]
    fn helm_lies_where_kubernetes_was_built() {
        let modules = fs::read_to_string(repository().join("testbed/kubernetes/go.mod")).unwrap();
        assert!(kubernetes_version(&modules).unwrap().starts_with("v1."));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let readme = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = with_table(&readme, "| t |\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n| t |\n\n{END}\nb\n"));
        assert_eq!(with_table(&new, "| t |\n").unwrap(), new);
        assert!(with_table("a", "").is_err());
    }
}
