//! From the text of a value to what it means, or to what would have done (pure).

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::AskedSource;
use super::ConfigError;
use super::KNOBS;
use super::Listen;
use super::LogLevel;
use super::SourceChoice;

pub(super) const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Each minute may take 2.1 MiB, and the pod's memory limit has to hold it.
pub(super) const LONGEST_HISTORY: Duration = Duration::from_secs(30 * 60);

/// None at all, or enough for a rate to be in it.
pub(super) fn parse_history(text: &str) -> Option<Duration> {
    let history = parse_duration(text)?;
    let some = Duration::from_secs(1)..=LONGEST_HISTORY;
    (history.is_zero() || some.contains(&history)).then_some(history)
}

pub(super) struct Reader<'a, L> {
    pub(super) lookup: &'a L,
}

impl<L: Fn(&str) -> Option<String>> Reader<'_, L> {
    /// Empty is absent: a chart renders an unset value as an empty string.
    pub(super) fn optional(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// A file, if one is named.
    pub(super) fn file(&self, variable: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        let path =
            |text: String| absolute(&text).ok_or_else(|| malformed(variable, &text, "an absolute path"));
        self.optional(variable).map(path).transpose()
    }

    /// A unix socket, if one is named.
    pub(super) fn socket(&self, variable: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        let path = |text: String| {
            let path = absolute(text.strip_prefix("unix://").unwrap_or(&text));
            path.ok_or_else(|| malformed(variable, &text, "unix:///path/to/the.sock"))
        };
        self.optional(variable).map(path).transpose()
    }

    /// A yes or no.
    pub(super) fn flag(&self, variable: &'static str) -> Result<bool, ConfigError> {
        self.parsed(variable, "true or false", |text| text.parse().ok())
    }

    pub(super) fn parsed<T>(
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

pub(super) fn malformed(variable: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Malformed { variable, value: value.to_owned(), expected }
}

pub(super) fn absolute(text: &str) -> Option<PathBuf> {
    text.starts_with('/').then(|| PathBuf::from(text))
}

pub(super) fn log_level(text: &str) -> Option<LogLevel> {
    Some(match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return None,
    })
}

pub(super) fn parse_listen(text: &str) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix://") {
        return absolute(path).map(Listen::Unix);
    }
    match text.strip_prefix("https://") {
        Some(address) => address.trim_end_matches('/').parse().ok().map(Listen::Tls),
        None => text.parse().ok().map(Listen::Plain),
    }
}

/// `auto`, `cgroup`, or some of the sources.
pub(super) fn parse_source(text: &str) -> Option<SourceChoice> {
    match text {
        "auto" => return Some(SourceChoice::Auto),
        "cgroup" => return Some(SourceChoice::Cgroup),
        _ => {}
    }
    let one = |word: &str| match word.trim() {
        "kube" => Some(AskedSource::Kube),
        "kubelet" => Some(AskedSource::Kubelet),
        "cri" => Some(AskedSource::Cri),
        "docker" => Some(AskedSource::Docker),
        _ => None,
    };
    text.split(',').map(one).collect::<Option<_>>().map(SourceChoice::These)
}

/// `https://host:10250`. The node's address is put in by the chart as it is, so an IPv6 one comes without
/// its brackets.
pub(super) fn parse_kubelet_url(text: &str) -> Option<String> {
    let (host, port) = text.strip_prefix("https://")?.trim_end_matches('/').rsplit_once(':')?;
    let port = parse_port(port)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let in_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let host = match bare.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) if !host.is_empty() && host.bytes().all(in_a_name) => host.to_owned(),
        Err(_) => return None,
    };
    Some(format!("https://{host}:{port}"))
}

/// The port of an address. `+1` is a number to Rust, and to a URL a port that is not there.
pub fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
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
