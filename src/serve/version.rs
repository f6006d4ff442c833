//! `/version`: one object for a Kubernetes client and a Docker client.
//!
//! A Kubernetes client reads `gitVersion`, `major`, `minor`; a Docker client `Version`, `ApiVersion`
//! and `Os`. Go's decoder does not tell `gitCommit` from `GitCommit`, so no two keys differ in case
//! only, and `platform` is in it under neither spelling: the two clients want a string and an object.

use serde_json::{Value, json};

/// What `/version` and `podvitals_build_info` say.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this was built from, where the build was told.
pub(super) const COMMIT: &str = match option_env!("PODVITALS_GIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The Docker Engine's API of these versions has all that we could ever say.
pub(super) const API_VERSION: &str = "1.44";
pub(super) const MIN_API_VERSION: &str = "1.24";

/// When it was built, where the build was told: a build that looks at the clock is not repeatable.
pub(super) const BUILT: &str = match option_env!("PODVITALS_BUILD_DATE") {
    Some(date) => date,
    None => "1970-01-01T00:00:00Z",
};

/// The whole object.
pub(super) fn document() -> Value {
    json!({
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": format!("v{VERSION}"),
        "gitCommit": COMMIT,
        "gitTreeState": "",
        "buildDate": BUILT,
        "goVersion": "none",
        "compiler": "rustc",
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": architecture(),
        "BuildTime": BUILT,
        "Components": [{ "Name": "podvitals", "Version": VERSION, "Details": {} }],
    })
}

/// As Go, and so Docker, names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_keys_are_the_same_to_a_decoder_that_folds_case() {
        let document = document();
        let keys: Vec<String> = document.as_object().unwrap().keys().map(|key| key.to_lowercase()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(!keys.contains(&"platform".to_owned()));
        for key in [
            "gitVersion",
            "major",
            "minor",
            "gitCommit",
            "goVersion",
            "Version",
            "ApiVersion",
            "MinAPIVersion",
        ] {
            assert!(document[key].is_string(), "{key}");
        }
    }
}
