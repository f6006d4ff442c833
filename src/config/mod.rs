//! Every knob, parsed and checked once, before anything starts.
//!
//! A knob has one name in the flag, the environment and the chart: `--interval`,
//! `PODVITALS_INTERVAL`, `interval`. `main` hands over a lookup by variable name (flag, else
//! environment); what is missing has the default of [`KNOBS`].

#[doc(hidden)]
pub mod fuzzing;
mod knobs;
mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::knobs::KNOBS;
pub use self::knobs::Knob;
pub use self::knobs::closest;
pub use self::knobs::strangers;
pub use self::values::parse_duration;
pub use self::values::parse_port;

use self::values::INTERVALS;
use self::values::Reader;
use self::values::absolute;
use self::values::log_level;
use self::values::malformed;
use self::values::parse_history;
use self::values::parse_kubelet_url;
use self::values::parse_listen;
use self::values::parse_source;

/// Who is asked for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceChoice {
    /// All that are configured or found.
    Auto,
    /// These, and whoever of them cannot be asked is said out loud.
    These(BTreeSet<AskedSource>),
    /// Nobody: UIDs and ids from the cgroup tree.
    Cgroup,
}

/// A source of names that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedSource {
    /// A watch on this node's pods at the API server.
    Kube,
    /// The kubelet's `/pods`.
    Kubelet,
    /// The container runtime.
    Cri,
    /// The Docker Engine.
    Docker,
}

impl SourceChoice {
    /// Asked for by name.
    pub fn names(&self, source: AskedSource) -> bool {
        matches!(self, Self::These(these) if these.contains(&source))
    }

    /// Asked for by name, or as one of all.
    pub fn wants(&self, source: AskedSource) -> bool {
        *self == Self::Auto || self.names(source)
    }
}

/// Which side of a pod's link is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// The best side there is. That is the pod's: without a process inside the pod its link on the host
    /// cannot be told from others', so there is nothing to fall back to.
    Auto,
    /// The pod's side.
    Netns,
    /// The host's end of the veth.
    Host,
}

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Plain HTTP.
    Plain(SocketAddr),
    /// Plain HTTP on a unix socket.
    Unix(PathBuf),
    /// TLS with access control.
    Tls(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls(address) => write!(f, "https://{address}"),
        }
    }
}

/// The files of TLS. All are re-read when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain and private key; `None`: self-signed, made at start.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whoever has a certificate of this authority is let in.
    pub client_ca: Option<PathBuf>,
}

/// How the kubelet is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletAddress {
    /// `https://host:port`.
    pub url: String,
    /// Who signed its certificate; `None`: the service account's authority.
    pub ca: Option<PathBuf>,
    /// Its certificate is taken whoever signed it.
    pub insecure_tls: bool,
}

/// Which series `/metrics/cadvisor` has for a reader that does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// What rules and dashboards read.
    Lean,
    /// Everything there is.
    CadvisorFull,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may matter soon.
    Warn,
    /// What changed.
    Info,
    /// What a developer asks.
    Debug,
    /// Everything.
    Trace,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `None`: the host name.
    pub node_name: Option<String>,
    /// At least one.
    pub listen: Vec<Listen>,
    /// Time between sweeps.
    pub interval: Duration,
    /// Who names the pods.
    pub source: SourceChoice,
    /// Which side of a pod's link is read.
    pub network_source: NetworkChoice,
    /// The host's `/proc`.
    pub proc_root: PathBuf,
    /// The host's `/sys/fs/cgroup`.
    pub cgroup_root: PathBuf,
    /// The runtime's socket; `None`: look for it.
    pub cri_endpoint: Option<PathBuf>,
    /// The Docker Engine's socket; `None`: look for it.
    pub docker_endpoint: Option<PathBuf>,
    /// The kubelet, if it is to be asked.
    pub kubelet: Option<KubeletAddress>,
    /// For https addresses.
    pub tls: TlsFiles,
    /// HTTP/2 is offered on https addresses.
    pub http2: bool,
    /// Which series `/metrics/cadvisor` has for a reader that does not say.
    pub profile: Profile,
    /// Docker's clients are told CPU time by CPU, in equal parts.
    pub docker_percpu: bool,
    /// Everybody is to be served: that was asked for out loud.
    pub insecure_public: bool,
    /// How much of the past is kept; zero: nothing.
    pub history: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How much is logged.
    pub log_level: LogLevel,
}

/// A value that cannot be used: what, and what would do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not of the right form.
    #[error("{variable}={value:?}: expected {expected}")]
    Malformed {
        /// The variable; its flag has the same words.
        variable: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A knob that needs another.
    #[error("{variable}: needs {needs}")]
    Incomplete {
        /// The one that is set.
        variable: &'static str,
        /// The one that is not, and why it is needed.
        needs: &'static str,
    },
    /// Plain HTTP where anybody could read it.
    #[error(
        "PODVITALS_LISTEN={address}: plain HTTP without access control is refused on other addresses than \
         loopback; listen on https://{address} or on 127.0.0.1, or say --insecure-public if everybody on that \
         network may read it"
    )]
    Public {
        /// The address.
        address: SocketAddr,
    },
}

