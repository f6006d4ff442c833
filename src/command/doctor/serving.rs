//! The addresses of `--listen` judged: which would be refused, and why.

use std::path::Path;

use crate::config::Config;
use crate::config::Listen;
use crate::host::facts::Failure;
use crate::host::facts::Tried;
use crate::host::facts::sockets::try_address;
use crate::host::facts::sockets::try_file;
use crate::host::facts::sockets::try_path;

use super::Check;
use super::Core;

const PART: &str = "serving";

/// Addresses and files, and what came of trying them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    /// Each address.
    pub(super) listen: Vec<(Listen, Tried<()>)>,
    /// Each file of TLS.
    pub(super) files: Vec<(String, Tried<()>)>,
    /// Somebody can be told apart on https addresses: by the API server or by a certificate.
    pub(super) known_clients: bool,
    /// Everybody is to be served.
    pub(super) insecure_public: bool,
}

impl Places {
    /// Tries them.
    pub(super) fn read(config: &Config, api: bool) -> Self {
        let tried = |listen: &Listen| match listen {
            Listen::Plain(address) | Listen::Tls(address) => try_address(*address),
            Listen::Unix(path) => try_path(path),
        };
        let identity = config.tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files = identity.chain(&config.tls.client_ca);
        Self {
            listen: config.listen.iter().map(|listen| (listen.clone(), tried(listen))).collect(),
            files: files.map(|path| (shown(path), try_file(path))).collect(),
            known_clients: api || config.tls.client_ca.is_some(),
            insecure_public: config.insecure_public,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn judge(places: &Places) -> Vec<Check> {
    let mut checks: Vec<Check> =
        places.listen.iter().map(|(listen, tried)| address(places, listen, tried)).collect();
    checks.extend(places.files.iter().map(|(path, tried)| file(path, tried)));
    checks
}

fn address(places: &Places, listen: &Listen, tried: &Tried<()>) -> Check {
    let check = |found: String| Check::ok(PART, "listener", listen.to_string(), found);
    let refused = "serve does not start: it opens all its addresses or none";
    if matches!(listen, Listen::Tls(_)) && !places.known_clients && !places.insecure_public {
        return check(
            "nobody could be let in: no API server to ask about tokens, no authority of clients".to_owned(),
        )
        .problem(
            &[Core::Serving],
            refused,
            "an API server (in a pod, or KUBECONFIG), --client-ca, or --insecure-public if everybody on that \
                 network may read it",
        );
    }
    match tried {
        Ok(()) if is_open(listen) && places.insecure_public => {
            check("free, and open to everybody".to_owned()).notice(
                "whoever can connect reads names, images and traffic of all pods",
                "listen on https:// without --insecure-public: the API server then says who may",
            )
        }
        Ok(()) => check("free".to_owned()),
        Err(Failure::Taken) => check("somebody listens there already".to_owned()).notice(
            "if that is podvitals itself, all is well; else serve does not start",
            "stop the other one, or choose another address with --listen",
        ),
        Err(failure) => {
            let cure = match listen {
                Listen::Unix(_) => {
                    "a directory that exists and that our user may write, for example an emptyDir"
                }
                _ if *failure == Failure::Denied => "a port above 1023, or CAP_NET_BIND_SERVICE",
                _ => "an address of this network namespace: 127.0.0.1, [::1] or [::]",
            };
            check(failure.to_string()).problem(&[Core::Serving], refused, cure)
        }
    }
}

/// Beyond this machine.
fn is_open(listen: &Listen) -> bool {
    match listen {
        Listen::Plain(address) | Listen::Tls(address) => !address.ip().is_loopback(),
        Listen::Unix(_) => false,
    }
}

fn file(path: &str, tried: &Tried<()>) -> Check {
    match tried {
        Ok(()) => Check::ok(PART, "TLS file", path, "readable"),
        Err(failure) => Check::ok(PART, "TLS file", path, failure.to_string()).problem(
            &[Core::Serving],
            "serve does not start",
            "mount the Secret so that our user may read it (fsGroup, defaultMode), or name another file",
        ),
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
