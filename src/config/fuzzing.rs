//! Settings under any text: refused, or such that nothing that starts with them can be surprised.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Config;
use super::Listen;
use super::closest;
use super::parse_duration;
use super::strangers;
use super::values::INTERVALS;
use super::values::parse_listen;

/// Settings as lines, `PODVITALS_INTERVAL=1s`.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let given: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    for name in strangers(given.keys().copied()) {
        assert!(name.starts_with("PODVITALS_") && closest(name) != Some(name));
    }
    let Ok(config) = Config::from_vars(|name| given.get(name).map(|value| (*value).to_owned())) else {
        return;
    };
    assert!(INTERVALS.contains(&config.interval));
    assert!(!config.listen.is_empty());
    for listen in &config.listen {
        let public = matches!(listen, Listen::Plain(address) if !address.ip().is_loopback());
        assert!(!public || config.insecure_public, "{listen}");
        // As it is shown it can be given again; `http://` is what people see.
        let shown = listen.to_string();
        let given = parse_listen(shown.strip_prefix("http://").unwrap_or(&shown));
        assert_eq!(given.as_ref(), Some(listen), "{shown}");
    }
    let files = [&config.cri_endpoint, &config.docker_endpoint, &config.tls.client_ca];
    let roots = [&config.proc_root, &config.cgroup_root];
    assert!(files.into_iter().flatten().chain(roots).all(|path| path.is_absolute()));
}

/// A duration, against whole numbers.
pub fn duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = parse_duration(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(number) = text[..digits].parse::<u32>() else { return };
    let number = u64::from(number);
    let right = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        rest if rest.starts_with('.') => return,
        _ => return assert_eq!(read, None, "{text}"),
    };
    assert_eq!(read, Some(right), "{text}");
}