impl Config {
    /// Builds the configuration from a lookup by variable name.
    ///
    /// # Errors
    /// The first value that cannot be used, with what would do.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = Reader { lookup: &lookup };
        let config = Self {
            node_name: read.optional("PODVITALS_NODE_NAME"),
            listen: read.parsed(
                "PODVITALS_LISTEN",
                "addresses such as 127.0.0.1:9790, unix:///path or https://[::]:9791",
                |text| text.split(',').map(|one| parse_listen(one.trim())).collect(),
            )?,
            interval: read.parsed("PODVITALS_INTERVAL", "a duration from 100ms to 60s", |text| {
                parse_duration(text).filter(|interval| INTERVALS.contains(interval))
            })?,
            source: read.parsed(
                "PODVITALS_SOURCE",
                "auto, cgroup, or some of kube, kubelet, cri and docker, comma-separated",
                parse_source,
            )?,
            network_source: read.parsed(
                "PODVITALS_NETWORK_SOURCE",
                "auto, netns or host",
                |text| match text {
                    "auto" => Some(NetworkChoice::Auto),
                    "netns" => Some(NetworkChoice::Netns),
                    "host" => Some(NetworkChoice::Host),
                    _ => None,
                },
            )?,
            proc_root: read.parsed("PODVITALS_PROC_ROOT", "an absolute path", absolute)?,
            cgroup_root: read.parsed("PODVITALS_CGROUP_ROOT", "an absolute path", absolute)?,
            cri_endpoint: read.socket("PODVITALS_CRI_ENDPOINT")?,
            docker_endpoint: read.socket("PODVITALS_DOCKER_ENDPOINT")?,
            kubelet: kubelet(&read)?,
            tls: tls(&read)?,
            http2: read.flag("PODVITALS_HTTP2")?,
            profile: read.parsed("PODVITALS_PROFILE", "lean or cadvisor-full", |text| match text {
                "lean" => Some(Profile::Lean),
                "cadvisor-full" => Some(Profile::CadvisorFull),
                _ => None,
            })?,
            docker_percpu: read.flag("PODVITALS_DOCKER_PERCPU")?,
            insecure_public: read.flag("PODVITALS_INSECURE_PUBLIC")?,
            history: read.parsed(
                "PODVITALS_HISTORY",
                "a duration from 1s to 30m, or 0s for none",
                parse_history,
            )?,
            log_format: read.parsed("PODVITALS_LOG_FORMAT", "text or json", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            log_level: read.parsed("PODVITALS_LOG_LEVEL", "error, warn, info, debug or trace", log_level)?,
        };
        config.refuse_public()?;
        if config.source.names(AskedSource::Kubelet) && config.kubelet.is_none() {
            let needs = "PODVITALS_KUBELET_URL: where this node's kubelet listens, https://host:10250";
            return Err(ConfigError::Incomplete { variable: "PODVITALS_SOURCE", needs });
        }
        Ok(config)
    }

    fn refuse_public(&self) -> Result<(), ConfigError> {
        let public = self.listen.iter().find_map(|listen| match listen {
            Listen::Plain(address) if !address.ip().is_loopback() => Some(*address),
            _ => None,
        });
        match public {
            Some(address) if !self.insecure_public => Err(ConfigError::Public { address }),
            _ => Ok(()),
        }
    }
}

fn kubelet<L: Fn(&str) -> Option<String>>(
    read: &Reader<'_, L>,
) -> Result<Option<KubeletAddress>, ConfigError> {
    let variable = "PODVITALS_KUBELET_URL";
    let ca = read.file("PODVITALS_KUBELET_CA")?;
    let insecure_tls = read.flag("PODVITALS_KUBELET_INSECURE_TLS")?;
    let Some(text) = read.optional(variable) else { return Ok(None) };
    let url = parse_kubelet_url(&text).ok_or_else(|| malformed(variable, &text, "https://host:10250"))?;
    Ok(Some(KubeletAddress { url, ca, insecure_tls }))
}

fn tls<L: Fn(&str) -> Option<String>>(read: &Reader<'_, L>) -> Result<TlsFiles, ConfigError> {
    let (cert, key) = ("PODVITALS_TLS_CERT", "PODVITALS_TLS_KEY");
    let identity = match (read.file(cert)?, read.file(key)?) {
        (Some(certificate), Some(private)) => Some((certificate, private)),
        (None, None) => None,
        (Some(_), None) => {
            let needs = "PODVITALS_TLS_KEY: the certificate's private key";
            return Err(ConfigError::Incomplete { variable: cert, needs });
        }
        (None, Some(_)) => {
            let needs = "PODVITALS_TLS_CERT: the certificate of that key";
            return Err(ConfigError::Incomplete { variable: key, needs });
        }
    };
    Ok(TlsFiles { identity, client_ca: read.file("PODVITALS_CLIENT_CA")? })
}

#[cfg(test)]
mod tests;
