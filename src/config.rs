//! Every knob, parsed and checked once, before anything starts.
//!
//! A knob has one name in the flag, the environment and the chart: `--interval`,
//! `PODVITALS_INTERVAL`, `interval`. `main` hands over a lookup by variable name (flag, else
//! environment); what is missing has the default of [`KNOBS`].

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One knob: its variable, what a bad value is told to be, and its default as a user would write it.
pub struct Knob {
    /// The environment variable; the flag is its tail in kebab-case.
    pub variable: &'static str,
    /// One line for the help text, with what is accepted.
    pub help: &'static str,
    /// The default; empty means *none*.
    pub default: &'static str,
}

impl Knob {
    /// The name of its flag, without the dashes: `node-name`.
    pub fn flag(&self) -> String {
        let tail = self.variable.strip_prefix("PODVITALS_").unwrap_or(self.variable);
        tail.to_ascii_lowercase().replace('_', "-")
    }
}

/// Every knob of `serve`.
pub const KNOBS: &[Knob] = &[
    Knob {
        variable: "PODVITALS_NODE_NAME",
        help: "name of this node in documents (default: the host name)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_LISTEN",
        help: "where to listen, comma-separated: 127.0.0.1:9790, unix:///path",
        default: "127.0.0.1:9790",
    },
    Knob { variable: "PODVITALS_INTERVAL", help: "time between sweeps, 100ms to 60s", default: "1s" },
    Knob { variable: "PODVITALS_SOURCE", help: "who names the pods: auto, cri, cgroup", default: "auto" },
    Knob {
        variable: "PODVITALS_NETWORK_SOURCE",
        help: "which side of the pod's link is read: auto, netns, host",
        default: "auto",
    },
    Knob {
        variable: "PODVITALS_PROC_ROOT",
        help: "the host's /proc; a mount of it inside a container",
        default: "/proc",
    },
    Knob { variable: "PODVITALS_CGROUP_ROOT", help: "the host's /sys/fs/cgroup", default: "/sys/fs/cgroup" },
    Knob {
        variable: "PODVITALS_CRI_ENDPOINT",
        help: "socket of the container runtime, unix:///path (default: the first well-known one that exists)",
        default: "",
    },
    Knob {
        variable: "PODVITALS_INSECURE_PUBLIC",
        help: "allow plain HTTP without access control on other addresses than loopback: true, false",
        default: "false",
    },
    Knob { variable: "PODVITALS_LOG_FORMAT", help: "form of log lines: text, json", default: "text" },
    Knob {
        variable: "PODVITALS_LOG_LEVEL",
        help: "the least that is logged: error, warn, info, debug, trace",
        default: "info",
    },
];

/// Where the sources of names are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChoice {
    /// All that are configured or found.
    Auto,
    /// The container runtime.
    Cri,
    /// None: UIDs and ids from the cgroup tree.
    Cgroup,
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
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
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
    /// Plain HTTP beyond loopback was asked for out loud.
    pub insecure_public: bool,
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
    /// Plain HTTP where anybody could read it.
    #[error(
        "PODVITALS_LISTEN={address}: plain HTTP without access control is refused on other addresses than \
         loopback; listen on 127.0.0.1, or say --insecure-public if everybody on that network may read it"
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
                "addresses such as 127.0.0.1:9790 or unix:///path",
                |text| text.split(',').map(|one| parse_listen(one.trim())).collect(),
            )?,
            interval: read.parsed("PODVITALS_INTERVAL", "a duration from 100ms to 60s", |text| {
                parse_duration(text).filter(|interval| INTERVALS.contains(interval))
            })?,
            source: read.parsed("PODVITALS_SOURCE", "auto, cri or cgroup", |text| match text {
                "auto" => Some(SourceChoice::Auto),
                "cri" => Some(SourceChoice::Cri),
                "cgroup" => Some(SourceChoice::Cgroup),
                _ => None,
            })?,
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
            cri_endpoint: read
                .optional("PODVITALS_CRI_ENDPOINT")
                .map(|text| {
                    let path = text.strip_prefix("unix://").unwrap_or(&text);
                    absolute(path)
                        .ok_or_else(|| malformed("PODVITALS_CRI_ENDPOINT", &text, "unix:///path/to/the.sock"))
                })
                .transpose()?,
            insecure_public: read
                .parsed("PODVITALS_INSECURE_PUBLIC", "true or false", |text| text.parse().ok())?,
            log_format: read.parsed("PODVITALS_LOG_FORMAT", "text or json", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            log_level: read.parsed("PODVITALS_LOG_LEVEL", "error, warn, info, debug or trace", log_level)?,
        };
        config.refuse_public()?;
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

const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

struct Reader<'a, L> {
    lookup: &'a L,
}

impl<L: Fn(&str) -> Option<String>> Reader<'_, L> {
    /// Empty is absent: a chart renders an unset value as an empty string.
    fn optional(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    fn parsed<T>(
        &self,
        variable: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let default = KNOBS.iter().find(|knob| knob.variable == variable).map_or("", |knob| knob.default);
        let value = self.optional(variable).unwrap_or_else(|| default.to_owned());
        parse(&value).ok_or_else(|| malformed(variable, &value, expected))
    }
}

fn malformed(variable: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Malformed { variable, value: value.to_owned(), expected }
}

fn absolute(text: &str) -> Option<PathBuf> {
    text.starts_with('/').then(|| PathBuf::from(text))
}

fn log_level(text: &str) -> Option<LogLevel> {
    Some(match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return None,
    })
}

fn parse_listen(text: &str) -> Option<Listen> {
    match text.strip_prefix("unix://") {
        Some(path) => absolute(path).map(Listen::Unix),
        None => text.parse().ok().map(Listen::Plain),
    }
}

/// `250ms`, `1s`, `1.5s`, `2m`: what Kubernetes's own flags accept, less the exotic units.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variable: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::from_vars(|name| (name == variable).then(|| value.to_owned()))
    }

    #[test]
    fn defaults_listen_on_loopback_each_second() {
        let config = Config::from_vars(|_| None).unwrap();
        assert_eq!(config.interval, Duration::from_secs(1));
        assert_eq!(config.listen, [Listen::Plain("127.0.0.1:9790".parse().unwrap())]);
    }

    #[test]
    fn an_interval_that_is_too_short_is_refused_by_name() {
        let error = with("PODVITALS_INTERVAL", "10ms").unwrap_err();
        assert_eq!(error.to_string(), "PODVITALS_INTERVAL=\"10ms\": expected a duration from 100ms to 60s");
    }

    #[test]
    fn an_address_beyond_loopback_needs_to_be_asked_for_out_loud() {
        let error = with("PODVITALS_LISTEN", "127.0.0.1:9790,0.0.0.0:9790").unwrap_err();
        assert!(error.to_string().contains("--insecure-public"), "{error}");
        let loud = Config::from_vars(|name| match name {
            "PODVITALS_LISTEN" => Some("0.0.0.0:9790".into()),
            "PODVITALS_INSECURE_PUBLIC" => Some("true".into()),
            _ => None,
        });
        assert!(loud.is_ok());
    }

    #[test]
    fn a_knob_has_one_name_in_flag_and_environment() {
        let flags: Vec<String> = KNOBS.iter().map(Knob::flag).collect();
        assert!(flags.contains(&"node-name".to_owned()), "{flags:?}");
        assert!(KNOBS.iter().all(|knob| knob.variable.starts_with("PODVITALS_")));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("10"), None);
        assert_eq!(parse_duration("s"), None);
        assert_eq!(parse_duration("99999999999999999999999h"), None);
    }
}
