//! Which form a reader wants: `Accept`, as RFC 9110, 12.5.1 has it.
//!
//! ```text
//! Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1
//! ```
//! Of forms that it likes equally the one it names first. Who wants none of ours, a browser for example, gets
//! text: it shows more than a refusal would.

use hyper::header::{ACCEPT, HeaderMap};

use crate::serve::reply::weighted;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Form {
    /// Text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Length-delimited protobuf.
    Protobuf,
}

impl Form {
    /// All of them.
    pub(in crate::serve) const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// What the headers of a request ask for.
    pub(in crate::serve) fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let mut best = (Self::Text, 0.0);
        for range in lines.flat_map(|line| line.split(',')) {
            let (_, weight) = weighted(range);
            if weight > best.1
                && let Some(form) = Self::named(range)
            {
                best = (form, weight);
            }
        }
        best.0
    }

    /// The form that a media range means, with all its parameters.
    fn named(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let kind = parts.next()?;
        let parameters: Vec<String> = parts.collect();
        let says = |name: &str, wanted: &str| {
            let mut values =
                parameters.iter().filter_map(|one| one.split_once('=')).filter(|(key, _)| key.trim() == name);
            values.next().map(|(_, value)| value.trim().trim_matches('"') == wanted)
        };
        let or_silent = |name, wanted| says(name, wanted).unwrap_or(true);
        match kind.as_str() {
            "application/openmetrics-text" => or_silent("version", "1.0.0").then_some(Self::OpenMetrics),
            "application/vnd.google.protobuf" => (says("proto", "io.prometheus.client.metricfamily")
                == Some(true)
                && says("encoding", "delimited") == Some(true))
            .then_some(Self::Protobuf),
            "text/plain" => or_silent("version", "0.0.4").then_some(Self::Text),
            "text/*" | "*/*" => Some(Self::Text),
            _ => None,
        }
    }

    /// As the answer says it.
    pub(in crate::serve) const fn media_type(self) -> &'static str {
        match self {
            Self::Text => crate::serve::reply::PROMETHEUS,
            Self::OpenMetrics => crate::serve::metrics::OPENMETRICS,
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn asked(line: &'static str) -> Form {
        Form::asked(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(line))]))
    }

    #[test]
    fn each_reader_gets_what_it_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let with_histograms = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
            encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5";
        for (line, form) in [
            (prometheus, Form::OpenMetrics),
            (with_histograms, Form::Protobuf),
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Form::Text,
            ),
            ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4", Form::Text),
            ("text/plain;version=1.0.0,application/openmetrics-text;q=0.4", Form::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Form::OpenMetrics),
            ("application/openmetrics-text,text/plain", Form::OpenMetrics),
            ("text/plain,application/openmetrics-text", Form::Text),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=2,text/plain;q=0.1", Form::Text),
            ("application/vnd.google.protobuf;q=1,application/openmetrics-text;q=0.2", Form::OpenMetrics),
            ("application/vnd.google.protobuf;proto=other;encoding=delimited", Form::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                Form::Text,
            ),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Text),
            ("image/png", Form::Text),
            ("*/*", Form::Text),
            ("", Form::Text),
            (";;=,q=1;", Form::Text),
        ] {
            assert_eq!(asked(line), form, "{line}");
        }
        assert_eq!(Form::asked(&HeaderMap::new()), Form::Text);
    }
}
